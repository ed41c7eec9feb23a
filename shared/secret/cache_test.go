package secret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a store whose failures and delays the test decides.
type fake struct {
	mu     sync.Mutex
	values map[string]map[string]string
	err    error         // what Get returns instead
	gate   chan struct{} // Get waits for it, if there is one
	gets   int
}

func newFake(paths ...string) *fake {
	f := &fake{values: map[string]map[string]string{}}
	for _, p := range paths {
		f.values[p] = map[string]string{"v": p}
	}
	return f
}

func (f *fake) set(err error, gate chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.gate = err, gate
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gets
}

func (f *fake) Get(ctx context.Context, path string) (map[string]string, error) {
	f.mu.Lock()
	f.gets++
	gate, err := f.gate, f.err
	v, ok := f.values[path]
	v = maps.Clone(v)
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, ErrNotFound
	}
	return v, nil
}

func (f *fake) Put(_ context.Context, path string, v map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[path] = maps.Clone(v)
	return nil
}

func (f *fake) Delete(_ context.Context, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, path)
	return nil
}

func (f *fake) List(_ context.Context, prefix string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := map[string]bool{}
	for p := range f.values {
		if rest, ok := strings.CutPrefix(p, prefix); ok {
			rest = strings.TrimPrefix(rest, "/")
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				rest = rest[:i+1]
			}
			names[rest] = true
		}
	}
	var out []string
	for n := range names {
		out = append(out, n)
	}
	return out, f.err
}

func (f *fake) Close() error { return nil }

// ticker is a clock that the test moves.
type ticker struct {
	mu sync.Mutex
	t  time.Time
}

func (c *ticker) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *ticker) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func cached(t *testing.T, f *fake, entries int) (*Cache, *ticker) {
	clk := &ticker{t: time.Unix(1_800_000_000, 0)}
	c := NewCache(f, CacheConfig{Refresh: time.Minute, Keep: time.Hour, Absent: 10 * time.Second, Entries: entries}, clk.now, quiet())
	t.Cleanup(func() { c.Close() })
	return c, clk
}

func value(t *testing.T, c *Cache, path string) string {
	t.Helper()
	v, err := c.Get(deadline(t), path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v["v"]
}

func TestCacheReadsOnce(t *testing.T) {
	f := newFake("a")
	c, _ := cached(t, f, 10)
	for range 10 {
		if value(t, c, "a") != "a" {
			t.Error("wrong")
		}
	}
	if n := f.count(); n != 1 {
		t.Errorf("%d reads", n)
	}
}

func TestCacheManyAskOneReads(t *testing.T) {
	f := newFake("a")
	gate := make(chan struct{})
	f.set(nil, gate)
	c, _ := cached(t, f, 10)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := c.Get(deadline(t), "a"); err != nil || v["v"] != "a" {
				t.Error(v, err)
			}
		})
	}
	eventually(t, "a read runs", func() bool { return f.count() == 1 })
	close(gate)
	wg.Wait()
	if n := f.count(); n != 1 {
		t.Errorf("%d reads", n)
	}
}

// What is old is returned at once, even if the store hangs, and replaced in the background.
func TestCacheRefreshesInTheBackground(t *testing.T) {
	f := newFake("a")
	c, clk := cached(t, f, 10)
	value(t, c, "a")
	if err := f.Put(context.Background(), "a", map[string]string{"v": "new"}); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	f.set(nil, gate)
	clk.move(time.Minute)
	for range 10 {
		if got := value(t, c, "a"); got != "a" {
			t.Errorf("got %s", got)
		}
	}
	close(gate)
	eventually(t, "the new value is seen", func() bool { return value(t, c, "a") == "new" })
	if n := f.count(); n != 2 {
		t.Errorf("%d reads", n)
	}
}

func TestCacheWhileTheStoreIsAway(t *testing.T) {
	f := newFake("a")
	c, clk := cached(t, f, 10)
	value(t, c, "a")
	f.set(fmt.Errorf("sealed: %w", ErrUnavailable), nil)
	clk.move(time.Minute)
	value(t, c, "a")
	eventually(t, "the failure is noticed", func() bool { away, _ := c.Status(); return !away.IsZero() })
	before := f.count()
	for range 100 {
		value(t, c, "a")
		if _, err := c.Get(deadline(t), "b"); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := f.count(); n != before {
		t.Errorf("%d reads of a store that is known to be away", n-before)
	}
	clk.move(30 * time.Minute)
	value(t, c, "a")
	clk.move(30 * time.Minute)
	if _, err := c.Get(deadline(t), "a"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("kept for too long: %v", err)
	}
	f.set(nil, nil)
	clk.move(pauseAway)
	if value(t, c, "a") != "a" {
		t.Error("not back")
	}
	if away, _ := c.Status(); !away.IsZero() {
		t.Error("still said to be away")
	}
}

func TestCacheOtherErrorsKeepTheValue(t *testing.T) {
	f := newFake("a")
	c, clk := cached(t, f, 10)
	value(t, c, "a")
	f.set(ErrDenied, nil)
	clk.move(time.Minute)
	value(t, c, "a")
	eventually(t, "the refusal came", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.entries["a"].again.IsZero() })
	before := f.count()
	for range 100 {
		value(t, c, "a")
	}
	if n := f.count(); n != before {
		t.Errorf("asked %d times in a row", n-before)
	}
	if _, err := c.Get(deadline(t), "b"); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

func TestCacheForgetsWhatIsGone(t *testing.T) {
	f := newFake("a")
	c, clk := cached(t, f, 10)
	value(t, c, "a")
	if err := f.Delete(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	clk.move(time.Minute)
	eventually(t, "it is gone", func() bool { _, err := c.Get(deadline(t), "a"); return errors.Is(err, ErrNotFound) })
	before := f.count()
	for range 10 { // that it is not there is remembered too
		if _, err := c.Get(deadline(t), "a"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if f.count() != before {
		t.Error("asked again")
	}
	clk.move(10 * time.Second)
	if err := f.Put(context.Background(), "a", map[string]string{"v": "back"}); err != nil {
		t.Fatal(err)
	}
	if got := value(t, c, "a"); got != "back" {
		t.Error(got)
	}
}

// A Put overtakes a read that runs: what the read brings is old.
func TestCachePutDuringARead(t *testing.T) {
	f := newFake("a")
	c, clk := cached(t, f, 10)
	value(t, c, "a")
	gate := make(chan struct{})
	f.set(nil, gate)
	clk.move(time.Minute)
	before := f.count()
	value(t, c, "a")
	eventually(t, "a read runs", func() bool { return f.count() > before })
	if err := c.Put(context.Background(), "a", map[string]string{"v": "new"}); err != nil {
		t.Fatal(err)
	}
	close(gate)
	eventually(t, "the read ended", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.entries["a"].loading == nil })
	if got := value(t, c, "a"); got != "new" {
		t.Errorf("the old value came back: %s", got)
	}
	if err := c.Delete(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(deadline(t), "a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// Names that strangers try must not push out those of real accounts, nor fill the memory.
func TestCacheIsBounded(t *testing.T) {
	f := newFake("a", "b")
	c, _ := cached(t, f, 10)
	value(t, c, "a")
	value(t, c, "b")
	for i := range 1000 {
		if _, err := c.Get(deadline(t), fmt.Sprint("unknown/", i)); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if _, n := c.Status(); n > 10 {
		t.Errorf("%d entries", n)
	}
	before := f.count()
	value(t, c, "a")
	value(t, c, "b")
	if f.count() != before {
		t.Error("real accounts were pushed out")
	}
	for i := range 20 {
		p := fmt.Sprint("real/", i)
		if err := c.Put(context.Background(), p, map[string]string{"v": p}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 { // beyond the bound they are read each time
		if p := fmt.Sprint("real/", i); value(t, c, p) != p {
			t.Error(p)
		}
	}
}

func TestCacheCallerGivesUp(t *testing.T) {
	f := newFake("a")
	gate := make(chan struct{})
	f.set(nil, gate)
	c, _ := cached(t, f, 10)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for range 2 {
		go func() { _, err := c.Get(ctx, "a"); done <- err }()
	}
	eventually(t, "a read runs", func() bool { return f.count() == 1 })
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	close(gate)
	if value(t, c, "a") != "a" {
		t.Error("the next caller suffers")
	}
}

func TestCachePreload(t *testing.T) {
	f := newFake("x/a", "x/b", "x/y/c", "z")
	c, _ := cached(t, f, 10)
	if n, err := c.Preload(deadline(t), "x"); err != nil || n != 3 {
		t.Error(n, err)
	}
	before := f.count()
	value(t, c, "x/y/c")
	if f.count() != before {
		t.Error("not in hand")
	}
	if n, err := c.Preload(deadline(t), ""); err != nil || n != 4 {
		t.Error(n, err)
	}
	f.set(ErrUnavailable, nil)
	if _, err := c.Preload(deadline(t), ""); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if _, err := c.Preload(deadline(t), ".."); !errors.Is(err, ErrPath) {
		t.Error(err)
	}
}

func BenchmarkCacheGet(b *testing.B) {
	f := newFake("extensions/100")
	c := NewCache(f, DefaultCache(), time.Now, quiet())
	defer c.Close()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(ctx, "extensions/100"); err != nil {
			b.Fatal(err)
		}
	}
}
