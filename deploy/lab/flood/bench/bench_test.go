package bench

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab/flood"
)

func fair() Options {
	return Options{Only: []string{"drop", Ours, "drop-v6", Ours + "-v6"}, Bans: 1000, Rounds: 2, Windows: leastWindows / 2, Window: 300 * time.Millisecond, RecvCPU: 1}
}

func TestCheck(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"receiver": func(o *Options) { o.Only = []string{"nosuch"} },
		"bans":     func(o *Options) { o.Bans = 0 },
		"windows":  func(o *Options) { o.Rounds, o.Windows = 1, leastWindows-1 },
		"rounds":   func(o *Options) { o.Rounds = 0 },
		"window":   func(o *Options) { o.Window = mostWindow + 1 },
		"CPUs":     func(o *Options) { o.RecvCPU = o.SendCPU },
	} {
		o := fair()
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Sources are all different and of the kind that nobody takes for forged at sight.
func TestSources(t *testing.T) {
	seen := map[netip.Addr]bool{}
	for i := range 100_000 {
		for _, a := range []netip.Addr{source4(i), source6(i)} {
			if seen[a] || !a.IsGlobalUnicast() || a.IsPrivate() {
				t.Fatalf("source %d: %s", i, a)
			}
			seen[a] = true
		}
	}
}

// The generator's frames are those of a flood, checksum and all, and come from the sources that are banned.
func TestRootGenerator(t *testing.T) {
	needRoot(t)
	const n = 50
	a, b := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for _, to := range []netip.AddrPort{target4, target6} {
		source := source4
		if to.Addr().Is6() {
			source = source6
		}
		want := map[string]bool{}
		f, err := flood.NewFrame(a, b, to, flood.Options(to))
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			f.From(netip.AddrPortFrom(source(i), sourcePort))
			want[sameSum(f.Bytes, to)] = true
		}
		g, err := newGenerator(1, a, b, to, n)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		seen := map[string]bool{}
		for range 50 * n {
			_, out, err := g.prog.Test(g.frame)
			if err != nil {
				t.Fatal(err)
			}
			if s := sameSum(out, to); !want[s] {
				t.Fatalf("to %s: %x is no frame of a flood", to, out)
			} else {
				seen[s] = true
			}
		}
		if len(seen) != n {
			t.Errorf("to %s: %d of %d sources", to, len(seen), n)
		}
	}
}

// sameSum is a frame without the UDP checksum of IPv6, which the generator leaves wrong: its packets are to end before that.
func sameSum(frame []byte, to netip.AddrPort) string {
	if to.Addr().Is6() {
		frame = append([]byte(nil), frame...)
		frame[offEnd6-1], frame[offEnd6-2] = 0, 0
	}
	return string(frame)
}

// A short run: the filter drops all of a flood, and what is said of it can be true.
func TestRootRun(t *testing.T) {
	needRoot(t)
	o := fair()
	if err := o.Check(); err != nil {
		t.Skip(err) // one CPU
	}
	got, err := Run(context.Background(), o, func(string, int) {})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if r.Err != nil || r.Name != o.Only[i] || r.Delivered > 0 || r.Min <= 0 || r.Median < r.Min || r.Rate <= 0 || r.Bans != o.Bans {
			t.Errorf("%+v", r)
		}
	}
	if len(got) != len(o.Only) {
		t.Errorf("%d results of %d", len(got), len(o.Only))
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, []Result{
		{Name: "drop", Unit: UnitTime, Bans: 5, Min: 10, Median: 20, Rate: 1e6, Busy: 0.5},
		{Name: Ours, Unit: UnitTime, Bans: 5, Min: 20, Median: 30, Note: "a note"},
		{Name: "ipset", Err: errors.New("is not there")},
	})
	for _, want := range []string{"not let cycles", "2.00", "1.50", "1000000", "50 %", Ours + ": a note", "ipset: not measured: is not there"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
