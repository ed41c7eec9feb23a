// Package voicemail keeps what callers leave for extensions: mailboxes on disk, and the scripts by which callers leave messages and
// owners hear them.
//
// The files are the truth; there is no index beside them. A mailbox is a directory, a message a sealed file (sealed.go) whose name says
// when it came and how far it is:
//
//	ID.part ──recorded──► ID.new ──heard──► ID.old ──deleted──► gone
//	   └──────a crash, and the next start──► ID.new
//
// Each arrow is one rename or removal, so that a crash leaves a message on one side of it.
package voicemail

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/pin"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/shared/conffile"
	"brickhouse/shared/secret"
	"brickhouse/shared/tone"
)

// Config is what mailboxes may hold.
type Config struct {
	Messages  int           `yaml:"messages" doc:"Messages that a mailbox holds; then it is full, and callers hear so."`
	MaxLength time.Duration `yaml:"max_length" doc:"Longest message."`
	MinLength time.Duration `yaml:"min_length" doc:"Shorter ones are not kept: callers who hang up after the tone."`
	Silence   time.Duration `yaml:"silence" doc:"A message ends when nothing was said for so long."`
}

// DefaultConfig holds where the file says nothing.
func DefaultConfig() Config {
	return Config{Messages: 100, MaxLength: 5 * time.Minute, MinLength: 2 * time.Second, Silence: 10 * time.Second}
}

// Check says what is wrong with it. key is what it is called in the file.
func (c Config) Check(key string) []conffile.Fault {
	var fs []conffile.Fault
	bad := func(wrong bool, name, problem string) {
		if wrong {
			fs = append(fs, conffile.Bad(key+"."+name, problem, "leave it away"))
		}
	}
	bad(c.Messages < 1 || c.Messages > 10_000, "messages", "is not from 1 to 10000")
	bad(c.MaxLength < 10*time.Second || c.MaxLength > time.Hour, "max_length", "is not from 10s to 1h")
	bad(c.MinLength < 0 || c.MinLength >= c.MaxLength, "min_length", "is not from 0 to max_length")
	bad(c.Silence < time.Second || c.Silence > time.Minute, "silence", "is not from 1s to 1m")
	return fs
}

// Options are what mailboxes are made of.
type Options struct {
	Config
	Dir     string
	Secrets secret.Store
	Prompts *prompt.Library
	Owner   func(extension string) bool                  // tells whether an extension has a mailbox
	Waiting func(extension string, fresh, old int) error // hears of each change; when it returns, lamps may show it
	Address func(extension string) string                // where its messages are mailed to; empty: nowhere. nil: no mail is sent
	Post    func(ctx context.Context, m mail.Mail) error // sends a mail (mail.Sender)
	Log     *slog.Logger
	Now     func() time.Time
}

// Boxes are the mailboxes. It is safe for concurrent use.
type Boxes struct {
	opt  Options
	pins *pin.Keeper
	mail chan struct{} // has a token when there is a mail to send

	mu sync.Mutex // one changes the files at a time; reading needs no lock
}

// Open opens the mailboxes: what was being recorded when the program ended becomes a message.
func Open(opt Options) (*Boxes, error) {
	b := &Boxes{opt: opt, pins: newPINs(opt), mail: make(chan struct{}, 1)}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, err
	}
	return b, b.recover()
}

// Folder is where a message is.
type Folder string

// The folders.
const (
	New Folder = "new"
	Old Folder = "old"

	part    = "part" // it is being recorded
	copying = "copy" // of another, not whole yet
)

// Message is one in a mailbox.
type Message struct {
	ID     string        `json:"id"` // unique in the mailbox; later ones are greater
	Folder Folder        `json:"folder"`
	Length time.Duration `json:"length"`
	Header
}

var (
	// ErrFull says that a mailbox holds all that it may.
	ErrFull = errors.New("the mailbox is full")
	// ErrNoMessage says that a message is not there, or not any more.
	ErrNoMessage = errors.New("there is no such message")
	// ErrNoMailbox says that an extension has none.
	ErrNoMailbox = errors.New("the extension has no mailbox")
)

// numbers are the extensions that can have a mailbox: their numbers are directories.
var numbers = regexp.MustCompile(`^[0-9A-Za-z*#+_-][0-9A-Za-z*#+_.-]{0,63}$`)

// Fits reports whether an extension of that number can have a mailbox.
func Fits(number string) bool { return numbers.MatchString(number) }

func (b *Boxes) dir(mailbox string) (string, error) {
	if !Fits(mailbox) || !b.opt.Owner(mailbox) {
		return "", fmt.Errorf("%w: %.40q", ErrNoMailbox, mailbox)
	}
	return filepath.Join(b.opt.Dir, mailbox), nil
}

// file is a file of a mailbox.
type file struct {
	id     string
	folder string
	size   int64
}

func files(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []file
	for _, e := range entries {
		id, folder, ok := strings.Cut(e.Name(), ".")
		if info, err := e.Info(); ok && err == nil && id != greeting {
			out = append(out, file{id, folder, info.Size()})
		}
	}
	return out, nil
}

func (f file) kept() bool { return f.folder == string(New) || f.folder == string(Old) }

// counts are the messages of a mailbox by folder.
func counts(list []file) (fresh, old int) {
	for _, f := range list {
		switch Folder(f.folder) {
		case New:
			fresh++
		case Old:
			old++
		}
	}
	return fresh, old
}

// recover makes a message of each recording that a crash has cut, throws halves of copies away, and has all lamps show what is there.
func (b *Boxes) recover() error {
	dirs, err := os.ReadDir(b.opt.Dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		dir := filepath.Join(b.opt.Dir, d.Name())
		list, err := files(dir)
		if err != nil {
			return err
		}
		for _, f := range list {
			path := filepath.Join(dir, f.id+"."+f.folder)
			switch {
			case f.folder == part && time.Duration(f.size)*time.Second/tone.Rate >= b.opt.MinLength:
				err = errors.Join(b.announceLocked(d.Name(), dir, f.id), os.Rename(path, filepath.Join(dir, f.id+"."+string(New))))
				b.opt.Log.Warn("a message was cut by a crash; what was recorded is kept", "mailbox", d.Name(), "message", f.id)
			case f.folder == part, f.folder == copying:
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
		halves, _ := filepath.Glob(filepath.Join(dir, greeting+".*.half"))
		for _, path := range halves {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		if err := syncDir(dir); err != nil {
			return err
		}
		b.tell(d.Name(), dir)
	}
	return nil
}

// tell lets the lamps of a mailbox show what is there.
func (b *Boxes) tell(mailbox, dir string) {
	list, err := files(dir)
	if err == nil && b.opt.Owner(mailbox) {
		fresh, old := counts(list)
		err = b.opt.Waiting(mailbox, fresh, old)
	}
	if err != nil {
		b.opt.Log.Error("the lamps of a mailbox can't be set", "mailbox", mailbox, "error", err)
	}
}

// Refresh lets the lamps of a mailbox show what is there, after it came into being.
func (b *Boxes) Refresh(mailbox string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if dir, err := b.dir(mailbox); err == nil {
		b.tell(mailbox, dir)
	}
}

// List returns the messages of a mailbox, the new ones first, each folder in the order of time.
func (b *Boxes) List(ctx context.Context, mailbox string) ([]Message, error) {
	dir, err := b.dir(mailbox)
	if err != nil {
		return nil, err
	}
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	list, err := files(dir)
	if err != nil {
		return nil, err
	}
	var out []Message
	for _, f := range list {
		if !f.kept() {
			continue
		}
		o, err := open(filepath.Join(dir, f.id+"."+f.folder), key)
		if errors.Is(err, os.ErrNotExist) {
			continue // heard or deleted meanwhile
		}
		if err != nil {
			b.opt.Log.Error("a message can't be read", "mailbox", mailbox, "message", f.id, "error", err)
			continue
		}
		length := time.Duration(o.sound(f.size)) * time.Second / tone.Rate
		o.Close()
		out = append(out, Message{f.id, Folder(f.folder), length, o.Header})
	}
	slices.SortFunc(out, func(x, y Message) int {
		return cmp.Or(strings.Compare(string(x.Folder), string(y.Folder)), strings.Compare(x.ID, y.ID))
	})
	return out, nil
}

// find returns the path of a message.
func (b *Boxes) find(mailbox, id string) (dir, path string, folder Folder, err error) {
	if dir, err = b.dir(mailbox); err != nil {
		return "", "", "", err
	}
	list, err := files(dir)
	for _, f := range list {
		if f.id == id && f.kept() {
			return dir, filepath.Join(dir, f.id+"."+f.folder), Folder(f.folder), nil
		}
	}
	return "", "", "", cmp.Or(err, fmt.Errorf("%w: %.40q", ErrNoMessage, id))
}

// Sound opens a message: its sound is µ-law at 8 kHz.
func (b *Boxes) Sound(ctx context.Context, mailbox, id string) (io.ReadCloser, error) {
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	_, path, _, err := b.find(mailbox, id)
	if err != nil {
		return nil, err
	}
	return open(path, key)
}

// Heard puts a message among the old ones.
func (b *Boxes) Heard(mailbox, id string) error {
	return b.change(mailbox, id, func(dir, path string) error {
		return os.Rename(path, filepath.Join(dir, id+"."+string(Old)))
	})
}

// Delete removes a message.
func (b *Boxes) Delete(mailbox, id string) error {
	return b.change(mailbox, id, func(_, path string) error { return os.Remove(path) })
}

func (b *Boxes) change(mailbox, id string, do func(dir, path string) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	dir, path, _, err := b.find(mailbox, id)
	if err != nil {
		return err
	}
	if err := do(dir, path); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	b.tell(mailbox, dir)
	return nil
}

// Copy puts a message among the new ones of another mailbox.
func (b *Boxes) Copy(mailbox, id, to string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, path, _, err := b.find(mailbox, id)
	if err != nil {
		return err
	}
	dir, name, err := b.room(to)
	if err != nil {
		return err
	}
	half := filepath.Join(dir, name+"."+copying)
	if err := copyFile(path, half); err != nil {
		return errors.Join(err, os.Remove(half))
	}
	if err := errors.Join(b.announceLocked(to, dir, name), os.Rename(half, filepath.Join(dir, name+"."+string(New)))); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	b.tell(to, dir)
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// room returns the directory of a mailbox and the ID of a message to come.
func (b *Boxes) room(mailbox string) (dir, id string, err error) {
	if dir, err = b.dir(mailbox); err != nil {
		return "", "", err
	}
	list, err := files(dir)
	if err != nil {
		return "", "", err
	}
	if len(list) >= b.opt.Messages { // those that are being recorded count
		return "", "", ErrFull
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return "", "", err
	}
	return dir, fmt.Sprintf("%013d-%s", b.opt.Now().UnixMilli(), hex.EncodeToString(random)), nil
}

// Remove removes a mailbox with all that is in it, and its PIN.
func (b *Boxes) Remove(ctx context.Context, mailbox string) error {
	if !Fits(mailbox) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(b.opt.Dir, mailbox)); err != nil {
		return err
	}
	return b.pins.Delete(ctx, mailbox)
}

// Where the key of all mailboxes is in the secret store, and how it is called there.
const (
	keySecret = "voicemail/key"
	keyField  = "key"
	keySize   = 32
)

// key is the one that all files' keys are derived from. The first time it is drawn.
func (b *Boxes) key(ctx context.Context) ([]byte, error) {
	v, err := b.opt.Secrets.Get(ctx, keySecret)
	if errors.Is(err, secret.ErrNotFound) {
		v, err = b.drawKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the mailboxes: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(v[keyField])
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("the key of the mailboxes: secret %s: %s is not %d bytes in base64", keySecret, keyField, keySize)
	}
	return key, nil
}

// drawKey makes the key. Messages are only ever written with what the secret store then gives back.
func (b *Boxes) drawKey(ctx context.Context) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := b.opt.Secrets.Get(ctx, keySecret)
	if !errors.Is(err, secret.ErrNotFound) {
		return v, err
	}
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := b.opt.Secrets.Put(ctx, keySecret, map[string]string{keyField: base64.StdEncoding.EncodeToString(key)}); err != nil {
		return nil, err
	}
	return b.opt.Secrets.Get(ctx, keySecret)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
