package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"brickhouse/shared/conffile"
)

// CacheConfig says what a Cache keeps.
type CacheConfig struct {
	Refresh time.Duration `yaml:"refresh" doc:"How old a secret in memory may be before it is read again in the background."`
	Keep    time.Duration `yaml:"keep" doc:"How long a secret in memory is used while the store is away."`
	Absent  time.Duration `yaml:"absent" doc:"How long it is remembered that a secret is not there."`
	Entries int           `yaml:"entries" doc:"How many secrets are kept in memory at most."`
}

// DefaultCache returns the defaults.
func DefaultCache() CacheConfig {
	return CacheConfig{Refresh: 5 * time.Minute, Keep: 24 * time.Hour, Absent: 10 * time.Second, Entries: 100_000}
}

// Validate reports what is out of range.
func (c CacheConfig) Validate() []conffile.Fault {
	var out []conffile.Fault
	if c.Refresh < time.Second {
		out = append(out, conffile.Badf("refresh", "write 1s or more", "%v is too short", c.Refresh))
	}
	if c.Keep < c.Refresh {
		out = append(out, conffile.Badf("keep", "write at least the time of refresh", "%v is shorter than refresh", c.Keep))
	}
	if c.Entries < 1 {
		out = append(out, conffile.Badf("entries", "write 1 or more", "%d entries", c.Entries))
	}
	return out
}

// Cache is a Store that reads through to another and keeps what it read. A secret in hand is returned at once, whatever
// the store does: what is older than Refresh is read again in the background, and given up only after Keep without the
// store, or when the store says that it is gone. A secret that is not in hand waits for the store, or is ErrUnavailable
// at once while the store is known to be away. Changes go to the store first.
type Cache struct {
	store Store
	cfg   CacheConfig
	now   func() time.Time
	log   *slog.Logger

	life context.Context
	stop context.CancelFunc
	work sync.WaitGroup // background reads
	slot chan struct{}  // bounds the background reads that run at once

	mu      sync.Mutex
	entries map[string]*entry
	away    time.Time // since when the store is away; zero if it is not
	tried   time.Time // last attempt while it is away
}

// entry is a secret in hand, or the knowledge that there is none.
type entry struct {
	values  map[string]string // nil: not there
	read    time.Time         // when the store last said so
	again   time.Time         // no background read before this: the last one failed
	loading chan struct{}     // closed when the read that runs ends; nil if none does
	version int               // counts Puts and Deletes: a read that began before one is thrown away
}

const (
	maxBackground = 8               // reads at once
	pauseAway     = 2 * time.Second // between attempts while the store is away
	readTimeout   = 10 * time.Second
)

// NewCache returns a cache in front of s, which it owns from now on. now is the clock.
func NewCache(s Store, cfg CacheConfig, now func() time.Time, log *slog.Logger) *Cache {
	life, stop := context.WithCancel(context.Background())
	return &Cache{store: s, cfg: cfg, now: now, log: log, life: life, stop: stop,
		slot: make(chan struct{}, maxBackground), entries: map[string]*entry{}}
}

// Status says whether the store answers, since when it does not, and how many secrets are in hand.
func (c *Cache) Status() (away time.Time, entries int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away, len(c.entries)
}

// Get returns the secret, from memory if it is there.
func (c *Cache) Get(ctx context.Context, path string) (map[string]string, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		if values, err, ok := c.inHandLocked(path); ok {
			c.mu.Unlock()
			return values, err
		}
		e := c.entryLocked(path)
		if e == nil {
			c.mu.Unlock()
			return c.store.Get(ctx, path)
		}
		if loading := e.loading; loading != nil { // somebody reads it already
			c.mu.Unlock()
			select {
			case <-loading:
				continue // to what it brought; if it failed, to a read of our own
			case <-ctx.Done():
				return nil, fmt.Errorf("reading %s: %w", path, ctx.Err())
			}
		}
		done, version := e.begin(), e.version
		c.mu.Unlock()
		values, err := c.store.Get(ctx, path)
		c.finish(path, e, version, values, err)
		close(done)
		return maps.Clone(values), err
	}
}

// inHandLocked answers without the store, if that is possible or the only way.
func (c *Cache) inHandLocked(path string) (values map[string]string, err error, ok bool) {
	if c.life.Err() != nil {
		return nil, ErrClosed, true
	}
	e := c.entries[path]
	switch {
	case e != nil && c.usable(e):
		if c.stale(e) {
			c.refreshLocked(path, e)
		}
		if e.values == nil {
			return nil, fmt.Errorf("%w: %s", ErrNotFound, path), true
		}
		return maps.Clone(e.values), nil, true
	case !c.away.IsZero() && c.now().Sub(c.tried) < pauseAway:
		return nil, fmt.Errorf("reading %s: %w", path, ErrUnavailable), true
	}
	return nil, nil, false
}

// entryLocked returns the entry of path, a new one if need be, or nil if there is no room for it.
func (c *Cache) entryLocked(path string) *entry {
	e := c.entries[path]
	if e == nil && c.roomLocked() {
		e = &entry{}
		c.entries[path] = e
	}
	return e
}

// usable reports whether e may be returned as it is.
func (c *Cache) usable(e *entry) bool {
	age := c.now().Sub(e.read)
	switch {
	case e.read.IsZero():
		return false
	case e.values == nil:
		return age < c.cfg.Absent
	}
	return age < c.cfg.Keep
}

func (c *Cache) stale(e *entry) bool {
	return e.values != nil && c.now().Sub(e.read) >= c.cfg.Refresh && !c.now().Before(e.again)
}

// roomLocked makes room for one entry, by dropping one that only says "not there" or is too old.
func (c *Cache) roomLocked() bool {
	if len(c.entries) < c.cfg.Entries {
		return true
	}
	looked := 0
	for path, e := range c.entries {
		if e.loading == nil && (e.values == nil || !c.usable(e)) {
			delete(c.entries, path)
			return true
		}
		if looked++; looked >= 64 { // no more than this under the lock
			break
		}
	}
	return false
}

// begin marks that a read runs; whoever runs it closes the channel.
func (e *entry) begin() chan struct{} {
	e.loading = make(chan struct{})
	return e.loading
}

// refreshLocked reads a secret again in the background, unless that happens already or the store is away.
func (c *Cache) refreshLocked(path string, e *entry) {
	if e.loading != nil || !c.away.IsZero() && c.now().Sub(c.tried) < pauseAway {
		return
	}
	select {
	case c.slot <- struct{}{}:
	default:
		return // enough of them run; the next Get tries again
	}
	done, version := e.begin(), e.version
	c.work.Go(func() {
		defer func() { <-c.slot }()
		ctx, cancel := context.WithTimeout(c.life, readTimeout)
		defer cancel()
		values, err := c.store.Get(ctx, path)
		c.finish(path, e, version, values, err)
		close(done)
	})
}

// finish takes in what a read brought.
func (c *Cache) finish(path string, e *entry, version int, values map[string]string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.loading = nil
	if e.version != version {
		return // a Put or Delete overtook the read
	}
	switch {
	case err == nil:
		c.answeredLocked()
		e.values, e.read = maps.Clone(values), c.now()
	case errors.Is(err, ErrNotFound):
		c.answeredLocked()
		e.values, e.read = nil, c.now()
	default:
		if errors.Is(err, ErrUnavailable) {
			c.awayLocked(err)
		}
		e.again = c.now().Add(pauseAway)
		if e.read.IsZero() && c.entries[path] == e {
			delete(c.entries, path)
		}
	}
}

func (c *Cache) answeredLocked() {
	if !c.away.IsZero() {
		c.log.Info("secret store is back", "away", c.now().Sub(c.away))
		c.away = time.Time{}
	}
}

func (c *Cache) awayLocked(err error) {
	c.tried = c.now()
	if c.away.IsZero() {
		c.away = c.tried
		c.log.Warn("secret store is away; going on with what is in memory", "err", err, "entries", len(c.entries))
	}
}

// Put writes to the store and, when that worked, to memory.
func (c *Cache) Put(ctx context.Context, path string, v map[string]string) error {
	if err := c.store.Put(ctx, path, v); err != nil {
		return err
	}
	c.replace(path, maps.Clone(v))
	return nil
}

// Delete deletes in the store and, when that worked, in memory.
func (c *Cache) Delete(ctx context.Context, path string) error {
	if err := c.store.Delete(ctx, path); err != nil {
		return err
	}
	c.replace(path, nil)
	return nil
}

func (c *Cache) replace(path string, v map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entryLocked(path)
	if e == nil {
		return
	}
	e.version++
	e.values, e.read = v, c.now()
}

// List asks the store.
func (c *Cache) List(ctx context.Context, prefix string) ([]string, error) {
	return c.store.List(ctx, prefix)
}

// Preload reads all secrets below prefix into memory and returns how many. It stops at the first failure.
func (c *Cache) Preload(ctx context.Context, prefix string) (int, error) {
	prefix, err := checkPrefix(prefix)
	if err != nil {
		return 0, err
	}
	names, err := c.store.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	if prefix != "" {
		prefix += "/"
	}
	n := 0
	for _, name := range names {
		if name[len(name)-1] == '/' {
			below, err := c.Preload(ctx, prefix+name)
			n += below
			if err != nil {
				return n, err
			}
			continue
		}
		if _, err := c.Get(ctx, prefix+name); err != nil && !errors.Is(err, ErrNotFound) {
			return n, fmt.Errorf("reading secrets ahead: %w", err)
		}
		n++
	}
	return n, nil
}

// Close ends the background reads, forgets everything and closes the store.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.stop()
	c.entries = map[string]*entry{}
	c.mu.Unlock()
	c.work.Wait()
	return c.store.Close()
}
