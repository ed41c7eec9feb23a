// Package pin keeps PINs, as hashes in the secret store, and stands against guessing.
package pin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"brickhouse/shared/secret"
)

// field of a secret that has the PIN, as bcrypt makes it.
const field = "pin"

// Bounds of a PIN, in digits.
const (
	minSize = 4
	MaxSize = 10
)

var (
	// ErrWeak says that a PIN would be guessed.
	ErrWeak = errors.New("a PIN has 4 to 10 digits, which are neither all the same, nor in a row, nor the number that it protects")
	// ErrLocked says that too many were wrong.
	ErrLocked = errors.New("locked: wrong PINs")
)

// Keeper has the PINs of one kind of thing, by number. It is safe for concurrent use.
type Keeper struct {
	Secrets secret.Store
	Path    string                   // before the number, in the secret store: "mailbox/"
	Owner   func(number string) bool // tells whether there is such a thing
	Log     *slog.Logger
	Now     func() time.Time

	mu     sync.Mutex
	wrongs map[string]guess
}

// Set stores a PIN, as a hash.
func (k *Keeper) Set(ctx context.Context, number, pin string) error {
	if Weak(number, pin) {
		return ErrWeak
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(pin), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	if err := k.Secrets.Put(ctx, k.Path+number, map[string]string{field: string(hash)}); err != nil {
		return fmt.Errorf("storing the PIN %s%s: %w", k.Path, number, err)
	}
	k.forgive(number)
	return nil
}

// Delete takes a PIN away. One that is not there is no error.
func (k *Keeper) Delete(ctx context.Context, number string) error {
	if err := k.Secrets.Delete(ctx, k.Path+number); err != nil {
		return fmt.Errorf("deleting the PIN %s%s: %w", k.Path, number, err)
	}
	k.forgive(number)
	return nil
}

// Weak reports whether a PIN would be guessed.
func Weak(number, pin string) bool {
	if len(pin) < minSize || len(pin) > MaxSize || pin == number || strings.Trim(pin, "0123456789") != "" {
		return true
	}
	const up, down = "01234567890", "09876543210"
	return strings.Count(pin, pin[:1]) == len(pin) || strings.Contains(up, pin) || strings.Contains(down, pin)
}

// Has reports whether there is a PIN.
func (k *Keeper) Has(ctx context.Context, number string) (bool, error) {
	_, err := k.Secrets.Get(ctx, k.Path+number)
	if errors.Is(err, secret.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// nobody is a hash that no PIN has: who asks for a thing that is none waits as long as for one that is.
var nobody = sync.OnceValue(func() []byte {
	hash, _ := bcrypt.GenerateFromPassword([]byte("there is no such thing"), bcrypt.DefaultCost)
	return hash
})

// Opens tells whether a PIN is the right one. A thing that is none, or has no PIN, is opened by none. After some wrong ones it is locked
// for a while, and opened by none either: ErrLocked.
func (k *Keeper) Opens(ctx context.Context, number, pin string) (bool, error) {
	if k.locked(number) {
		return false, ErrLocked
	}
	hash, owned := nobody(), k.Owner(number)
	if owned {
		v, err := k.Secrets.Get(ctx, k.Path+number)
		switch {
		case err == nil:
			hash = []byte(v[field])
		case !errors.Is(err, secret.ErrNotFound):
			return false, err
		}
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(pin)) == nil {
		k.forgive(number)
		return true, nil
	}
	if owned && k.wrong(number) {
		k.Log.Warn("wrong PINs: locked", "what", k.Path+number, "for", LockFor)
	}
	return false, nil
}

// After MaxWrong wrong PINs in a row nothing opens for LockFor.
const (
	MaxWrong = 5
	LockFor  = 15 * time.Minute
)

// guess counts wrong PINs, of things that are some.
type guess struct {
	wrong int
	last  time.Time
}

func (k *Keeper) locked(number string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.wrongs[number]
	return w.wrong >= MaxWrong && k.Now().Sub(w.last) < LockFor
}

// wrong counts one and reports whether it locks the thing.
func (k *Keeper) wrong(number string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrongs == nil {
		k.wrongs = map[string]guess{}
	}
	w := k.wrongs[number]
	if k.Now().Sub(w.last) >= LockFor {
		w.wrong = 0
	}
	w.wrong, w.last = w.wrong+1, k.Now()
	k.wrongs[number] = w
	return w.wrong == MaxWrong
}

func (k *Keeper) forgive(number string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wrongs, number)
}
