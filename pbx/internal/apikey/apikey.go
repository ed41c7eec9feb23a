// Package apikey makes, checks and forgets the keys of the API.
//
// A key is "bh_" + ID + "_" + 256 random bits in base64url. It is shown once, when it is made; what is kept is the SHA-256 of the random
// part. Nobody can guess 256 bits, so the hash need not be slow.
package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"brickhouse/pbx/internal/database"
	"brickhouse/shared/control"
)

const (
	mark     = "bh_"
	secret   = 32 // bytes
	useEvery = time.Minute
)

// Errors of Add, as for a person.
var (
	ErrName  = errors.New("a key's name has 1 to 64 letters, digits and . _ -")
	ErrLife  = errors.New("a key lasts for at least a minute")
	ErrScope = errors.New("unknown scope")
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Ring is all keys. They are few: all are in memory, too.
type Ring struct {
	db  *database.Database
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	keys map[string]*held // by ID
}

// held is a key in memory.
type held struct {
	database.Key
	noted time.Time // the use that the database knows of
}

// Open reads the keys.
func Open(ctx context.Context, db *database.Database, log *slog.Logger, now func() time.Time) (*Ring, error) {
	list, err := db.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of the API: %w", err)
	}
	r := &Ring{db: db, log: log, now: now, keys: map[string]*held{}}
	for _, k := range list {
		r.keys[k.ID] = &held{k, k.Used}
	}
	return r, nil
}

// Add makes a key for scopes, each AREA:read or AREA:write of one of the areas, or "read" or "write" of all. It ends after life; 0: never. Errors:
// ErrName, ErrScope, ErrLife, database.ErrTaken, database.ErrFull.
func (r *Ring) Add(ctx context.Context, name string, scopes, areas []string, life time.Duration) (token string, _ database.Key, err error) {
	if !nameForm.MatchString(name) {
		return "", database.Key{}, ErrName
	}
	if err := checkScopes(scopes, areas); err != nil {
		return "", database.Key{}, err
	}
	if life != 0 && life < time.Minute {
		return "", database.Key{}, ErrLife
	}
	random := make([]byte, secret)
	rand.Read(random) //nolint:errcheck // crypto/rand never fails
	k := database.Key{ID: strings.ToLower(rand.Text()[:10]), Name: name, Scopes: slices.Clone(scopes), Created: r.now().UTC()}
	k.Hash = hash(random)
	if life != 0 {
		k.Expires = k.Created.Add(life)
	}
	if err := r.db.AddKey(ctx, k); err != nil {
		return "", database.Key{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[k.ID] = &held{Key: k}
	return mark + k.ID + "_" + base64.RawURLEncoding.EncodeToString(random), k, nil
}

func checkScopes(scopes, areas []string) error {
	if len(scopes) == 0 {
		return fmt.Errorf("%w: name at least one; read and write are for everything", ErrScope)
	}
	for i, s := range scopes {
		area, verb, one := strings.Cut(s, ":")
		if !one {
			area, verb = "", s
		}
		if verb != "read" && verb != "write" || one && !slices.Contains(areas, area) {
			return fmt.Errorf("%w %q: give read, write, or one of %s with :read or :write", ErrScope, s, strings.Join(areas, ", "))
		}
		if slices.Contains(scopes[:i], s) {
			return fmt.Errorf("%w: %q stands twice", ErrScope, s)
		}
	}
	return nil
}

func hash(random []byte) []byte {
	h := sha256.Sum256(random)
	return h[:]
}

// Check finds out what a token may do; control.ErrNoKey: nothing.
func (r *Ring) Check(_ context.Context, token string, from netip.AddrPort) (control.Grant, error) {
	rest, ok := strings.CutPrefix(token, mark)
	id, text, _ := strings.Cut(rest, "_")
	random, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(random) != secret || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return control.Grant{}, control.ErrNoKey
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[id]
	if !ok || subtle.ConstantTimeCompare(k.Hash, hash(random)) != 1 || !k.Expires.IsZero() && !now.Before(k.Expires) {
		return control.Grant{}, control.ErrNoKey
	}
	k.Used, k.UsedFrom = now.UTC(), from.Addr().String()
	return control.Grant{ID: k.ID, Name: k.Name, Scopes: k.Scopes}, nil
}

// List returns all keys, without their hashes, in the order of their names.
func (r *Ring) List() []database.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []database.Key{}
	for _, k := range r.keys {
		shown := k.Key
		shown.Hash = nil
		out = append(out, shown)
	}
	slices.SortFunc(out, func(a, b database.Key) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Delete forgets the key of an ID or a name: it can do nothing from then on. database.ErrNotFound: there is none.
func (r *Ring) Delete(ctx context.Context, which string) (database.Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[which]
	for _, named := range r.keys {
		if !ok && named.Name == which {
			k, ok = named, true
		}
	}
	if !ok {
		return database.Key{}, database.ErrNotFound
	}
	if err := r.db.DeleteKey(ctx, k.ID); err != nil && !errors.Is(err, database.ErrNotFound) {
		return database.Key{}, err
	}
	delete(r.keys, k.ID)
	return k.Key, nil
}

// Run notes in the database, now and then and when ctx ends, when keys were used.
func (r *Ring) Run(ctx context.Context) {
	t := time.NewTicker(useEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.noteUse(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			r.noteUse(last)
			return
		}
	}
}

func (r *Ring) noteUse(ctx context.Context) {
	r.mu.Lock()
	var used []database.Key
	for _, k := range r.keys {
		if !k.Used.Equal(k.noted) {
			k.noted = k.Used
			used = append(used, k.Key)
		}
	}
	r.mu.Unlock()
	for _, k := range used {
		if err := r.db.KeyUsed(ctx, k.ID, k.Used, k.UsedFrom); err != nil {
			r.log.Warn("noting when a key was used", "key", k.Name, "error", err)
		}
	}
}
