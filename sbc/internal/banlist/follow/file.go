package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"syscall"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/sbc/internal/banlist/geo"
)

// content is a list as a source has it.
type content struct {
	list    []netip.Prefix
	report  banlist.Report
	fetched time.Time
	// accept says that the list is in force: the source need not give it again before it changes. An error is about the copy on
	// disk only.
	accept func() error
}

// source is where a list comes from. One goroutine at a time uses it.
type source interface {
	// load returns what there is without the network: nil if nothing.
	load(ctx context.Context) (*content, error)
	// look returns what the source has now: nil if it is what was accepted last.
	look(ctx context.Context) (*content, error)
	// forget makes the next look return the content even if it has not changed.
	forget()
	// name is where the list comes from, to show; it holds no secrets.
	name() string
}

// file follows a file by inode, time and size.
type file struct {
	path   string
	most   int64
	turn   turn
	clock  func() time.Time
	parse  func(ctx context.Context, f io.Reader) ([]netip.Prefix, banlist.Report, error)
	seen   fs.FileInfo // what was accepted last
	bad    fs.FileInfo // what could not be read last
	badErr error
}

func newFile(l List, t turn, clock func() time.Time) *file {
	f := &file{path: l.File, most: int64(l.MaxBytes), turn: t, clock: clock}
	if l.MMDB == "" {
		f.parse = func(_ context.Context, r io.Reader) ([]netip.Prefix, banlist.Report, error) {
			return banlist.Parse(r, l.options())
		}
		return f
	}
	f.path = l.MMDB
	f.parse = func(ctx context.Context, r io.Reader) ([]netip.Prefix, banlist.Report, error) {
		db, err := io.ReadAll(io.LimitReader(r, f.most))
		if err != nil {
			return nil, banlist.Report{}, err
		}
		return geo.Collect(ctx, db, geo.Rule{Countries: l.Countries, ASNs: l.ASNs}, l.MaxEntries)
	}
	return f
}

func (f *file) name() string { return f.path }

func (f *file) forget() { f.seen = nil }

func (f *file) load(ctx context.Context) (*content, error) { return f.look(ctx) }

// Errors of a file.
var (
	errGone   = errors.New("the file is gone")
	errMoving = errors.New("the file changes while it is read")
)

func (f *file) look(ctx context.Context) (*content, error) {
	now, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case err != nil:
		return nil, err
	case same(now, f.seen):
		return nil, nil
	case same(now, f.bad):
		return nil, f.badErr
	}
	if err := f.turn.take(ctx); err != nil {
		return nil, err
	}
	defer f.turn.give()
	list, report, info, err := f.read(ctx)
	if err != nil {
		if !errors.Is(err, errMoving) && ctx.Err() == nil {
			f.bad, f.badErr = now, err
		}
		return nil, err
	}
	return &content{list, report, f.clock(), func() error { f.seen, f.bad = info, nil; return nil }}, nil
}

func (f *file) read(ctx context.Context) ([]netip.Prefix, banlist.Report, fs.FileInfo, error) {
	in, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hang us
	if err != nil {
		return nil, banlist.Report{}, nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	switch {
	case err != nil:
		return nil, banlist.Report{}, nil, err
	case !info.Mode().IsRegular():
		return nil, banlist.Report{}, nil, errors.New("is no regular file")
	case info.Size() > f.most:
		return nil, banlist.Report{}, nil, fmt.Errorf("%w: over %d bytes", banlist.ErrTooLarge, f.most)
	}
	list, report, err := f.parse(ctx, in)
	if now, serr := os.Stat(f.path); serr != nil || !same(now, info) {
		return nil, report, nil, errMoving
	}
	return list, report, info, err
}

func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// turn lets one list at a time be parsed and applied: many at once would need many times the memory.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }
