package follow

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"brickhouse/sbc/internal/banlist"
)

// list is one list that is followed.
type list struct {
	cfg  List // filled
	opts *Options
	turn turn
	src  source
	poke chan struct{} // look now
	stop func()        // ends its goroutine; nil while there is none
	done chan struct{} // closed when it has ended

	busy   sync.Mutex // one look at a time; guards the next three and src
	loaded bool
	seed   maphash.Seed
	digest uint64 // of what was applied last; 0: nothing was

	mu     sync.Mutex
	status Status
}

func newList(cfg List, o *Options, t turn) *list {
	l := &list{cfg: cfg.filled(), opts: o, turn: t, poke: make(chan struct{}, 1), seed: maphash.MakeSeed()}
	if l.cfg.URL != "" {
		l.src = &web{cfg: l.cfg, kept: kept{o.Dir, cfg.Name, cfg.URL}, turn: t, clock: o.Clock}
	} else {
		l.src = newFile(l.cfg, t, o.Clock)
	}
	l.status = Status{Name: cfg.Name, Source: l.src.name(), Allow: cfg.Allow, Monitor: cfg.Monitor}
	return l
}

// run follows the list until ctx ends.
func (l *list) run(ctx context.Context) {
	l.load(ctx)
	for {
		wait := time.NewTimer(l.look(ctx))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		case <-l.poke:
			wait.Stop()
		}
	}
}

// load takes what there is without the network, once.
func (l *list) load(ctx context.Context) {
	l.busy.Lock()
	defer l.busy.Unlock()
	if l.loaded {
		return
	}
	err := l.try(ctx, l.src.load, l.cfg.URL != "")
	if ctx.Err() != nil {
		return
	}
	l.loaded = true
	if err != nil {
		l.mu.Lock()
		l.status.Checked, l.status.Error = l.opts.Clock(), l.explain(err)
		l.mu.Unlock()
		l.opts.Log.Warn("loading a list", "list", l.cfg.Name, "err", err)
	}
}

// look asks the source, takes what has changed, and returns how long to wait until the next time.
func (l *list) look(ctx context.Context) time.Duration {
	l.busy.Lock()
	defer l.busy.Unlock()
	err := l.try(ctx, l.src.look, false)
	if ctx.Err() != nil {
		return 0
	}
	now := l.opts.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.status.Error
	l.status.Checked, l.status.Error = now, ""
	if err != nil {
		l.status.Failures++
		l.status.FailedAll++
		l.status.Error = l.explain(err)
	} else {
		l.status.Failures, l.status.FromDisk = 0, false
	}
	wait := l.delay(err)
	l.status.Next = now.Add(wait)
	if l.status.Error != "" && l.status.Error != was { // said once, not at each look
		l.opts.Log.Warn("following a list", "list", l.cfg.Name, "err", l.status.Error, "entries", l.status.Entries, "again_in", wait)
	}
	return wait
}

// explain is err, and what holds meanwhile.
func (l *list) explain(err error) string {
	if l.status.Changed.IsZero() {
		return err.Error() + "; nothing is in force"
	}
	return fmt.Sprintf("%s; the list of %s stays", err, l.status.Fetched.UTC().Format(time.RFC3339))
}

// delay is how long to wait after a look that gave err. A URL that failed is tried again soon, then at ever longer intervals.
func (l *list) delay(err error) time.Duration {
	d := l.cfg.Every
	if l.cfg.URL == "" {
		return d
	}
	if err != nil {
		d = min(d, firstRetry<<min(l.status.Failures-1, 16))
		if r, ok := errors.AsType[refused](err); ok {
			d = max(d, r.after)
		}
	}
	return d + time.Duration(float64(d)*jitter*l.opts.Rand())
}

const (
	firstRetry = 30 * time.Second
	jitter     = 0.1 // of the delay, on top of it: many borders must not ask in step
)

// try gets content and takes it. What a stranger's bytes break in us ends this look, not the program.
func (l *list) try(ctx context.Context, get func(context.Context) (*content, error), disk bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("internal fault")
			l.opts.Log.Error("following a list", "list", l.cfg.Name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	c, err := get(ctx)
	if err != nil || c == nil {
		return err
	}
	return l.takeOn(ctx, c, disk)
}

// takeOn puts a list in force, if it differs from what is.
func (l *list) takeOn(ctx context.Context, c *content, disk bool) error {
	if had := l.state().Entries; len(c.list) == 0 && had > 0 && !l.cfg.AllowEmpty {
		return fmt.Errorf("%w where it had %d; allow_empty would take it", banlist.ErrEmpty, had)
	}
	sum := digest(l.seed, c.list)
	changed := sum != l.digest
	if changed {
		if err := l.apply(ctx, c.list); err != nil {
			l.digest = 0 // who knows what holds now
			l.src.forget()
			return fmt.Errorf("putting it in force: %w", err)
		}
		l.digest = sum
	}
	kept := c.accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.status
	s.Entries, s.Report, s.Fetched, s.FromDisk, s.Disk = len(c.list), c.report, c.fetched, disk, ""
	if kept != nil {
		s.Disk = kept.Error()
		l.opts.Log.Warn("keeping a list on disk", "list", l.cfg.Name, "err", kept)
	}
	if changed {
		s.Changed = l.opts.Clock()
		l.opts.Log.Info("list in force", "list", l.cfg.Name, "entries", s.Entries, "refused", s.Report.RefusedAll())
	}
	return nil
}

func (l *list) apply(ctx context.Context, prefixes []netip.Prefix) error {
	if err := l.turn.take(ctx); err != nil {
		return err
	}
	defer l.turn.give()
	return l.opts.Apply(l.cfg.Name, prefixes)
}

// digest tells lists apart within one run of the program. It is never 0.
func digest(seed maphash.Seed, prefixes []netip.Prefix) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var b [18]byte
	for _, p := range prefixes {
		a := p.Addr().As16()
		copy(b[:], a[:])
		binary.BigEndian.PutUint16(b[16:], uint16(p.Addr().BitLen()<<8|p.Bits()&0xff))
		h.Write(b[:])
	}
	return h.Sum64() | 1
}

func (l *list) state() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}
