package guard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func TestBanByHand(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	must(t, g.Ban(prefix("192.0.2.7/32"), time.Hour, "ann", "told\x1b[31m by the\r\ncarrier"))
	h.move(time.Second)
	must(t, g.Ban(prefix("2001:db8::1/128"), Forever, "bob", ""))
	h.move(time.Second)
	must(t, g.Ban(prefix("2001:db8:1::/48"), time.Minute, "bob", ""))
	must(t, g.Ban(prefix("::ffff:198.51.100.0/120"), time.Minute, "bob", ""))
	var got []string
	for _, b := range g.List() {
		got = append(got, fmt.Sprintf("%s %s %s %q", b.Prefix, b.By, b.Reason, b.Note))
	}
	want := []string{`198.51.100.0/24 bob manual ""`, `2001:db8:1::/48 bob manual ""`, `2001:db8::1/128 bob manual ""`,
		`192.0.2.7/32 ann manual "told[31m by thecarrier"`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	expectAdmit(t, g, "2001:db8:1:2::3", verdict.Dropped(verdict.NetworkBanned))
	expectAdmit(t, g, "2001:db8::1", hostBanned)
	expectAdmit(t, g, "2001:db8::2", verdict.Passed)
	h.move(1000 * time.Hour)
	g.sweep()
	if l := g.List(); len(l) != 1 || l[0].Left(h.now()) != Forever || l[0].Prefix != prefix("2001:db8::1/128") {
		t.Errorf("%v", l)
	}
	expectAdmit(t, g, "198.51.100.1", verdict.Passed)
}

func TestBanReplaced(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	fail(g, "192.0.2.7", 5)
	must(t, g.Ban(prefix("192.0.2.7/32"), time.Hour, "ann", "longer"))
	h.move(10 * time.Minute) // the first end passes
	g.sweep()
	expectAdmit(t, g, "192.0.2.7", hostBanned)
	e, _ := g.Why(addr("192.0.2.7"))
	if len(e.Bans) != 1 || e.Bans[0].By != "ann" || len(e.Bans[0].Evidence) != 5 {
		t.Errorf("%+v", e.Bans)
	}
	must(t, g.Unban(prefix("192.0.2.7/32"), "bob", "sorry"))
	expectAdmit(t, g, "192.0.2.7", verdict.Passed)
	e, _ = g.Why(addr("192.0.2.7"))
	if len(e.History) != 1 || e.History[0].EndedBy != "bob" || e.History[0].EndNote != "sorry" || !e.History[0].Ended.Equal(h.now()) {
		t.Errorf("%+v", e.History)
	}
	if err := g.Unban(prefix("192.0.2.7/32"), "bob", ""); !errors.Is(err, ErrNoBan) {
		t.Error(err)
	}
	if s, _ := g.Stats(); s.Bans != 0 || s.BansMade != 2 || g.families != [2]int{} {
		t.Errorf("%+v", s)
	}
}

func TestBanRefused(t *testing.T) {
	g := open(t, userSpace(), Options{})
	for p, want := range map[string]error{
		"0.0.0.0/0": ErrTooWide, "::/0": ErrTooWide, "10.0.0.0/7": ErrTooWide, "2000::/3": ErrTooWide,
		"224.0.0.1/32": ErrBadPrefix, "ff02::1/128": ErrBadPrefix, "0.0.0.0/32": ErrBadPrefix, "::/128": ErrBadPrefix, "::1/64": ErrBadPrefix,
		"::ffff:0:0/64": ErrBadPrefix,
	} {
		if err := g.Ban(prefix(p), time.Hour, "ann", ""); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", p, err, want)
		}
	}
	if err := g.Ban(netip.Prefix{}, time.Hour, "ann", ""); !errors.Is(err, ErrBadPrefix) {
		t.Error(err)
	}
	for _, by := range []string{"", "\x00\n", ByRule, ByKernel} {
		if g.Ban(prefix("192.0.2.1/32"), time.Hour, by, "") == nil {
			t.Errorf("%q banned", by)
		}
	}
	for _, d := range []time.Duration{0, -1} {
		if g.Ban(prefix("192.0.2.1/32"), d, "ann", "") == nil {
			t.Errorf("banned for %v", d)
		}
	}
	if g.Unban(prefix("192.0.2.1/32"), "", "") == nil || g.Unban(netip.Prefix{}, "ann", "") == nil {
		t.Error("nobody lifted a ban")
	}
}

// Over the cap no ban is lost and none is made; IPv6 can't crowd IPv4 out.
func TestBanCap(t *testing.T) {
	cfg := userSpace()
	cfg.MaxBans = 2
	g := open(t, cfg, Options{})
	for i := range 5 {
		fail(g, fmt.Sprintf("2001:db8:0:%x::1", i), 5)
	}
	fail(g, "192.0.2.1", 5)
	expectAdmit(t, g, "2001:db8::1", hostBanned)
	expectAdmit(t, g, "2001:db8:0:1::1", hostBanned)
	expectAdmit(t, g, "2001:db8:0:2::1", verdict.Passed)
	expectAdmit(t, g, "192.0.2.1", hostBanned)
	if s, _ := g.Stats(); s.Bans != 3 || s.BansRefused != 3 {
		t.Errorf("%+v", s)
	}
	if err := g.Ban(prefix("2001:db8:5::/48"), time.Hour, "ann", ""); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	must(t, g.Ban(prefix("2001:db8::/64"), time.Hour, "ann", "replaced, not new"))
	must(t, g.Unban(prefix("2001:db8::/64"), "ann", ""))
	must(t, g.Ban(prefix("2001:db8:5::/48"), time.Hour, "ann", ""))
}

// The most specific network does not hide a wider one that lasts longer.
func TestNetworksWithin(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	must(t, g.Ban(prefix("10.1.0.0/16"), time.Hour, "ann", ""))
	must(t, g.Ban(prefix("10.1.2.0/24"), time.Minute, "ann", ""))
	h.move(2 * time.Minute)
	expectAdmit(t, g, "10.1.2.3", verdict.Dropped(verdict.NetworkBanned))
	if e, _ := g.Why(addr("10.1.2.3")); len(e.Bans) != 1 || e.Bans[0].Prefix.Bits() != 16 {
		t.Errorf("%+v", e.Bans)
	}
}

// The table of holds agrees with a plain map, whatever is put in and taken out.
func TestHoldTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table, model := newHoldTable(), map[netip.AddrPort]time.Time{}
	key := func() netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("10.0.%d.%d:5060", r.IntN(8), r.IntN(64)))
	}
	for i := range 5000 {
		k := key()
		if r.IntN(3) == 0 {
			table.delete(k)
			delete(model, k)
		} else {
			table.set(k, time.Unix(int64(i), 0))
			model[k] = time.Unix(int64(i), 0)
		}
		k = key()
		got, ok := table.get(k)
		if want, there := model[k]; ok != there || got != want {
			t.Fatalf("step %d, %s: %v %v, want %v %v", i, k, got, ok, want, there)
		}
		if table.size != len(model) {
			t.Fatalf("step %d: size %d, want %d", i, table.size, len(model))
		}
	}
	table.delete(netip.MustParseAddrPort("192.0.2.0:1"))
	if table.size != len(model) {
		t.Error("taking out what is not there changed the size")
	}
}

// No part of a table gets much more than its share, though a stranger chooses the keys.
func TestHoldTableSpread(t *testing.T) {
	seed := newHoldTable().seed
	var parts [shards]int
	for i := range 25_600 {
		a := netip.AddrFrom16([16]byte{0x20, 1, 5: byte(i >> 16), 6: byte(i >> 8), 7: byte(i)})
		parts[mix(seed, a, 5060)%shards]++
	}
	for i, n := range parts {
		if n > 200 {
			t.Errorf("part %d has %d of 25600 keys", i, n)
		}
	}
}
