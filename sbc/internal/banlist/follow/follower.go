package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Follower works with. Apply is needed, and Dir if a list has a URL.
type Options struct {
	// Apply puts a list in force in place of the last one of that name; nil removes it. The slice is its own to keep. It is called
	// for one list at a time, and must not call the Follower. After an error the list is given again at the next look.
	Apply func(name string, prefixes []netip.Prefix) error
	Dir   string           // where good copies of URLs' contents are kept; made with mode 0700
	Log   *slog.Logger     // slog.Default()
	Clock func() time.Time // time.Now
	Rand  func() float64   // for jitter, in [0,1): math/rand/v2
}

// Follower follows lists. Its methods may be called by several goroutines.
type Follower struct {
	opts  Options
	turn  turn
	lists atomic.Pointer[[]*list]

	mu      sync.Mutex // guards the change of lists, and running
	running context.Context
}

// New returns a follower of what c names. It does nothing before Load or Run. An error is c's first fault, or the directory's.
func New(c Config, o Options) (*Follower, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	f := &Follower{opts: o, turn: make(turn, 1)}
	f.lists.Store(&[]*list{})
	return f, f.Reload(c)
}

// Load puts in force what there is without the network: files, databases, and the kept copies of URLs. A list that fails says so
// in its status and is tried again by Run.
func (f *Follower) Load(ctx context.Context) {
	for _, l := range *f.lists.Load() {
		l.load(ctx)
	}
}

// Run follows the lists until ctx ends, and returns when all that it started has ended. It may run once at a time.
func (f *Follower) Run(ctx context.Context) {
	f.mu.Lock()
	f.running = ctx
	for _, l := range *f.lists.Load() {
		f.start(l)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = nil
	for _, l := range *f.lists.Load() {
		l.halt()
	}
}

func (f *Follower) start(l *list) {
	if f.running == nil || l.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(f.running)
	done := make(chan struct{})
	l.stop, l.done = cancel, done
	go func() {
		defer close(done)
		l.run(ctx)
	}()
}

// halt ends the list's goroutine, if it has one, and waits for it.
func (l *list) halt() {
	if l.stop != nil {
		l.stop()
		<-l.done
		l.stop = nil
	}
}

// retire ends all that the list does, a Load too: its name is another's from now on.
func (l *list) retire() {
	l.halt()
	l.busy.Lock()
	defer l.busy.Unlock()
	l.loaded = true
}

// Reload follows what c names instead. A list that is gone is taken out of force, one that has changed stays in force until its
// new source has given one, the others go on undisturbed. If c has a fault, nothing changes and the error is the first.
func (f *Follower) Reload(c Config) error {
	if fs := c.Check(); len(fs) > 0 {
		return fs[0]
	}
	if err := f.directory(c); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := map[string]*list{}
	for _, l := range *f.lists.Load() {
		old[l.cfg.Name] = l
	}
	var next []*list
	var errs []error
	for _, cfg := range c.Lists {
		was := old[cfg.Name]
		delete(old, cfg.Name)
		if was != nil && reflect.DeepEqual(was.cfg, cfg.filled()) {
			next = append(next, was)
			continue
		}
		l := newList(cfg, &f.opts, f.turn)
		if was != nil {
			was.retire()
			l.inherit(was)
			if w, ok := was.src.(*web); ok && cfg.URL == "" {
				errs = append(errs, w.kept.remove())
			}
		}
		next = append(next, l)
	}
	for _, l := range old {
		l.retire()
		errs = append(errs, l.drop())
	}
	f.lists.Store(&next)
	for _, l := range next {
		f.start(l)
	}
	return errors.Join(errs...)
}

// directory makes the directory, if c needs it.
func (f *Follower) directory(c Config) error {
	for _, l := range c.Lists {
		if l.URL == "" {
			continue
		}
		if f.opts.Dir == "" {
			return errors.New("no directory to keep lists in")
		}
		if err := os.MkdirAll(f.opts.Dir, 0o700); err != nil {
			return fmt.Errorf("making a directory for lists: %w", err)
		}
		return nil
	}
	return nil
}

// inherit takes on what is in force of a list whose configuration has changed.
func (l *list) inherit(was *list) {
	s := was.state()
	l.status.Entries, l.status.Report, l.status.Fetched, l.status.Changed = s.Entries, s.Report, s.Fetched, s.Changed
}

// drop takes the list out of force and off the disk.
func (l *list) drop() error {
	errs := []error{l.apply(context.Background(), nil)}
	if w, ok := l.src.(*web); ok {
		errs = append(errs, w.kept.remove())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing list %s: %w", l.cfg.Name, err)
	}
	l.opts.Log.Info("list removed", "list", l.cfg.Name)
	return nil
}

// Refresh looks at the list of that name now instead of when it is due. It returns at once; false if there is none.
func (f *Follower) Refresh(name string) bool {
	for _, l := range *f.lists.Load() {
		if l.cfg.Name == name {
			select {
			case l.poke <- struct{}{}:
			default: // one is on its way
			}
			return true
		}
	}
	return false
}

// Status tells how each list stands, in the order of the configuration.
func (f *Follower) Status() []Status {
	lists := *f.lists.Load()
	out := make([]Status, len(lists))
	for i, l := range lists {
		out[i] = l.state()
	}
	return out
}
