package statetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"brickhouse/shared/state"
)

func lastValueWins(s *suite) {
	const n = 300
	var wg sync.WaitGroup
	var mu sync.Mutex
	var last uint64
	wg.Add(n)
	for i := range uint64(n) {
		s.log.Append(row("k", i+1, fmt.Sprint(i+1)), func(rev uint64, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			if err != nil || rev < last {
				s.Errorf("change %d: rev %d after %d, %v", i+1, rev, last, err)
			}
			last = rev
		})
	}
	wg.Wait()
	s.same(s.follow("rows").values(), map[string]string{"k": "300"})
	st := s.log.Stats()
	if st.Appended != n || st.Acked != n || st.Waiting != 0 || st.Failed != 0 {
		s.Errorf("stats %+v", st)
	}
}

func snapshotThenLive(s *suite) {
	for i := range 700 { // more than a follower's batch
		s.log.Append(row(fmt.Sprintf("k%03d", i), uint64(i+1), "old"), nil)
	}
	if err := s.log.Flush(s.ctx); err != nil {
		s.Fatal(err)
	}
	v := s.follow("rows")
	if got := len(v.values()); got != 700 {
		s.Fatalf("snapshot has %d rows", got)
	}
	w := s.follow("rows")
	s.mustPut(row("k007", 1000, "new"))
	s.mustPut(row("new", 1001, "new"))
	for _, v := range []*view{v, w} {
		s.eventually("live change", func() bool { m := v.values(); return m["k007"] == "new" && m["new"] == "new" })
		v.mu.Lock()
		if v.syncs != 1 {
			s.Errorf("synced %d times", v.syncs)
		}
		var rev uint64
		for _, c := range v.all {
			if c.Rev <= rev {
				s.Errorf("%s has rev %d after %d", c.Key, c.Rev, rev)
			}
			rev = c.Rev
		}
		v.mu.Unlock()
	}
	v.stop()
	if err := <-v.ended; err != nil {
		s.Errorf("follow ended with %v", err)
	}
}

func keptOverReopen(s *suite) {
	expires := time.UnixMilli(1_800_000_000_123)
	c := row("k", 7, `{"v":1}`)
	c.Expires, c.Ver.Epoch = expires, 3
	rev := s.mustPut(c)
	s.log.Append(row("unwatched", 8, "x"), nil) // Close makes it durable
	s.reopen("a")
	v := s.follow("rows")
	got := v.live["k"]
	if got.Key != c.Key || got.Ver != c.Ver || string(got.Val) != string(c.Val) || got.By != "a" || got.Rev != rev || !got.Expires.Equal(expires) {
		s.Errorf("got %+v, want %+v with rev %d", got, c, rev)
	}
	if _, ok := v.live["unwatched"]; !ok {
		s.Error("what was appended before Close is gone")
	}
	next := row("k", 1, "2") // the first change of a key that the new log has only read
	next.Ver.Epoch = 4
	if r := s.mustPut(next); r <= rev {
		s.Errorf("rev %d after %d", r, rev)
	}
	s.eventually("new value", func() bool { return v.values()["k"] == "2" })
}

func deletes(s *suite) {
	s.mustPut(row("gone", 1, "x"))
	s.mustPut(row("stays", 2, "y"))
	v := s.follow("rows")
	s.mustPut(end("gone", 3))
	s.mustPut(end("never was", 4))
	s.eventually("delete", func() bool { return len(v.values()) == 1 })
	s.same(s.follow("rows").values(), map[string]string{"stays": "y"})
	s.reopen("a")
	w := s.follow("rows")
	s.same(w.values(), map[string]string{"stays": "y"})
	if len(w.all) != 1 {
		s.Errorf("snapshot tells of deleted rows: %v", w.all)
	}
	s.mustPut(row("gone", 5, "back")) // over a tombstone of an earlier life
	s.mustPut(end("gone", 6))
	s.mustPut(row("gone", 7, "again")) // over a tombstone of this one
	s.eventually("return", func() bool { return w.values()["gone"] == "again" })
}

func oddKeys(s *suite) {
	ids := []string{
		"a.b", "a*", ">", " ", "1001 sip:1001@10.0.0.1:5060;transport=tcp", "=", "=41", "ü\x00\xff", "\r\n", "$KV", "_",
		strings.Repeat("x", state.MaxID), strings.Repeat(".", state.MaxID),
	}
	want := map[string]string{}
	for i, id := range ids {
		s.mustPut(row(id, uint64(i+1), id))
		want[id] = id
	}
	s.same(s.follow("rows").values(), want)
	s.reopen("a")
	s.same(s.follow("rows").values(), want)
}

func bounds(s *suite) {
	big := row("big", 1, strings.Repeat("x", state.MaxValue))
	s.mustPut(big)
	s.mustPut(row("empty", 2, ""))
	if got := s.follow("rows").values(); len(got["big"]) != state.MaxValue {
		s.Errorf("big value came back with %d bytes", len(got["big"]))
	}
	big.Val = append(big.Val, 'x')
	for _, tt := range []struct {
		c    state.Change
		want error
	}{
		{big, state.ErrTooLarge},
		{row("", 3, ""), state.ErrBadKey},
		{row(strings.Repeat("x", state.MaxID+1), 3, ""), state.ErrBadKey},
		{state.Change{Key: state.Key{Table: "Rows", Shard: "0", ID: "x"}}, state.ErrBadKey},
		{state.Change{Key: state.Key{Table: "unknown", Shard: "0", ID: "x"}}, state.ErrBadKey},
		{state.Change{Key: state.Key{Table: "rows", Shard: "a.b", ID: "x"}}, state.ErrBadKey},
		{state.Change{Key: state.Key{Table: "rows", ID: "x"}}, state.ErrBadKey},
	} {
		if _, err := s.put(tt.c); !errors.Is(err, tt.want) {
			s.Errorf("append %.80q: %v, want %v", tt.c.Key.String(), err, tt.want)
		}
	}
	if err := s.log.Follow(s.ctx, "unknown", nil, nil, nil); !errors.Is(err, state.ErrBadKey) {
		s.Errorf("follow of an unknown table: %v", err)
	}
	for _, name := range []string{"", "A", "a.b", strings.Repeat("x", state.MaxName+1)} {
		if _, err := s.log.Claim(s.ctx, name, time.Hour); !errors.Is(err, state.ErrBadKey) {
			s.Errorf("claim of %q: %v", name, err)
		}
	}
}

func olderIsRefused(s *suite) {
	s.mustPut(row("k", 5, "new"))
	if _, err := s.put(row("k", 4, "old")); !errors.Is(err, state.ErrSuperseded) {
		s.Errorf("older change: %v", err)
	}
	s.reopen("a")
	if _, err := s.put(row("k", 4, "old")); !errors.Is(err, state.ErrSuperseded) {
		s.Errorf("older change after reopen: %v", err)
	}
	s.same(s.follow("rows").values(), map[string]string{"k": "new"})
	s.mustPut(row("k", 6, "newer"))
}

func sameAgain(s *suite) {
	first := s.mustPut(row("k", 5, "x"))
	s.reopen("a")
	if again := s.mustPut(row("k", 5, "x")); again != first {
		s.Errorf("rev %d, first was %d", again, first)
	}
}

func shards(s *suite) {
	other := row("k2", 2, "2")
	other.Shard = "1"
	s.mustPut(row("k1", 1, "1"))
	s.mustPut(other)
	s.same(s.follow("rows", "1").values(), map[string]string{"k2": "2"})
	s.same(s.follow("rows", "0", "1").values(), map[string]string{"k1": "1", "k2": "2"})
	s.same(s.follow("rows", "9").values(), map[string]string{})
}

func tablesAreApart(s *suite) {
	s.mustPut(row("k", 1, "1"))
	c := row("k", 2, "2")
	c.Table = "others"
	s.mustPut(c)
	s.same(s.follow("rows").values(), map[string]string{"k": "1"})
	s.same(s.follow("others").values(), map[string]string{"k": "2"})
}

func (s *suite) claim(name string) state.Lease {
	s.Helper()
	l, err := s.log.Claim(s.ctx, name, time.Hour)
	if err != nil {
		s.Fatalf("claim %s: %v", name, err)
	}
	return l
}

func epochs(s *suite) {
	var last uint64
	for i := range 4 {
		l := s.claim("node")
		if l.Epoch() <= last {
			s.Fatalf("claim %d has epoch %d after %d", i, l.Epoch(), last)
		}
		last = l.Epoch()
		if i == 1 {
			if err := l.Release(s.ctx); err != nil {
				s.Fatal(err)
			}
		}
		if i == 2 {
			s.reopen("a")
		}
	}
	if other := s.claim("other"); other.Epoch() >= last {
		s.Errorf("names share an epoch: %d", other.Epoch())
	}
}

func leaseOfAnother(s *suite) {
	first := s.claim("node").Epoch()
	s.reopen("b")
	if _, err := s.log.Claim(s.ctx, "node", time.Hour); !errors.Is(err, state.ErrHeld) {
		s.Fatalf("claim of what another holds: %v", err)
	}
	s.reopen("a")
	l := s.claim("node")
	if err := l.Renew(s.ctx); err != nil {
		s.Fatal(err)
	}
	if err := l.Release(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.reopen("b")
	if got := s.claim("node").Epoch(); got <= first {
		s.Errorf("epoch %d after %d", got, first)
	}
}

func lostLease(s *suite) {
	old := s.claim("node")
	s.claim("node")
	if err := old.Renew(s.ctx); !errors.Is(err, state.ErrHeld) {
		s.Errorf("renewing a lost lease: %v", err)
	}
	if err := old.Release(s.ctx); !errors.Is(err, state.ErrHeld) {
		s.Errorf("releasing a lost lease: %v", err)
	}
}

func oneProcess(s *suite) {
	if l, err := s.opener("b"); !errors.Is(err, state.ErrLocked) {
		s.Fatalf("second open: %v, %v", l, err)
	}
}

func closed(s *suite) {
	v := s.follow("rows")
	l := s.claim("node")
	if err := s.log.Close(); err != nil {
		s.Fatal(err)
	}
	if err := <-v.ended; err == nil {
		s.Error("follow of a closed log ended without an error")
	}
	if _, err := s.put(row("k", 1, "")); !errors.Is(err, state.ErrClosed) {
		s.Errorf("append: %v", err)
	}
	if err := s.log.Flush(s.ctx); !errors.Is(err, state.ErrClosed) {
		s.Errorf("flush: %v", err)
	}
	if err := s.log.Close(); err != nil {
		s.Errorf("second close: %v", err)
	}
	if _, err := s.log.Claim(s.ctx, "node", time.Hour); err == nil {
		s.Error("claim on a closed log")
	}
	if err := l.Renew(s.ctx); err == nil {
		s.Error("renewal on a closed log")
	}
	if err := s.log.Follow(s.ctx, "rows", nil, func([]state.Change) {}, func() {}); err == nil {
		s.Error("follow of a closed log")
	}
}

// manyWriters has eight writers change and delete rows of their own while a follower watches. In the end the follower, a
// new follower and the storage opened again all agree with the writers.
func manyWriters(s *suite) {
	v := s.follow("rows")
	var mu sync.Mutex
	want := map[string]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w))) //nolint:gosec // a seed, so that a failure comes again
			for seq := range uint64(150) {
				id := fmt.Sprintf("w%d-%d", w, rnd.IntN(10))
				c := row(id, seq+1, fmt.Sprintf("%d.%d", w, seq))
				if rnd.IntN(5) == 0 {
					c = end(id, seq+1)
				}
				mu.Lock()
				if delete(want, id); !c.Del {
					want[id] = string(c.Val)
				}
				mu.Unlock()
				s.log.Append(c, func(_ uint64, err error) {
					if err != nil {
						s.Errorf("append %s: %v", c.Key, err)
					}
				})
			}
		})
	}
	wg.Wait()
	if err := s.log.Flush(s.ctx); err != nil {
		s.Fatal(err)
	}
	s.eventually("follower agrees", func() bool { return fmt.Sprint(v.values()) == fmt.Sprint(want) })
	v.mu.Lock()
	seen := map[string]state.Ver{}
	for _, c := range v.all {
		if old, ok := seen[c.ID]; ok && c.Ver.Less(old) {
			s.Errorf("%s went back from %v to %v", c.Key, old, c.Ver)
		}
		seen[c.ID] = c.Ver
	}
	v.mu.Unlock()
	s.same(s.follow("rows").values(), want)
	s.reopen("a")
	s.same(s.follow("rows").values(), want)
}
