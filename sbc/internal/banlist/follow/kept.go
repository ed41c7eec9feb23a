package follow

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"brickhouse/sbc/internal/banlist"
)

// kept is the copy of a URL's last good content on disk: a header of fixed size, then the body as it came. Header and body are
// one file, so that they always belong together.
type kept struct {
	dir, name string
	url       string
}

// headerSize is the size of the header: JSON, filled up with spaces, and a line end.
const headerSize = 4096

const keptVersion = 1

// header says what the body is.
type header struct {
	V        int       `json:"v"`
	URL      string    `json:"url_sha256"` // not the URL: it may hold a key
	Fetched  time.Time `json:"fetched"`
	Size     int64     `json:"size"`
	Sum      string    `json:"sha256"`
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"last_modified,omitempty"`
}

var errDamaged = errors.New("the copy on disk is damaged")

func (k kept) path() string { return filepath.Join(k.dir, k.name+".list") }

// temp has a fixed name: nothing piles up, and there is one fetch per list at a time.
func (k kept) temp() string { return filepath.Join(k.dir, "."+k.name+".new") }

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// open returns the copy, placed at its body. Without one for this URL the error is fs.ErrNotExist.
func (k kept) open(most int64) (*os.File, header, error) {
	f, err := os.Open(k.path())
	if err != nil {
		return nil, header{}, err
	}
	var h header
	head := make([]byte, headerSize)
	_, err = io.ReadFull(f, head)
	if err == nil {
		err = json.Unmarshal(head, &h)
	}
	info, serr := f.Stat()
	switch {
	case err != nil || serr != nil || h.V != keptVersion || info.Size() != headerSize+h.Size:
		err = errDamaged
	case h.URL != sum(k.url):
		err = fs.ErrNotExist // it is another list's
	case h.Size > most:
		err = banlist.ErrTooLarge
	}
	if err != nil {
		f.Close()
		return nil, header{}, err
	}
	return f, h, nil
}

// create opens a new copy, placed at its body.
func (k kept) create() (*os.File, error) {
	f, err := os.OpenFile(k.temp(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Seek(headerSize, io.SeekStart)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping a copy: %w", err)
	}
	return f, nil
}

// commit puts f in place of the last copy, on the disk before it returns.
func (k kept) commit(f *os.File, h header) error {
	head, err := json.Marshal(h)
	if err == nil && len(head) >= headerSize {
		err = errors.New("header too long")
	}
	if err == nil {
		head = append(head, bytes.Repeat([]byte{' '}, headerSize-1-len(head))...)
		_, err = f.WriteAt(append(head, '\n'), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(k.temp(), k.path())
	}
	if err == nil {
		err = syncDir(k.dir)
	}
	if err != nil {
		return fmt.Errorf("keeping a copy: %w", err)
	}
	return nil
}

func (k kept) remove() error {
	if err := os.Remove(k.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// load reads the kept copy; nil if there is none.
func (w *web) load(ctx context.Context) (*content, error) {
	f, h, err := w.kept.open(int64(w.cfg.MaxBytes))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := w.turn.take(ctx); err != nil {
		return nil, err
	}
	defer w.turn.give()
	hash := sha256.New()
	list, report, err := banlist.Parse(io.TeeReader(f, hash), w.cfg.options())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != h.Sum {
		return nil, errDamaged
	}
	return &content{list, report, h.Fetched, func() error { w.etag, w.modified = h.ETag, h.Modified; return nil }}, nil
}
