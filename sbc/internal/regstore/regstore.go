// Package regstore keeps on disk what the border must know of its registrations when it starts again after a crash: which
// phone hangs on which UDP flow, and behind which addresses good registrations live.
//
// It is a file of JSON lines, each the whole state of one binding or the news that it is gone; the last line of a token
// counts. A line is handed to the kernel before the phone gets its 200, so that kill -9 loses none; a power cut may cost the
// last second, which the phones' next refresh heals. A torn or damaged line is left out.
package regstore

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Bounds of the file.
const (
	maxLine     = 16 << 10    // bytes; a contact may have some hundred
	compactOver = 4 << 20     // bytes from which on the file is made anew when most of it is history
	retryAfter  = time.Minute // pause after a write that failed
)

const version = 1

// Row is one binding as it is kept.
type Row struct {
	V         int           `json:"v"`
	Token     string        `json:"token"`
	Gone      bool          `json:"gone,omitempty"` // the binding ended; nothing else counts
	AOR       string        `json:"aor,omitempty"`
	Contact   string        `json:"contact,omitempty"`
	Params    string        `json:"params,omitempty"`
	Interface string        `json:"interface,omitempty"` // name of the interface that the flow belongs to
	Flow      string        `json:"flow,omitempty"`      // its identifier; empty: a connection, which ends with the program
	Source    netip.Addr    `json:"source,omitzero"`
	Proven    bool          `json:"proven,omitempty"`
	Outbound  bool          `json:"outbound,omitempty"`
	CallID    string        `json:"call_id,omitempty"`
	CSeq      uint32        `json:"cseq,omitempty"`
	Life      time.Duration `json:"life,omitempty"` // nanoseconds
	Inside    time.Time     `json:"inside,omitzero"`
}

// Store is an open file. All methods may be called from any goroutine.
type Store struct {
	path string

	mu     sync.Mutex
	live   func() iter.Seq[Row] // what counts now, for a file made anew
	file   *os.File
	size   int64     // bytes of the file
	base   int64     // bytes when it was last made anew
	faulty time.Time // of the last write that failed; zero: none since the file was made anew
	faults uint64
	closed bool
}

// Open reads the file at path, which it makes if it is not there, and returns what counts of it, at most limit rows.
func Open(path string, limit int, log *slog.Logger) (*Store, []Row, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the registrations: %w", err)
	}
	rows, bad, err := fold(f, limit)
	f.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the registrations: %w", err)
	}
	if bad > 0 {
		log.Warn("lines of the file of registrations can't be read and are left out", "file", path, "lines", bad)
	}
	s := &Store{path: path, live: func() iter.Seq[Row] { return slices.Values(rows) }}
	if err := s.renew(); err != nil {
		return nil, nil, fmt.Errorf("preparing the registrations: %w", err)
	}
	return s, rows, nil
}

// Live sets where the rows come from that a file made anew is filled with. It is called with the store locked.
func (s *Store) Live(rows func() iter.Seq[Row]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = rows
}

// fold reads lines; the last of a token counts.
func fold(r io.Reader, limit int) (rows []Row, bad int, err error) {
	found := map[string]Row{}
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // no row is that long
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			line = nil
		}
		switch {
		case errors.Is(err, io.EOF): // without its line end it is not whole
			for _, r := range found {
				rows = append(rows, r)
			}
			return rows, bad, nil
		case err != nil:
			return nil, 0, err
		}
		var r Row
		if json.Unmarshal(line, &r) != nil || r.V != version || r.Token == "" {
			bad++
			continue
		}
		if _, known := found[r.Token]; r.Gone {
			delete(found, r.Token)
		} else if known || len(found) < limit {
			found[r.Token] = r
		}
	}
}

// Put keeps a row; it is with the kernel when Put returns.
func (s *Store) Put(r Row) error { return s.append(r) }

// Remove forgets the row of a token.
func (s *Store) Remove(token string) error { return s.append(Row{Token: token, Gone: true}) }

// append writes a row. After a fault the file is made anew from what counts, so that nothing is missing once the disk takes
// it again.
func (s *Store) append(r Row) error {
	line, err := encode(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return os.ErrClosed
	case !s.faulty.IsZero() && time.Since(s.faulty) < retryAfter:
		return errNotWritten
	case !s.faulty.IsZero(), s.size > compactOver && s.size > 4*s.base:
		err = s.renew() // the row is among those that count
	default:
		var n int
		n, err = s.file.Write(line)
		s.size += int64(n)
	}
	if err != nil {
		s.faulty = time.Now()
		s.faults++
		return fmt.Errorf("writing the registrations: %w", err)
	}
	return nil
}

var errNotWritten = errors.New("the registrations could not be written a moment ago, and will be in a minute")

// encode makes a line of a row.
func encode(r Row) ([]byte, error) {
	r.V = version
	line, err := json.Marshal(r)
	if err == nil && len(line) >= maxLine-1 {
		err = fmt.Errorf("row of %d bytes", len(line))
	}
	if err != nil {
		return nil, fmt.Errorf("keeping a registration: %w", err)
	}
	return append(line, '\n'), nil
}

// Faults is how many writes failed.
func (s *Store) Faults() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// renew makes the file anew, of the rows that count. The old one counts until the new one is whole.
func (s *Store) renew() error {
	tmp := s.path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size, err := write(f, s.live())
	if err == nil {
		err = os.Rename(tmp, s.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(tmp))
	}
	if s.file != nil {
		s.file.Close()
	}
	s.file, s.size, s.base, s.faulty = f, size, size, time.Time{}
	if dir, err := os.Open(filepath.Dir(s.path)); err == nil {
		_ = dir.Sync() // without it a power cut may bring the old file back, which is as good
		dir.Close()
	}
	return nil
}

// write writes rows through to the disk.
func write(f *os.File, rows iter.Seq[Row]) (size int64, err error) {
	out := bufio.NewWriterSize(f, 1<<20)
	for r := range rows {
		line, err := encode(r)
		if err != nil {
			continue // it was not kept before either
		}
		n, _ := out.Write(line) // Flush tells
		size += int64(n)
	}
	return size, errors.Join(out.Flush(), f.Sync())
}

// Close writes the file through to the disk.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(s.file.Sync(), s.file.Close())
}
