package digest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newNonces(t testing.TB, most int) *Nonces {
	t.Helper()
	n, err := NewNonces(NonceConfig{Key: make([]byte, 32), Life: 5 * time.Minute, Max: most, Rand: rand.Reader}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func issue(t testing.TB, n *Nonces, origin string, now time.Time) string {
	t.Helper()
	s, err := n.Issue(origin, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNonceLife(t *testing.T) {
	n := newNonces(t, 10)
	at := epoch.Add(time.Hour)
	s := issue(t, n, "flow", at)
	for _, tt := range []struct {
		name   string
		nonce  string
		origin string
		after  time.Duration
		want   NonceState
	}{
		{"at once", s, "flow", 0, NonceFresh},
		{"at its end", s, "flow", 5 * time.Minute, NonceFresh},
		{"after its end", s, "flow", 5*time.Minute + time.Millisecond, NonceStale},
		{"clock back", s, "flow", -time.Minute, NonceFresh},
		{"another flow", s, "flow2", 0, NonceForeign},
		{"nobody's", "", "flow", 0, NonceForeign},
		{"cut", s[1:], "flow", 0, NonceForeign},
		{"changed age", "B" + s[1:], "flow", 0, NonceForeign},
		{"changed end", s[:len(s)-2] + "AA", "flow", 0, NonceForeign},
		{"not base64", strings.Repeat("*", len(s)), "flow", 0, NonceForeign},
		{"long", strings.Repeat("A", 4000), "flow", 0, NonceForeign},
	} {
		if got := n.Check(tt.nonce, tt.origin, at.Add(tt.after)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	other := newNonces(t, 10)
	other.cfg.Key = []byte(strings.Repeat("k", 32))
	if got := other.Check(s, "flow", at); got != NonceForeign {
		t.Errorf("another key: %d", got)
	}
	if issue(t, n, "flow", at) == s {
		t.Error("two nonces of one moment are the same")
	}
}

// Every single byte of a nonce counts.
func TestNonceForgery(t *testing.T) {
	n := newNonces(t, 10)
	s := issue(t, n, "flow", epoch)
	for i := range len(s) {
		for _, c := range "AZaz09-_=+" {
			if f := s[:i] + string(c) + s[i+1:]; f != s && n.Check(f, "flow", epoch) != NonceForeign {
				t.Fatalf("%s passes for %s", f, s)
			}
		}
	}
}

func TestNonceCount(t *testing.T) {
	n := newNonces(t, 10)
	s := issue(t, n, "f", epoch)
	for i, tt := range []struct {
		nonce string
		nc    uint32
		after time.Duration
		want  bool
	}{
		{s, 1, 0, true},
		{s, 1, 0, false}, // replay
		{s, 2, 0, true},
		{s, 5, time.Minute, true}, // gaps are allowed: responses may have been lost
		{s, 4, time.Minute, false},
		{s, 5, 2 * time.Minute, false},
		{s, 6, 5 * time.Minute, true},
		{s, 7, 5*time.Minute + time.Second, false}, // over
		{"x", 1, 0, false},
	} {
		if got := n.Use(tt.nonce, "f", tt.nc, epoch.Add(tt.after)); got != tt.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if n.Use(issue(t, n, "f", epoch), "g", 1, epoch) {
		t.Error("taken from another origin")
	}
	once := issue(t, n, "f", epoch)
	if !n.Use(once, "f", 0, epoch) || n.Use(once, "f", 0, epoch) {
		t.Error("without a count a nonce works once")
	}
}

// A counter is kept as long as its nonce lives, whenever that began, and forgotten after.
func TestNonceTableTurns(t *testing.T) {
	n := newNonces(t, 1000)
	for start := time.Duration(0); start < 30*time.Minute; start += 37 * time.Second {
		s := issue(t, n, "f", epoch.Add(start))
		for i, at := range []time.Duration{0, 0, time.Minute, 4 * time.Minute, 5 * time.Minute} {
			if got := n.Use(s, "f", 1, epoch.Add(start+at)); got != (i == 0) {
				t.Fatalf("issued at %s, used for the %d. time after %s: %v", start, i+1, at, got)
			}
		}
	}
	if got := len(n.used[0]) + len(n.used[1]); got > 20 {
		t.Errorf("%d counters are kept, two lives hold 17", got)
	}
	n.Use(issue(t, n, "f", epoch.Add(24*time.Hour)), "f", 1, epoch.Add(24*time.Hour))
	if got := len(n.used[0]) + len(n.used[1]); got != 1 {
		t.Errorf("%d counters after a day", got)
	}
}

// A full table forgets all, and lets nothing be replayed.
func TestNonceTableFull(t *testing.T) {
	n := newNonces(t, 3)
	var all []string
	for i := range 4 {
		s := issue(t, n, "f", epoch)
		all = append(all, s)
		if got := n.Use(s, "f", 1, epoch); got != (i < 3) {
			t.Errorf("nonce %d: %v", i, got)
		}
	}
	for _, s := range all {
		if n.Check(s, "f", epoch) != NonceStale || n.Use(s, "f", 9, epoch) {
			t.Error("a nonce from before is taken")
		}
	}
	later := epoch.Add(2 * time.Millisecond)
	if !n.Use(issue(t, n, "f", later), "f", 1, later) {
		t.Error("a new nonce is refused")
	}
}

func TestNonceConfig(t *testing.T) {
	good := NonceConfig{Key: make([]byte, 32), Life: 1, Max: 1, Rand: rand.Reader}
	for i, change := range []func(*NonceConfig){
		func(c *NonceConfig) { c.Key = c.Key[1:] }, func(c *NonceConfig) { c.Life = 0 },
		func(c *NonceConfig) { c.Max = 0 }, func(c *NonceConfig) { c.Rand = nil },
	} {
		c := good
		if change(&c); true {
			if _, err := NewNonces(c, epoch); !errors.Is(err, errNonceConfig) {
				t.Errorf("%d: %v", i, err)
			}
		}
	}
	good.Rand = strings.NewReader("sho")
	n, err := NewNonces(good, epoch)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := n.Issue("f", epoch); err == nil {
		t.Errorf("a nonce without random: %s", s)
	}
}

// Of many that come at once with the same count, one passes.
func TestNonceRace(t *testing.T) {
	n := newNonces(t, 100)
	s := issue(t, n, "f", epoch)
	for nc := uint32(1); nc < 50; nc++ {
		var wg sync.WaitGroup
		var mu sync.Mutex
		passed := 0
		for range 8 {
			wg.Go(func() {
				if n.Use(s, "f", nc, epoch) {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if passed != 1 {
			t.Fatalf("count %d passed %d times", nc, passed)
		}
	}
}

func BenchmarkNonceIssue(b *testing.B) {
	n := newNonces(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Issue("flow-0123456789abcdef", epoch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNonceCheckAndUse(b *testing.B) {
	n := newNonces(b, 1000)
	s := issue(b, n, "flow-0123456789abcdef", epoch)
	b.ReportAllocs()
	for nc := uint32(1); b.Loop(); nc++ {
		if n.Check(s, "flow-0123456789abcdef", epoch) != NonceFresh || !n.Use(s, "flow-0123456789abcdef", nc, epoch) {
			b.Fatal("refused")
		}
	}
}

func ExampleNonces() {
	n, _ := NewNonces(NonceConfig{Key: make([]byte, 32), Life: time.Minute, Max: 1, Rand: rand.Reader}, epoch)
	nonce, _ := n.Issue("flow", epoch)
	fmt.Println(n.Check(nonce, "flow", epoch) == NonceFresh, n.Use(nonce, "flow", 1, epoch), n.Use(nonce, "flow", 1, epoch))
	// Output: true true false
}
