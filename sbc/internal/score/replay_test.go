package score

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// recording is a recording that a test writes down.
type recording []Record

func (rs *recording) add(src string, n int, every time.Duration, known int) {
	for i := range n {
		o := offence(src)
		*rs = append(*rs, NewRecord(o, start.Add(time.Duration(i)*every), known, 10))
	}
}

func (rs recording) all() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A lower threshold bans one more; who is banned in both is told with both.
func TestReplay(t *testing.T) {
	var rs recording
	rs.add("192.0.2.1:1", 5, time.Second, 0)
	rs.add("192.0.2.2:1", 3, time.Second, 0)
	rs.add("192.0.2.3:1", 2, time.Second, 0)
	rs.add("198.51.100.1:1", 5, time.Second, 7)
	r, err := Replay(rs.all(), logins(), logins(func(l *Rule) { l.Threshold, l.Ban = 3, time.Hour }))
	if err != nil {
		t.Fatal(err)
	}
	if r.Records != 15 || r.Bad != 0 || r.From != start || r.To != start.Add(4*time.Second) || r.Omitted != 0 {
		t.Errorf("%+v", r)
	}
	if want := (Totals{Sources: 1, Bans: 1, Holds: 1}); r.Before != want {
		t.Errorf("before: %+v", r.Before)
	}
	if want := (Totals{Sources: 2, Bans: 2, Holds: 3}); r.After != want { // the account stays counted
		t.Errorf("after: %+v", r.After)
	}
	if len(r.Sources) != 2 || r.Sources[0].Source.String() != "192.0.2.1/32" || r.Sources[1].Source.String() != "192.0.2.2/32" {
		t.Fatalf("%+v", r.Sources)
	}
	one, two := r.Sources[0], r.Sources[1]
	if one.Before.At != start.Add(4*time.Second) || one.Before.Rule != "logins" || one.Before.Length != 5*time.Minute || one.Before.Bans != 1 ||
		one.After.At != start.Add(2*time.Second) || one.After.Length != time.Hour || two.Before != nil || two.After == nil {
		t.Errorf("%+v %+v %+v", one.Before, one.After, two)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"records":15`, `"bad":0`, `"from":"2026`, `"before":{"sources":1,"bans":1,"holds":1,"limits":0,"monitored":0,"trips":0}`,
		`{"source":"192.0.2.1/32","before":{"at":"2026-11-21T12:00:04Z","rule":"logins","reason":"bad-credentials","length_ns":300000000000,"known":0,"bans":1,"longest_ns":300000000000}`} {
		if !strings.Contains(string(text), name) {
			t.Errorf("no %s in %s", name, text)
		}
	}
}

// A source is not scored while it is banned, and grows after: as it was when it happened.
func TestReplayRepeats(t *testing.T) {
	var rs recording
	rs.add("192.0.2.1:1", 3600, time.Second, 0)
	r, err := Replay(rs.all(), logins(), logins(func(l *Rule) { l.Growth = 1 }))
	if err != nil {
		t.Fatal(err)
	}
	b, a := r.Sources[0].Before, r.Sources[0].After
	if b.Bans != 4 || b.Longest != 40*time.Minute || a.Bans != 12 || a.Longest != 5*time.Minute {
		t.Errorf("before %+v, after %+v", b, a)
	}
}

// The same recording leads to the same, and to what the engine decided when it was recorded.
func TestReplayIsWhatHappened(t *testing.T) {
	var rs recording
	r := newRig(t, Default())
	bans := 0
	for i := range 3000 {
		src := fmt.Sprintf("192.0.2.%d:%d", i*7%50, i%3+1)
		o := offence(src)
		o.Verified, o.At = i%5 > 0, r.now
		rs = append(rs, NewRecord(o, r.now, 0, 0))
		for _, d := range r.engine.Offence(o, r.now, Env{
			Known: func(netip.Prefix) int { return 0 }, KnownTotal: func() int { return 0 }, Prior: r.history.Count,
		}) {
			if d.Kind == Ban {
				bans++
			}
		}
		r.now = r.now.Add(time.Second / 4)
	}
	cfg := Default()
	for i := range cfg.Rules { // so short that the bans shut nothing out, as nothing was here
		cfg.Rules[i].Ban, cfg.Rules[i].Growth, cfg.Rules[i].Memory = 1, 1, 0
	}
	one, err := Replay(rs.all(), cfg, cfg)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Replay(rs.all(), cfg, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if bans == 0 || one.Before.Bans != bans || fmt.Sprint(one.Before, one.After) != fmt.Sprint(two.Before, two.After) || one.Before != one.After {
		t.Errorf("%d bans then; %+v, %+v", bans, one, two)
	}
}

// A recording of any length takes bounded memory.
func TestReplayBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a long recording")
	}
	loose := logins(func(l *Rule) {
		l.Threshold, l.Growth = 1, 1
		delete(l.Weights, verdict.ScannerSignature)
	})
	loose.Breaker.Bans = maxTable
	const full, all = 220_000, 300_000 // by then each table is full; one record each millisecond
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var first, last int64
	long := func(yield func(Record, error) bool) {
		for i := range all {
			o := offence("192.0.2.1:1")
			o.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
			if !yield(NewRecord(o, start.Add(time.Duration(i)*time.Millisecond), 0, 0), nil) {
				return
			}
			if i == full {
				first = heap()
			}
		}
		last = heap()
	}
	r, err := Replay(long, loose, loose)
	if err != nil {
		t.Fatal(err)
	}
	if r.Before.Bans != all || len(r.Sources) != maxReplaySources || r.Omitted != 2*(all-maxReplaySources) {
		t.Errorf("%d sources, %d omitted, %+v", len(r.Sources), r.Omitted, r.Before)
	}
	if grown := last - first; grown > 16<<20 {
		t.Errorf("%d MiB more for records behind the first %d", grown>>20, full)
	}
}

func TestReplayFaults(t *testing.T) {
	bad := logins(func(l *Rule) { l.Window = 0 })
	for _, c := range [][2]Config{{bad, logins()}, {logins(), bad}} {
		if _, err := Replay(recording(nil).all(), c[0], c[1]); err == nil || !strings.Contains(err.Error(), "rules[0].window") {
			t.Error(err)
		}
	}
}
