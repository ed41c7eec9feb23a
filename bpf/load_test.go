package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"brickhouse/bpf/table"
)

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		release, than string
		want          bool
	}{
		{"5.11.0", "5.12", true}, {"4.19.0-26-amd64", "5.12", true}, {"5.9", "5.12", true}, {"5.12.0", "5.12", false}, {"6.1.0-13", "5.12", false},
		{"5.100.1", "5.12", false}, {"of unknown version", "5.12", false}, {"", "5.12", false}, {"5.4", "", false},
	} {
		if got := older(tc.release, tc.than); got != tc.want {
			t.Errorf("%q older than %q: %v", tc.release, tc.than, got)
		}
	}
}

// What does not load names the remedy: rights, or the kernel's version.
func TestExplain(t *testing.T) {
	f := &Filter{dir: "/sys/fs/bpf/x"}
	if err := f.explain(fmt.Errorf("map: %w", syscall.EPERM)); !errors.Is(err, ErrNotPermitted) {
		t.Error(err)
	}
	if err := f.explain(errors.New("unknown func")); !strings.Contains(err.Error(), release()) || errors.Is(err, ErrKernel) != older(release(), minKernel) {
		t.Error(err)
	}
}

// What an earlier process left in the kernel is inherited or gone with the first Rebuild, whatever table it was in.
func TestRootTakeOver(t *testing.T) {
	w := newWire(t)
	f := w.load(t)
	s := f.Sources()
	kept := map[netip.Prefix]table.List{}
	for i, p := range prefixes("10.99.0.2/32", "2001:db8:1:1::/64", "192.0.2.0/29") {
		must(t, s.Ban(p, listOne+table.List(i), table.Forever))
		kept[p] = listOne + table.List(i)
	}
	for _, p := range prefixes("2001:db8:2::/80", "2a00::/16", "198.51.100.0/24", "2001:db8:3::/48", "2001:db8:4::4/128") {
		must(t, s.Ban(p, listOne, table.Forever))
	}
	must(t, s.Limit(netip.MustParsePrefix("203.0.113.1/32"), table.Forever))
	must(t, s.SetAllow(prefixes("2001:db8:2::5/128")))
	must(t, s.SetMonitored(1<<listOne))
	w.attach(t, f, "bh0", ModeAuto)
	w.expect(t, "monitored", true)
	f.abort(t)

	f = w.loadOnly(t)
	got := map[netip.Prefix]table.List{}
	for _, b := range f.Inherited() {
		if got[b.Prefix] = b.List; b.Until != table.Forever {
			t.Errorf("%+v", b)
		}
	}
	for p, l := range kept {
		for a, n := p.Addr(), 0; n < 8 && p.Contains(a); a, n = a.Next(), n+1 {
			q := netip.PrefixFrom(a, a.BitLen())
			if a.Is6() {
				q = p
			}
			if got[q] != l {
				t.Errorf("%s is inherited of list %d, want %d", q, got[q], l)
			}
		}
	}
	if len(got) != 10 {
		t.Errorf("inherited: %v", got)
	}
	for _, src := range []string{"2a00::1", "198.51.100.1"} { // until Rebuild everything is as it was
		if _, fate := run(t, f, frame{src: src}.bytes()); fate.action != ActionMonitor {
			t.Errorf("%s: %v", src, fate)
		}
	}
	must(t, f.Sources().Ban(netip.MustParsePrefix("10.99.0.2/32"), listOne, table.Forever))
	must(t, f.Sources().Ban(netip.MustParsePrefix("2001:db8:2::9/128"), listOne, table.TickOf(now(t)+time.Hour))) // so that its /64 is looked into
	must(t, f.Sources().Rebuild())
	w.attach(t, f, "bh0", ModeAuto)
	w.expect(t, "no longer monitored", false)
	for _, src := range []string{"2a00::1", "198.51.100.1", "2001:db8:2::1", "2001:db8:2::5", "2001:db8:3::1", "2001:db8:4::4", "192.0.2.1"} {
		in := frame{src: src}
		if _, got := run(t, f, in.bytes()); got != pass(familyOf(in)) {
			t.Errorf("%s: %v, but nobody bans it any more", src, got)
		}
	}
	must(t, f.Detach())
	w.nothingLeft(t)
}
