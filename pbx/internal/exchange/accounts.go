package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/digest"
	"brickhouse/shared/secret"
)

// Where secrets are in the store.
const (
	extensionSecrets = "extension/" // + number: HA1 by algorithm
	trunkSecrets     = "trunk/"     // + name: password
	trunkPassword    = "password"
)

// accounts is what the registrar must know of extensions (registrar.Accounts).
type accounts struct {
	store   *store.Store
	secrets secret.Store
}

// Extension returns an extension's row.
func (a *accounts) Extension(number string) (*store.Extension, bool) {
	return a.store.Extension(number)
}

// HA1 returns the stored hash of an extension's password.
func (a *accounts) HA1(ctx context.Context, number string, alg digest.Algorithm) (string, bool, error) {
	s, err := a.secrets.Get(ctx, extensionSecrets+number)
	if errors.Is(err, secret.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	ha1, ok := s[string(alg)]
	return ha1, ok, nil
}

// AddExtension stores a new extension with the hashes of its password; the password itself is not kept. md5 tells whether
// phones that know only MD5 may use it.
func AddExtension(ctx context.Context, s *store.Store, secrets secret.Store, e store.Extension, realm, password string, md5 bool) error {
	if err := SetPassword(ctx, secrets, e.Number, realm, password, md5); err != nil {
		return err
	}
	if len(e.Algorithms) == 0 {
		e.Algorithms = algorithms(md5)
	}
	durable, err := s.PutExtension(ctx, &e)
	if err != nil {
		return fmt.Errorf("storing extension %s: %w", e.Number, err)
	}
	return wait(ctx, durable)
}

// SetPassword stores the hashes of an extension's password.
func SetPassword(ctx context.Context, secrets secret.Store, number, realm, password string, md5 bool) error {
	hashes := map[string]string{string(digest.SHA256): digest.HA1(digest.SHA256, number, realm, password)}
	if md5 {
		hashes[string(digest.MD5)] = digest.HA1(digest.MD5, number, realm, password)
	}
	if err := secrets.Put(ctx, extensionSecrets+number, hashes); err != nil {
		return fmt.Errorf("storing the password of extension %s: %w", number, err)
	}
	return nil
}

// SetTrunkPassword stores the password that answers a carrier's challenges.
func SetTrunkPassword(ctx context.Context, secrets secret.Store, name, password string) error {
	if err := secrets.Put(ctx, trunkSecrets+name, map[string]string{trunkPassword: password}); err != nil {
		return fmt.Errorf("storing the password of trunk %s: %w", name, err)
	}
	return nil
}

// DeleteExtension removes an extension, its registrations and its password. It reports whether there was one.
func DeleteExtension(ctx context.Context, s *store.Store, secrets secret.Store, number string, now time.Time) (bool, error) {
	was, durable, err := s.DeleteExtension(ctx, number)
	if err != nil || !was {
		return was, err
	}
	var ids []string
	for _, b := range s.Bindings(number, now) {
		ids = append(ids, b.ID)
	}
	if len(ids) > 0 {
		if _, err := s.DeleteBindings(ctx, ids...); err != nil {
			return true, err
		}
	}
	if err := secrets.Delete(ctx, extensionSecrets+number); err != nil && !errors.Is(err, secret.ErrNotFound) {
		return true, err
	}
	return true, wait(ctx, durable)
}

// AddExtension stores a new extension (package admin).
func (x *Exchange) AddExtension(ctx context.Context, e store.Extension, password string) error {
	e.CreatedAt = x.now()
	return AddExtension(ctx, x.store, x.secrets, e, x.cfg.Domain, password, x.cfg.Digest.MD5)
}

// SetPassword replaces an extension's password. An account that is challenged with an algorithm that no hash is kept for
// any more is challenged with the others from then on.
func (x *Exchange) SetPassword(ctx context.Context, number, password string) error {
	if err := SetPassword(ctx, x.secrets, number, x.cfg.Domain, password, x.cfg.Digest.MD5); err != nil {
		return err
	}
	e, ok := x.store.Extension(number)
	if !ok || x.cfg.Digest.MD5 || !slices.Contains(e.Algorithms, digest.MD5) {
		return nil
	}
	return x.changeExtension(ctx, number, func(e *store.Extension) { e.Algorithms = algorithms(false) })
}

// SetDigest chooses the algorithms that an extension is challenged with, and their order. Each needs a stored hash.
func (x *Exchange) SetDigest(ctx context.Context, number string, order []digest.Algorithm) error {
	for _, a := range order {
		if _, ok, err := x.accounts.HA1(ctx, number, a); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("extension %s has no %s hash of its password; give it a new password first: pbx extension passwd %s", number, a, number)
		}
	}
	return x.changeExtension(ctx, number, func(e *store.Extension) { e.Algorithms = order })
}

// SetName gives an extension the name that is shown to who is called; empty: none.
func (x *Exchange) SetName(ctx context.Context, number, name string) error {
	return x.changeExtension(ctx, number, func(e *store.Extension) { e.Name = name })
}

func (x *Exchange) changeExtension(ctx context.Context, number string, change func(*store.Extension)) error {
	e, ok := x.store.Extension(number)
	if !ok {
		return fmt.Errorf("no extension %q; pbx extension list shows those there are", number)
	}
	next := *e
	change(&next)
	durable, err := x.store.PutExtension(ctx, &next)
	if err != nil {
		return fmt.Errorf("storing extension %s: %w", number, err)
	}
	return wait(ctx, durable)
}

// DeleteExtension removes an extension and all that belongs to it.
func (x *Exchange) DeleteExtension(ctx context.Context, number string) (bool, error) {
	was, err := DeleteExtension(ctx, x.store, x.secrets, number, x.now())
	if err != nil || !was {
		return was, err
	}
	return true, x.voicemail.Remove(ctx, number)
}

// SetTrunkPassword stores the password of a trunk.
func (x *Exchange) SetTrunkPassword(ctx context.Context, trunk, password string) error {
	return SetTrunkPassword(ctx, x.secrets, trunk, password)
}

// wait waits until a change is on disk.
func wait(ctx context.Context, durable <-chan struct{}) error {
	select {
	case <-durable:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the disk: %w", ctx.Err())
	}
}

// How long to wait between attempts to reach a secret store that is away at the start.
const (
	secretsFirst = time.Second
	secretsMost  = 15 * time.Second
)

// openSecrets opens the configured secret store behind a cache. While a Vault server can't be reached at the start, it
// says so and tries again until ctx ends.
func openSecrets(ctx context.Context, cfg secret.Config, log *slog.Logger) (*secret.Cache, error) {
	s, err := secret.Retry(ctx, log, secretsFirst, secretsMost, func(ctx context.Context) (secret.Store, error) {
		return secret.Open(ctx, cfg, log)
	})
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	return secret.NewCache(s, cfg.Cache, time.Now, log), nil
}
