package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

func prefixes(ss ...string) []netip.Prefix {
	ps := []netip.Prefix{}
	for _, s := range ss {
		ps = append(ps, prefix(s))
	}
	return ps
}

var networkBanned = verdict.Dropped(verdict.NetworkBanned)

// feedOf is how a list stands.
func feedOf(t *testing.T, g *Guard, name string) FeedStats {
	t.Helper()
	s, err := g.Stats()
	must(t, err)
	for _, f := range s.Feeds {
		if f.Name == name {
			return f
		}
	}
	return FeedStats{}
}

// A list bans, is replaced as a whole and ends; what can't be banned is left out and counted; Why and Test tell it.
func TestList(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	must(t, g.SetList("drop", FeedBans, prefixes("192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "0.0.0.0/0", "224.0.0.0/4")))
	expectAdmit(t, g, "192.0.2.9", networkBanned)
	expectAdmit(t, g, "198.51.100.7", hostBanned)
	expectAdmit(t, g, "2001:db8:9::1", networkBanned)
	expectAdmit(t, g, "203.0.113.1", verdict.Passed)
	if f := feedOf(t, g, "drop"); f.Does != "ban" || f.Entries != 3 || f.Refused != 2 || !f.At.Equal(h.now()) {
		t.Errorf("%+v", f)
	}
	if e, _ := g.Why(addr("192.0.2.9")); e.Listed != "list drop" || e.Outcome != "drop: network-banned" || len(e.Bans) != 0 {
		t.Errorf("%+v", e)
	}
	if r := g.Test(addr("192.0.2.9"), 0, false); r.Source != "banned" || r.Because != "list drop" || r.Reason != verdict.NetworkBanned || r.Where != whereUser {
		t.Errorf("%+v", r)
	}
	must(t, g.SetList("drop", FeedBans, prefixes("203.0.113.1/32")))
	expectAdmit(t, g, "192.0.2.9", verdict.Passed)
	expectAdmit(t, g, "203.0.113.1", hostBanned)
	if l := g.List(); len(l) != 0 {
		t.Errorf("a list's entries are bans: %v", l)
	}
	must(t, g.SetList("drop", FeedBans, nil)) // empty, and still a list
	if f := feedOf(t, g, "drop"); f.Does != "ban" || f.Entries != 0 {
		t.Errorf("%+v", f)
	}
	must(t, g.SetList("drop", FeedBans, prefixes("203.0.113.1/32")))
	must(t, g.EndList("drop"))
	must(t, g.EndList("drop"))
	expectAdmit(t, g, "203.0.113.1", verdict.Passed)
	if f := feedOf(t, g, "drop"); f.Name != "" {
		t.Errorf("%+v", f)
	}
}

// A list that monitors only counts; one that allows wins over everything; a list may change what it does.
func TestListKinds(t *testing.T) {
	g := open(t, userSpace(), Options{})
	must(t, g.Ban(prefix("192.0.2.1/32"), time.Hour, "ann", ""))
	list := prefixes("192.0.2.0/24")
	for i, step := range []struct {
		kind          FeedKind
		does          string
		banned, other verdict.Verdict // a person banned the one and not the other
	}{
		{FeedMonitor, "monitor", hostBanned, verdict.Passed},
		{FeedBans, "ban", hostBanned, networkBanned},
		{FeedAllow, "allow", verdict.Passed, verdict.Passed},
		{FeedMonitor, "monitor", hostBanned, verdict.Passed},
		{FeedAllow, "allow", verdict.Passed, verdict.Passed},
		{FeedBans, "ban", hostBanned, networkBanned},
		{FeedMonitor, "monitor", hostBanned, verdict.Passed},
	} {
		must(t, g.SetList("l", step.kind, list))
		if a, b, f := g.Admit(addr("192.0.2.1")), g.Admit(addr("192.0.2.2")), feedOf(t, g, "l"); a != step.banned || b != step.other || f.Does != step.does {
			t.Errorf("step %d, %s: %v %v, does %s", i, step.does, a, b, f.Does)
		}
		must(t, g.Reload(userSpace())) // which says anew who only counts
		if b := g.Admit(addr("192.0.2.2")); b != step.other {
			t.Errorf("step %d, after a reload: %v", i, b)
		}
	}
	before := userCount(t, g, verdict.NetworkBanned, "monitor")
	g.Admit(addr("192.0.2.9"))
	if n := userCount(t, g, verdict.NetworkBanned, "monitor"); n != before+1 {
		t.Errorf("%d were counted, then %d", before, n)
	}
	if r := g.Test(addr("192.0.2.9"), 0, false); r.Outcome != "pass" || !contains(r.Steps, "network-banned by list l, which only counts") {
		t.Errorf("%+v", r)
	}
	must(t, g.EndList("l"))
	must(t, g.SetList("m", FeedBans, list)) // it may get the number of the one that monitored
	expectAdmit(t, g, "192.0.2.9", networkBanned)
}

func userCount(t *testing.T, g *Guard, reason verdict.Reason, action string) (n uint64) {
	t.Helper()
	s, err := g.Stats()
	must(t, err)
	for _, c := range s.Counts {
		if c.Where == whereUser && c.Reason == reason && c.Action == action {
			n += c.Packets
		}
	}
	return n
}

func contains(steps []string, step string) bool {
	for _, s := range steps {
		if s == step {
			return true
		}
	}
	return false
}

// The never-ban list wins over lists; a person's ban and a list's stand beside each other, and either holds when the other ends.
func TestListPrecedence(t *testing.T) {
	g := open(t, userSpace(), Options{Allow: map[string][]netip.Prefix{"trunks": prefixes("192.0.2.128/25")}})
	must(t, g.SetList("drop", FeedBans, prefixes("192.0.2.0/24", "198.51.100.7/32")))
	expectAdmit(t, g, "192.0.2.200", verdict.Passed)
	expectAdmit(t, g, "192.0.2.1", networkBanned)
	if e, _ := g.Why(addr("192.0.2.200")); e.Outcome != "pass" || e.Allowed != "trunks 192.0.2.128/25" {
		t.Errorf("%+v", e)
	}
	if r := g.Test(addr("192.0.2.200"), 0, false); r.Source != "never banned" || r.Because != "trunks 192.0.2.128/25" || r.Outcome != "pass" {
		t.Errorf("%+v", r)
	}
	must(t, g.Ban(prefix("198.51.100.7/32"), time.Hour, "ann", ""))
	if e, _ := g.Why(addr("198.51.100.7")); len(e.Bans) != 1 || e.Bans[0].By != "ann" || e.Outcome != "drop: host-banned" {
		t.Errorf("%+v", e)
	}
	must(t, g.Unban(prefix("198.51.100.7/32"), "ann", ""))
	expectAdmit(t, g, "198.51.100.7", hostBanned)
	must(t, g.Ban(prefix("198.51.100.7/32"), time.Hour, "ann", ""))
	must(t, g.EndList("drop"))
	expectAdmit(t, g, "198.51.100.7", hostBanned)
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	must(t, g.SetAllow("trunks", nil))
	must(t, g.Ban(prefix("192.0.2.200/32"), time.Hour, "ann", "")) // no list stands in its way any more
}

// There is a number for each of maxFeeds lists; lists that allow need none; one more is refused and harms no other.
func TestListsMany(t *testing.T) {
	g := open(t, userSpace(), Options{})
	if maxFeeds != int(table.Lists-listFeeds) || maxFeeds < 24 {
		t.Fatalf("room for %d lists", maxFeeds)
	}
	host := func(i int) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(nth(i), 32)} }
	for i := range maxFeeds {
		must(t, g.SetList(fmt.Sprint("l", i), FeedKind(i%2), host(i)))
	}
	if err := g.SetList("more", FeedBans, host(99)); !errors.Is(err, ErrManyLists) {
		t.Error(err)
	}
	if f := feedOf(t, g, "more"); f.Name != "" || !g.Admit(nth(99)).OK() {
		t.Errorf("refused, and there: %+v", f)
	}
	must(t, g.SetList("friends", FeedAllow, host(0)))
	for i := range maxFeeds {
		want := i%2 == 1 || i == 0
		if ok := g.Admit(nth(i)).OK(); ok != want {
			t.Errorf("list %d: passes %v", i, ok)
		}
	}
	must(t, g.SetList("l1", FeedBans, host(1)))
	if g.Admit(nth(1)).OK() {
		t.Error("a list that monitored does not ban")
	}
	must(t, g.EndList("l2"))
	must(t, g.SetList("more", FeedBans, host(99)))
	if g.Admit(nth(99)).OK() {
		t.Error("a number that was free again is of no use")
	}
}

// A list that the tables can't hold changes nothing, whatever it was to do.
func TestListRefused(t *testing.T) {
	g := open(t, userSpace(), Options{})
	must(t, g.SetList("l", FeedBans, prefixes("192.0.2.0/24")))
	deep := make([]netip.Prefix, 0, table.MaxDeep+1)
	for i := range table.MaxDeep + 1 {
		a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 4: byte(i >> 16), 5: byte(i >> 8), 6: byte(i)})
		deep = append(deep, netip.PrefixFrom(a, 96))
	}
	for _, kind := range []FeedKind{FeedBans, FeedMonitor, FeedAllow} {
		if err := g.SetList("l", kind, deep); !errors.Is(err, table.ErrDeep) {
			t.Errorf("kind %d: %v", kind, err)
		}
		if err := g.SetList("new", kind, deep); !errors.Is(err, table.ErrDeep) {
			t.Errorf("kind %d, new: %v", kind, err)
		}
		expectAdmit(t, g, "192.0.2.1", networkBanned)
		expectAdmit(t, g, "2001:db8::1", verdict.Passed)
		if f, n := feedOf(t, g, "l"), feedOf(t, g, "new"); f.Does != "ban" || f.Entries != 1 || n.Name != "" {
			t.Errorf("kind %d: %+v, %+v", kind, f, n)
		}
	}
	must(t, g.SetList("friends", FeedAllow, prefixes("0.0.0.0/8", "::/32", "0.0.0.0/0", "192.0.2.1/32", "::1/128")))
	if f := feedOf(t, g, "friends"); f.Entries != 2 || f.Refused != 3 {
		t.Errorf("%+v", f)
	}
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	must(t, g.SetAllow("trunks", prefixes("192.0.2.2/32"))) // the never-ban list can still be changed
	if err := g.SetAllow("trunks", prefixes("0.0.0.0/8")); !errors.Is(err, ErrBadPrefix) {
		t.Error(err)
	}
	expectAdmit(t, g, "192.0.2.2", verdict.Passed)
	must(t, g.Close())
	if err := g.SetList("l", FeedBans, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := g.EndList("l"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// While a list is replaced, nobody who stands in both is let through and nobody who stands in neither is shut out.
func TestListReplacedInOneStep(t *testing.T) {
	g := open(t, userSpace(), Options{})
	odd, even := prefixes("203.0.113.1/32"), prefixes("203.0.113.1/32")
	for i := range 300 {
		odd = append(odd, netip.PrefixFrom(nth(2*i+1), 32))
		even = append(even, netip.PrefixFrom(nth(2*i), 32))
	}
	must(t, g.SetList("l", FeedBans, odd))
	done := make(chan error)
	go func() {
		for i := range 40 {
			l := even
			if i%2 == 1 {
				l = odd
			}
			if err := g.SetList("l", FeedBans, l); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			must(t, err)
			return
		default:
		}
		if g.Admit(addr("203.0.113.1")).OK() || !g.Admit(addr("203.0.113.2")).OK() {
			t.Fatal("a packet saw a list in pieces")
		}
	}
}

// Load puts lists into force before Open returns.
func TestListsAtOpen(t *testing.T) {
	var inside error
	g := open(t, userSpace(), Options{Load: func(set SetList) {
		inside = errors.Join(set("drop", FeedBans, prefixes("192.0.2.0/24")), set("seen", FeedMonitor, prefixes("198.51.100.0/24")),
			set("friends", FeedAllow, prefixes("192.0.2.1/32")))
	}})
	must(t, inside)
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	expectAdmit(t, g, "192.0.2.2", networkBanned)
	expectAdmit(t, g, "198.51.100.1", verdict.Passed)
	if f := feedOf(t, g, "seen"); f.Does != "monitor" || f.Entries != 1 {
		t.Errorf("%+v", f)
	}
}
