package voicemail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"brickhouse/shared/secret"
)

// Where PINs are in the secret store.
const (
	pinSecrets = "mailbox/" // + number
	pinField   = "pin"      // bcrypt
)

// Bounds of a PIN.
const (
	minPIN = 4
	maxPIN = 10
)

// ErrWeak says that a PIN would be guessed.
var ErrWeak = errors.New("a PIN has 4 to 10 digits, which are neither all the same, nor in a row, nor the mailbox's number")

// SetPIN stores a mailbox's PIN, as a hash.
func (b *Boxes) SetPIN(ctx context.Context, mailbox, pin string) error {
	if _, err := b.dir(mailbox); err != nil {
		return err
	}
	if weak(mailbox, pin) {
		return ErrWeak
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(pin), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	if err := b.opt.Secrets.Put(ctx, pinSecrets+mailbox, map[string]string{pinField: string(hash)}); err != nil {
		return fmt.Errorf("storing the PIN of mailbox %s: %w", mailbox, err)
	}
	b.guesses.forgive(mailbox)
	return nil
}

func weak(mailbox, pin string) bool {
	if len(pin) < minPIN || len(pin) > maxPIN || pin == mailbox || strings.Trim(pin, "0123456789") != "" {
		return true
	}
	const up, down = "01234567890", "09876543210"
	return strings.Count(pin, pin[:1]) == len(pin) || strings.Contains(up, pin) || strings.Contains(down, pin)
}

// hasPIN reports whether a mailbox has one.
func (b *Boxes) hasPIN(ctx context.Context, mailbox string) (bool, error) {
	_, err := b.opt.Secrets.Get(ctx, pinSecrets+mailbox)
	if errors.Is(err, secret.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// nobody is a hash that no PIN has: who asks for a mailbox that is none waits as long as for one that is.
var nobody = sync.OnceValue(func() []byte {
	hash, _ := bcrypt.GenerateFromPassword([]byte("no such mailbox"), bcrypt.DefaultCost)
	return hash
})

// Opens tells whether a PIN is a mailbox's. A mailbox that is none, or has no PIN, is opened by none. After some wrong ones it is locked
// for a while, and opened by none either: errLocked.
func (b *Boxes) Opens(ctx context.Context, mailbox, pin string) (bool, error) {
	if b.guesses.locked(mailbox) {
		return false, errLocked
	}
	hash, owned := nobody(), Fits(mailbox) && b.opt.Owner(mailbox)
	if owned {
		v, err := b.opt.Secrets.Get(ctx, pinSecrets+mailbox)
		switch {
		case err == nil:
			hash = []byte(v[pinField])
		case !errors.Is(err, secret.ErrNotFound):
			return false, err
		}
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(pin)) == nil {
		b.guesses.forgive(mailbox)
		return true, nil
	}
	if owned && b.guesses.wrong(mailbox) {
		b.opt.Log.Warn("a mailbox is locked: wrong PINs", "mailbox", mailbox, "for", lockFor)
	}
	return false, nil
}

var errLocked = errors.New("the mailbox is locked: wrong PINs")

// Guessing.
const (
	maxWrong = 5
	lockFor  = 15 * time.Minute
)

// guesses counts wrong PINs, of mailboxes that are some.
type guesses struct {
	now func() time.Time

	mu     sync.Mutex
	wrongs map[string]guess
}

type guess struct {
	wrong int
	last  time.Time
}

func (g *guesses) locked(mailbox string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.wrongs[mailbox]
	return w.wrong >= maxWrong && g.now().Sub(w.last) < lockFor
}

// wrong counts one and reports whether it locks the mailbox.
func (g *guesses) wrong(mailbox string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wrongs == nil {
		g.wrongs = map[string]guess{}
	}
	w := g.wrongs[mailbox]
	if g.now().Sub(w.last) >= lockFor {
		w.wrong = 0
	}
	w.wrong, w.last = w.wrong+1, g.now()
	g.wrongs[mailbox] = w
	return w.wrong == maxWrong
}

func (g *guesses) forgive(mailbox string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.wrongs, mailbox)
}
