package table

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func prefixes(ss ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func from6(high, low uint64) netip.Addr {
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high), low)))
}

func built(t *testing.T) *Set {
	t.Helper()
	s := New(Heap{})
	must(t, s.Rebuild())
	return s
}

// What the program can't tell apart, or would lock everybody out, is refused by every call, and changes nothing.
func TestRefused(t *testing.T) {
	s := built(t)
	for _, p := range append(prefixes("192.0.2.7/24", "0.0.0.0/0", "::/0", "0.0.0.0/32", "::/64", "::1/128", "::/32", "::/20", "2001:db8::1/64",
		"::ffff:192.0.2.7/128", "::ffff:0:0/96"), netip.Prefix{}) {
		for name, err := range map[string]error{
			"Ban": s.Ban(p, FirstBan, Forever), "Limit": s.Limit(p, Forever), "Know": s.Know(p, Forever), "SetList": s.SetList(FirstBan, []netip.Prefix{p}),
		} {
			if !errors.Is(err, ErrPrefix) {
				t.Errorf("%s %v: %v", name, p, err)
			}
		}
		if loopback := p.IsValid() && p.Bits() >= 64 && p.Addr().Is6() && !p.Addr().Is4In6() && p == p.Masked() && highOf(p.Addr()) == 0; loopback !=
			(s.SetAllow([]netip.Prefix{p}) == nil) {
			t.Errorf("SetAllow %v", p)
		}
	}
	for _, l := range []List{None, Allow, Known, Limited, Lists, 255} {
		if s.Ban(prefixes("192.0.2.7/32")[0], l, Forever) == nil || s.SetList(l, nil) == nil {
			t.Errorf("list %d was taken", l)
		}
	}
	if h4, h6, _ := s.Len(); h4+h6 > 0 || len(s.bans.m)+len(s.allow.m)+len(s.inside) > 0 {
		t.Errorf("%d and %d entries", h4, h6)
	}
}

func TestTicks(t *testing.T) {
	for d, want := range map[int64]Tick{-5: 0, 0: 0, 1: 1, 1 << 30: 1, 1<<30 + 1: 2, 1 << 62: Forever} {
		if got := TickOf(time.Duration(d)); got != want {
			t.Errorf("%d: %d, want %d", d, got, want)
		}
	}
	if Now(1<<30-1) != 0 || Now(1<<30) != 1 || Now(1<<62) != Forever-1 || Now(-1) != 0 {
		t.Error("Now")
	}
	m := NewMeta(63, 77)
	if m.List() != 63 || m.Until() != 77 || !m.InForce(76) || m.InForce(77) || NewMeta(None, Forever).InForce(0) {
		t.Errorf("%x", m)
	}
	if !NewMeta(4, Forever).InForce(Forever - 1) {
		t.Error("forever ended")
	}
}

// A mapped IPv4 address, as sockets for both families show it, is the IPv4 address.
func TestMapped(t *testing.T) {
	s := built(t)
	must(t, s.Ban(prefixes("192.0.2.7/32")[0], FirstBan, Forever))
	if f := s.Lookup(netip.MustParseAddr("::ffff:192.0.2.7"), 1); f.Ban == 0 {
		t.Errorf("%+v", f)
	}
	if f := s.Lookup(netip.Addr{}, 1); f != (Found{}) {
		t.Errorf("no address: %+v", f)
	}
}

// More IPv6 networks of odd lengths than the trie holds are refused one by one and as lists, and do no harm to what comes after.
func TestDeepLimit(t *testing.T) {
	s := New(Heap{})
	var all []netip.Prefix
	for i := range MaxDeep + 1 {
		p, _ := from6(0x20010db8<<32|uint64(i), 0).Prefix(80)
		all = append(all, p)
	}
	must(t, s.SetList(FirstBan, all[:MaxDeep]))
	if err := s.Ban(all[MaxDeep], FirstBan, Forever); !errors.Is(err, ErrDeep) {
		t.Errorf("Ban: %v", err)
	}
	for _, err := range []error{s.SetList(FirstBan+1, all[:1]), s.SetAllow(all[:1]), s.SetList(FirstBan, all)} {
		if !errors.Is(err, ErrDeep) {
			t.Errorf("%v, want ErrDeep", err)
		}
	}
	must(t, s.Rebuild())
	host := netip.PrefixFrom(from6(0x20010db9<<32, 5), 128) // is no trie's business
	must(t, s.Ban(host, FirstBan, Forever))
	for _, a := range []netip.Addr{all[0].Addr(), all[MaxDeep-1].Addr(), host.Addr()} {
		if s.Lookup(a, 1).Ban == 0 {
			t.Errorf("%s is not banned", a)
		}
	}
	must(t, s.SetList(FirstBan, nil))
	must(t, s.SetList(FirstBan+1, all[:2]))
	if len(s.trie) != 2 || len(s.inside) != 3 {
		t.Errorf("%d in the trie, %d /64s with something inside", len(s.trie), len(s.inside))
	}
}

// IPv6 hosts are not counted against the limit of the trie.
func TestManyHosts6(t *testing.T) {
	s := built(t)
	var all []netip.Prefix
	for i := range 2*MaxDeep + 1 {
		all = append(all, netip.PrefixFrom(from6(0x20010db8<<32|uint64(i), 9), 128))
	}
	must(t, s.SetList(FirstBan, all))
	for _, p := range all {
		if s.Lookup(p.Addr(), 1).Ban == 0 || s.Lookup(p.Addr().Next(), 1).Ban != 0 {
			t.Fatalf("%s", p)
		}
	}
}

// With more different ends of networks than there are rules, ends are rounded up, and nothing fails.
func TestRules(t *testing.T) {
	s := New(Heap{})
	n := uint32(maxRules + 500)
	for i := range n {
		must(t, s.Ban(netip.PrefixFrom(from4(0x0a000000+i<<8), 24), FirstBan, Tick(1000+i)))
	}
	must(t, s.Rebuild())
	for i := range n {
		f := s.Lookup(from4(0x0a000001+i<<8), 999+Tick(i))
		if !f.Network || f.Ban.Until() < Tick(1000+i) || f.Ban.Until() > Tick(1000+i+16) {
			t.Fatalf("network %d: %+v until %d", i, f, f.Ban.Until())
		}
	}
	must(t, s.Ban(prefixes("192.0.2.0/24")[0], FirstBan, 77))
	if u := s.Lookup(netip.MustParseAddr("192.0.2.1"), 1).Ban.Until(); u < 77 {
		t.Error(u)
	}
}

// Hosts that are always banned are found at any moment, while others come and go around them, entries move and tables are made anew.
func TestNeverMissed(t *testing.T) {
	s := built(t)
	lasting := append(randomHosts(300), prefixes("10.9.0.0/16", "2001:db8:5::/48", "2001:db8:4000::/35", "2001:db9::/80", "2002::/16")...)
	for i := range 200 {
		lasting = append(lasting, netip.PrefixFrom(from6(0x20010dba<<32|uint64(i/8), uint64(i)), 128-i%2*64).Masked())
	}
	for _, p := range lasting {
		must(t, s.Ban(p, FirstBan, Forever))
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				for _, p := range lasting {
					if f := s.Lookup(p.Addr(), 1); f.Ban == 0 {
						t.Errorf("%s was missed: %+v", p, f)
						return
					}
				}
			}
		})
	}
	s.churn(t, lasting)
	stop.Store(true)
	readers.Wait()
}

// churn fills the tables until they are made anew, again and again.
func (s *Set) churn(t *testing.T, lasting []netip.Prefix) {
	t.Helper()
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	others := randomHosts(6000)[300:] // the first are those that last
	for i := range 600 {
		others = append(others, netip.PrefixFrom(from6(0x20010dba<<32|uint64(i/8), uint64(1000+i)), 128-i%2*40).Masked())
	}
	for round := range rounds {
		for i, p := range others {
			must(t, s.Know(p, Forever))
			must(t, s.Ban(p, FirstBan+1, Tick(i)))
			if i%7 == round {
				must(t, s.Unban(p))
			}
		}
		must(t, s.SetList(FirstBan+2, lasting[:round+2]))
		must(t, s.SetMonitored(uint64(round%2)<<(FirstBan+1)))
		for _, p := range others {
			must(t, s.Unknow(p))
			must(t, s.Unban(p))
		}
		must(t, s.Rebuild())
	}
}
