package guard

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// nth is one of many sources.
func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

// Whoever sends more than a thousandth is found among many thousands that send a little, and no count is further off than it says.
func TestTalkersFound(t *testing.T) {
	var s talkers
	r, at := rand.New(rand.NewPCG(1, 2)), time.Unix(1000, 0)
	truth := map[netip.Addr]uint64{}
	const packets = 60_000
	for i := range packets {
		src := nth(1_000 + i%20_000) // three packets each
		switch n := r.IntN(100); {
		case n < 10:
			src = nth(1)
		case n < 11:
			src = nth(2)
		case n < 12:
			src = netip.MustParseAddr("2001:db8::7")
		}
		truth[src]++
		s.add(src, true, 1, verdict.HostBanned, at)
	}
	passed, dropped := s.top(talkerSlots, at)
	if len(passed) != 0 || len(dropped) != talkerSlots {
		t.Fatalf("%d passed and %d dropped are followed", len(passed), len(dropped))
	}
	if dropped[0].Source != nth(1) || dropped[0].Reason != verdict.HostBanned || !dropped[0].Last.Equal(at) {
		t.Errorf("the heaviest: %+v", dropped[0])
	}
	found := map[netip.Addr]Talker{}
	for i, k := range dropped {
		found[k.Source] = k
		if n := truth[k.Source]; k.Packets < n || k.Packets-k.Error > n {
			t.Fatalf("%s sent %d: %+v", k.Source, n, k)
		}
		if k.Error > packets/talkerSlots {
			t.Errorf("%+v is further off than the sketch promises", k)
		}
		if i > 0 && k.Packets > dropped[i-1].Packets {
			t.Errorf("not sorted at %d", i)
		}
	}
	for src, n := range truth {
		if _, ok := found[src]; !ok && n > packets/talkerSlots {
			t.Errorf("%s sent %d and is not found", src, n)
		}
	}
	if _, ten := s.top(10, at); len(ten) != 10 || ten[9] != dropped[9] {
		t.Errorf("%d of 10", len(ten))
	}
}

// The sketch keeps its size, whoever sends, and what it keeps fits together.
func TestTalkersBounded(t *testing.T) {
	var s talkers
	at := time.Unix(1000, 0)
	for i := range 20 * talkerSlots {
		s.add(nth(i), i%2 == 0, 1+i%3, verdict.None, at.Add(time.Duration(i)*5*time.Millisecond))
	}
	for name, k := range map[string]*sketch{"passed": &s.passed, "drops": &s.drops} {
		if len(k.light) > talkerSlots || cap(k.light) > 2*talkerSlots || len(k.by) != len(k.light) {
			t.Errorf("%s: %d followed, %d by address", name, len(k.light), len(k.by))
		}
		for i, f := range k.light {
			if f.at != i || k.by[f.Source] != f || (i > 0 && k.light[(i-1)/2].Packets > f.Packets) {
				t.Fatalf("%s: number %d is %+v", name, i, f)
			}
		}
	}
}

// Each minute a packet counts half; who fell silent is forgotten, also if nothing is sampled meanwhile; a clock set back harms nobody.
func TestTalkersHalved(t *testing.T) {
	var s talkers
	at := time.Unix(1000, 0)
	s.add(nth(1), false, 1000, verdict.None, at)
	s.add(nth(2), false, 1, verdict.None, at)
	count := func(after time.Duration) (n uint64, sources int) {
		passed, _ := s.top(10, at.Add(after))
		if len(passed) == 0 {
			return 0, 0
		}
		return passed[0].Packets, len(passed)
	}
	for _, want := range []struct {
		after   time.Duration
		packets uint64
		sources int
	}{{talkerHalf - 1, 1000, 2}, {talkerHalf, 500, 1}, {3*talkerHalf + 1, 125, 1}, {10 * talkerHalf, 0, 0}} {
		if n, sources := count(want.after); n != want.packets || sources != want.sources {
			t.Errorf("after %v: %d packets of %d sources, want %d of %d", want.after, n, sources, want.packets, want.sources)
		}
	}
	s.add(nth(3), false, 1<<40, verdict.None, at.Add(time.Hour))
	if n, _ := count(48 * time.Hour); n != 0 {
		t.Errorf("after two silent days %d packets count", n)
	}
	s.add(nth(4), false, 8, verdict.None, at) // the clock was set back by two days
	if n, _ := count(talkerHalf); n != 4 {
		t.Errorf("after the clock was set back: %d", n)
	}
}

func BenchmarkTalkers(b *testing.B) {
	var s talkers
	at := time.Unix(1000, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.add(nth(i), true, 1, verdict.HostBanned, at)
	}
}
