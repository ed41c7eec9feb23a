// Package secret keeps what must not be known: HA1s of extensions, passwords of trunks, keys. The exchange has one store;
// the border has none.
//
// Two stores hold to one behaviour, which one test suite proves on both: OpenFile, an encrypted file for one machine, and
// OpenVault, a KV version 2 engine of HashiCorp Vault. A Cache in front of either keeps calls working while the store is
// sealed, away or slow.
//
// A secret is a small table of texts under a path such as "extensions/100". No error and no log line of this package
// holds a value, a token or a key.
package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"brickhouse/shared/conffile"
)

// The kinds of failure; errors.Is tells them.
var (
	ErrNotFound    = errors.New("no such secret")
	ErrUnavailable = errors.New("secret store is unavailable") // sealed, unreachable, too slow: try again later
	ErrDenied      = errors.New("secret store refused us")     // token or policy
	ErrPath        = errors.New("malformed secret path")
	ErrClosed      = errors.New("secret store is closed")
)

// Store keeps secrets. It is safe for several goroutines. Values that are handed over or returned are copies.
type Store interface {
	// Get returns the secret at path, or ErrNotFound.
	Get(ctx context.Context, path string) (map[string]string, error)
	// Put replaces the secret at path. It is durable when Put returns.
	Put(ctx context.Context, path string, v map[string]string) error
	// Delete removes the secret at path with its history; one that is not there is no error.
	Delete(ctx context.Context, path string) error
	// List returns, sorted, the names directly below prefix ("" for all); a name that has others below it ends with "/".
	// Nothing there is no error.
	List(ctx context.Context, prefix string) ([]string, error)
	// Close lets go of files, connections and tokens. Only the first call counts.
	Close() error
}

// Error is a failure of a store with a remedy. Unwrap returns its kind, one of the Err values above, or nil.
type Error struct {
	Where   string // file or address
	Problem string
	Remedy  string // may be empty
	Kind    error
}

func (e *Error) Error() string {
	s := e.Where + ": " + e.Problem
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *Error) Unwrap() error { return e.Kind }

// BadInput says whether the operator can mend it; a store that is away is nobody's input.
func (e *Error) BadInput() bool { return e.Kind != ErrUnavailable }

// Bounds on secrets, the same for all stores.
const (
	maxPath   = 256      // bytes
	maxValues = 64       // per secret
	maxValue  = 16 << 10 // bytes of a value, and of a name
)

// checkPath refuses a path that one of the stores would read differently: names of letters, digits and ". _ - @ +",
// joined by "/".
func checkPath(path string) error {
	if path == "" || len(path) > maxPath {
		return fmt.Errorf("%w: %d bytes", ErrPath, len(path))
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("%w: %q", ErrPath, path)
		}
		for _, r := range name {
			ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@+", r)
			if !ok {
				return fmt.Errorf("%w: %q", ErrPath, path)
			}
		}
	}
	return nil
}

// checkPrefix allows also the empty path and a "/" at the end, and returns the prefix without it.
func checkPrefix(prefix string) (string, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	return prefix, checkPath(prefix)
}

// checkSecret holds a secret to the bounds. It names no value.
func checkSecret(path string, v map[string]string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	if len(v) == 0 || len(v) > maxValues {
		return fmt.Errorf("secret %s: %d values; it must have 1 to %d", path, len(v), maxValues)
	}
	for name, text := range v {
		if name == "" || len(name) > maxValue || len(text) > maxValue {
			return fmt.Errorf("secret %s: a name or value is empty or longer than %d bytes", path, maxValue)
		}
	}
	return nil
}

// Config is the secrets section of a program's file.
type Config struct {
	Store string      `yaml:"store" doc:"Where secrets are kept: in an encrypted file on this machine, or in HashiCorp Vault." oneof:"file|vault"`
	File  FileConfig  `yaml:"file" doc:"The encrypted file; used if store is file."`
	Vault VaultConfig `yaml:"vault" doc:"The Vault server; used if store is vault."`
	Cache CacheConfig `yaml:"cache" doc:"What is kept in memory so that calls go on while the store is away."`
}

// DefaultConfig returns the defaults: a file below /var/lib/brickhouse.
func DefaultConfig() Config {
	return Config{Store: "file", File: DefaultFile(), Vault: DefaultVault(), Cache: DefaultCache()}
}

// Validate checks the store that is used.
func (c Config) Validate() []conffile.Fault {
	if c.Store == "vault" {
		return prefixed("vault", c.Vault.faults())
	}
	return prefixed("file", c.File.faults())
}

func prefixed(key string, faults []conffile.Fault) []conffile.Fault {
	for i := range faults {
		faults[i].Key = key + "." + faults[i].Key
	}
	return faults
}

// Open opens the configured store, once. See Retry for a store that may be away.
func Open(ctx context.Context, c Config, log *slog.Logger) (Store, error) {
	if c.Store == "vault" {
		return OpenVault(ctx, c.Vault, log)
	}
	return OpenFile(c.File.Path, c.File.Key)
}

// Retry calls open until it returns something else than ErrUnavailable, or ctx ends. It logs each failure and waits
// between the attempts from first up to most.
func Retry(ctx context.Context, log *slog.Logger, first, most time.Duration, open func(context.Context) (Store, error)) (Store, error) {
	for wait := first; ; wait = min(2*wait, most) {
		s, err := open(ctx)
		if err == nil || !errors.Is(err, ErrUnavailable) {
			return s, err
		}
		log.Warn("secret store is away; trying again", "err", err, "in", wait)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the secret store: %w (%w)", err, ctx.Err())
		case <-time.After(wait):
		}
	}
}
