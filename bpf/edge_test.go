package bpf

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"brickhouse/bpf/table"
)

// XDP actions (linux/bpf.h).
const (
	xdpDrop = 1
	xdpPass = 2
)

// Lists that the tests ban by.
const (
	listOne = table.FirstBan + iota
	listTwo
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// unattached is the filter loaded for test runs, with nothing pinned and empty tables in force.
func unattached(t testing.TB) *Filter {
	t.Helper()
	needRoot(t)
	f, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, f.Sources().Rebuild())
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func now(t testing.TB) time.Duration {
	t.Helper()
	n, err := Monotonic()
	must(t, err)
	return n
}

func prefixes(ss ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func ban(t testing.TB, f *Filter, for_ time.Duration, ss ...string) {
	t.Helper()
	for _, p := range prefixes(ss...) {
		must(t, f.Sources().Ban(p, listOne, table.TickOf(now(t)+for_)))
	}
}

// fate is what became of a packet.
type fate struct {
	family Family
	reason Reason
	action Action
	list   table.List
}

// run gives the frame to the program, and checks that the frame comes back unchanged and that exactly the right counters moved: one
// of packets, by one packet of its size, and for what is or would be dropped the one of its list. It returns what was decided.
func run(t testing.TB, f *Filter, b []byte) (uint32, fate) {
	t.Helper()
	before, lists := counts(t, f)
	o := &ebpf.RunOptions{Data: b, DataOut: make([]byte, len(b)+256)}
	ret, err := f.Program().Run(o)
	must(t, err)
	if !bytes.Equal(o.DataOut, b) {
		t.Errorf("the program changed the frame:\n%x\n%x", b, o.DataOut)
	}
	after, listsAfter := counts(t, f)
	var moved []fate
	for k, c := range after {
		was := before[k]
		if c == was {
			continue
		}
		moved = append(moved, k)
		if c.Packets != was.Packets+1 || c.Bytes != was.Bytes+uint64(len(b)) {
			t.Errorf("counter %v moved by %d packets, %d bytes; want 1, %d", k, c.Packets-was.Packets, c.Bytes-was.Bytes, len(b))
		}
	}
	if len(moved) != 1 {
		t.Fatalf("counters that moved: %v, want exactly one", moved)
	}
	got := moved[0]
	got.list = movedList(t, got.action, lists, listsAfter)
	if wantRet := uint32(xdpPass); (got.action == ActionDrop) != (ret == xdpDrop) || (ret != xdpDrop && ret != wantRet) {
		t.Errorf("the program returned %d, but counted %v", ret, got)
	}
	return ret, got
}

// movedList is the list whose counter moved, and checks that no other did.
func movedList(t testing.TB, a Action, before, after map[table.List]ListCount) table.List {
	t.Helper()
	moved := []table.List{}
	for l, c := range after {
		was := before[l]
		was.List = l
		if c == was {
			continue
		}
		moved = append(moved, l)
		if was.Dropped += uint64(min(1, max(0, 2-int(a)))) * uint64(min(1, a)); a == ActionMonitor {
			was.Monitored++
		}
		if c != was {
			t.Errorf("%v: the counter of list %d is %+v, want %+v", a, l, c, was)
		}
	}
	if counted := a == ActionDrop || a == ActionMonitor; len(moved) > 1 || (len(moved) == 1) != counted {
		t.Fatalf("%v: lists that moved: %v", a, moved)
	}
	if len(moved) == 0 {
		return table.None
	}
	return moved[0]
}

func counts(t testing.TB, f *Filter) (map[fate]Count, map[table.List]ListCount) {
	t.Helper()
	all, err := f.Counts()
	must(t, err)
	m, lists := map[fate]Count{}, map[table.List]ListCount{}
	for _, c := range all.Packets {
		m[fate{c.Family, c.Reason, c.Action, 0}] = c
	}
	for _, c := range all.Lists {
		lists[c.List] = c
	}
	return m, lists
}

// dropped is how many packets of a family were dropped for a reason.
func dropped(t testing.TB, f *Filter, fam Family, r Reason) uint64 {
	t.Helper()
	c, _ := counts(t, f)
	return c[fate{fam, r, ActionDrop, 0}].Packets
}

type fateCase struct {
	name string
	in   frame
	want fate
}

func expectFates(t *testing.T, f *Filter, cases []fateCase) {
	t.Helper()
	for _, tc := range cases {
		if _, got := run(t, f, tc.in.bytes()); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func drop(fam Family, r Reason) fate { return fate{fam, r, ActionDrop, 0} }
func pass(fam Family) fate           { return fate{fam, ReasonNone, ActionPass, 0} }

// What can't be parsed or can't be sent by anybody is dropped, what is no IP passes.
func TestRootHeaders(t *testing.T) {
	f := unattached(t)
	expectFates(t, f, []fateCase{
		{"ARP", frame{src: "192.0.2.7", proto: etherARP}, pass(FamilyOther)},
		{"ARP in VLAN", frame{src: "192.0.2.7", proto: etherARP, tags: []uint16{etherVLAN}}, pass(FamilyOther)},
		{"LLDP", frame{src: "192.0.2.7", proto: 0x88cc}, pass(FamilyOther)},
		{"802.3 length", frame{src: "192.0.2.7", proto: 46}, pass(FamilyOther)},
		{"neighbour discovery", frame{src: "fe80::1", dst: "ff02::1:ff00:1", next: 58}, pass(FamilyIPv6)},
		{"three tags", frame{src: "192.0.2.7", tags: []uint16{etherQinQ, etherVLAN, etherVLAN}}, drop(FamilyOther, ReasonTooManyTags)},
		{"four tags", frame{src: "2001:db8::1", tags: []uint16{etherVLAN, etherVLAN, etherVLAN, etherVLAN}}, drop(FamilyOther, ReasonTooManyTags)},
		{"v4 version 6", frame{src: "192.0.2.7", version: 6}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v4 version 15", frame{src: "192.0.2.7", version: 15}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v4 header of 16 bytes", frame{src: "192.0.2.7", ihl: 4}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v4 header beyond the frame", frame{src: "192.0.2.7", ihl: 15, payload: []byte{}}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v4 shorter than its header", frame{src: "192.0.2.7", total: 19}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v6 version 4", frame{src: "2001:db8::1", version: 4}, drop(FamilyIPv6, ReasonBadPacket)},
		{"v6 as v4", frame{src: "2001:db8::1", proto: etherIPv4}, drop(FamilyIPv4, ReasonBadPacket)},
		{"v4 as v6", frame{src: "192.0.2.7", proto: etherIPv6}, drop(FamilyIPv6, ReasonBadPacket)},
		{"DHCP without an address", frame{src: "0.0.0.0", dst: "255.255.255.255"}, pass(FamilyIPv4)},
		{"IGMP without an address", frame{src: "0.0.0.0", dst: "224.0.0.22", next: 2}, pass(FamilyIPv4)},
		{"0.0.0.0 to a host", frame{src: "0.0.0.0"}, drop(FamilyIPv4, ReasonMartianSource)},
		{"multicast source", frame{src: "224.0.0.1"}, drop(FamilyIPv4, ReasonMartianSource)},
		{"last multicast source", frame{src: "239.255.255.255"}, drop(FamilyIPv4, ReasonMartianSource)},
		{"broadcast source", frame{src: "255.255.255.255"}, drop(FamilyIPv4, ReasonMartianSource)},
		{"before multicast", frame{src: "223.255.255.255"}, pass(FamilyIPv4)},
		{"loopback", frame{src: "127.0.0.1", dst: "127.0.0.1"}, pass(FamilyIPv4)},
		{"duplicate address detection", frame{src: "::", dst: "ff02::1:ff00:1", next: 58}, pass(FamilyIPv6)},
		{":: to a host", frame{src: "::"}, drop(FamilyIPv6, ReasonMartianSource)},
		{"v6 loopback", frame{src: "::1", dst: "::1"}, pass(FamilyIPv6)},
		{"v6 group", frame{src: "ff02::1"}, drop(FamilyIPv6, ReasonMartianSource)},
		{"mapped v4", frame{src: "::ffff:192.0.2.7"}, drop(FamilyIPv6, ReasonMartianSource)},
		{"NAT64", frame{src: "64:ff9b::192.0.2.7"}, pass(FamilyIPv6)},
	})
}

// A reason in monitor mode drops nothing and hides no ban.
func TestRootMonitoredReasons(t *testing.T) {
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.7/32")
	all := map[Reason]bool{}
	for _, r := range Reasons() {
		all[r] = r != ReasonHostBanned && r != ReasonNetworkBanned
	}
	must(t, f.Set(Settings{Monitored: all, Fragments: FragmentsDrop}))
	expectFates(t, f, []fateCase{
		{"martian", frame{src: "255.255.255.255"}, fate{FamilyIPv4, ReasonMartianSource, ActionMonitor, 0}},
		{"mapped", frame{src: "::ffff:192.0.2.9"}, fate{FamilyIPv6, ReasonMartianSource, ActionMonitor, 0}},
		{"banned", frame{src: "192.0.2.7", flags: 9}, fate{FamilyIPv4, ReasonHostBanned, ActionDrop, listOne}},
		{"fragment", frame{src: "192.0.2.8", flags: 9}, fate{FamilyIPv4, ReasonFragment, ActionMonitor, 0}},
		{"chain", frame{src: "2001:db8::1", next: 60, ext: chain(7)}, fate{FamilyIPv6, ReasonExtensionChain, ActionMonitor, 0}},
		{"short UDP", frame{src: "192.0.2.8", options: 40, payload: []byte{1}}, fate{FamilyIPv4, ReasonBadPacket, ActionMonitor, 0}},
		{"no header", frame{src: "192.0.2.8", version: 5}, fate{FamilyIPv4, ReasonBadPacket, ActionMonitor, 0}},
		{"three tags", frame{src: "192.0.2.8", tags: []uint16{etherVLAN, etherVLAN, etherVLAN}}, fate{FamilyOther, ReasonTooManyTags, ActionMonitor, 0}},
	})
	all[ReasonHostBanned] = true
	must(t, f.Set(Settings{Monitored: all}))
	expectFates(t, f, []fateCase{{"host bans monitored", frame{src: "192.0.2.7"}, fate{FamilyIPv4, ReasonHostBanned, ActionMonitor, listOne}}})
}

// The end of a ban is a comparison in the kernel.
func TestRootExpiry(t *testing.T) {
	f := unattached(t)
	in := frame{src: "192.0.2.7"}.bytes()
	ban(t, f, -3*time.Second, "192.0.2.7/32", "192.0.2.0/24")
	expect := func(what string, want fate) {
		t.Helper()
		if _, got := run(t, f, in); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("ended", pass(FamilyIPv4))
	ban(t, f, time.Hour, "192.0.2.0/24")
	expect("host's ended, network's in force", fate{FamilyIPv4, ReasonNetworkBanned, ActionDrop, listOne})
	must(t, f.Sources().Ban(netip.MustParsePrefix("192.0.2.7/32"), listTwo, table.Forever))
	expect("without an end", fate{FamilyIPv4, ReasonHostBanned, ActionDrop, listTwo})
	must(t, f.Sources().Unban(netip.MustParsePrefix("192.0.2.0/24")))
	six := frame{src: "2001:db8::7"}.bytes()
	for p, b := range map[string][]byte{"192.0.2.7/32": in, "2001:db8::/48": six} {
		ban(t, f, time.Second, p)
		if ret, _ := run(t, f, b); ret != xdpDrop {
			t.Error("a short ban is not in force")
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if ret, _ := run(t, f, b); ret == xdpPass {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the ban did not end by itself")
			}
		}
	}
}

// The program finds in the tables what user space finds in them, whatever put it there.
func TestRootSources(t *testing.T) {
	f := unattached(t)
	s := f.Sources()
	if err := s.Ban(netip.MustParsePrefix("::/64"), listOne, table.Forever); err == nil {
		t.Error("::/64 was banned")
	}
	must(t, s.SetList(listTwo, prefixes("198.51.100.0/24", "203.0.113.9/32", "2001:db8:7::/48", "2a00::/12", "2001:db8:8:8:8::/80")))
	must(t, s.SetAllow(prefixes("198.51.100.64/26", "2001:db8:7:1::/64", "2a00:1::/32", "2001:db8:8:8:8::1/128")))
	ban(t, f, time.Hour, "203.0.113.128/29", "2001:db8:8:8::2/128")
	one := func(fam Family, r Reason, l table.List) fate { return fate{fam, r, ActionDrop, l} }
	allow := func(fam Family) fate { return fate{fam, ReasonNone, ActionAllow, 0} }
	expectFates(t, f, []fateCase{
		{"list", frame{src: "203.0.113.9"}, one(FamilyIPv4, ReasonHostBanned, listTwo)},
		{"list's net", frame{src: "198.51.100.1"}, one(FamilyIPv4, ReasonNetworkBanned, listTwo)},
		{"allowed in it", frame{src: "198.51.100.65", flags: 0x2010}, allow(FamilyIPv4)},
		{"/29", frame{src: "203.0.113.135"}, one(FamilyIPv4, ReasonHostBanned, listOne)},
		{"behind /29", frame{src: "203.0.113.136"}, pass(FamilyIPv4)},
		{"/48", frame{src: "2001:db8:7::1"}, one(FamilyIPv6, ReasonNetworkBanned, listTwo)},
		{"allowed /64", frame{src: "2001:db8:7:1::1", next: 60, ext: chain(7)}, allow(FamilyIPv6)},
		{"/12", frame{src: "2a0f::1"}, one(FamilyIPv6, ReasonNetworkBanned, listTwo)},
		{"allowed /32", frame{src: "2a00:1::1"}, allow(FamilyIPv6)},
		{"/80", frame{src: "2001:db8:8:8:8::2"}, one(FamilyIPv6, ReasonNetworkBanned, listTwo)},
		{"allowed host", frame{src: "2001:db8:8:8:8::1"}, allow(FamilyIPv6)},
		{"/128", frame{src: "2001:db8:8:8::2"}, one(FamilyIPv6, ReasonHostBanned, listOne)},
		{"its neighbour", frame{src: "2001:db8:8:8::3"}, pass(FamilyIPv6)},
	})
	ban(t, f, time.Hour, "2a00::/16") // shorter than /20, in a /64 that has longer entries
	must(t, s.Know(netip.MustParsePrefix("2a00:1::5/128"), table.Forever))
	expectFates(t, f, []fateCase{{"allowed within a short ban", frame{src: "2a00:1::6"}, allow(FamilyIPv6)}})

	must(t, s.SetMonitored(1<<listTwo))
	expectFates(t, f, []fateCase{
		{"monitored list", frame{src: "203.0.113.9"}, fate{FamilyIPv4, ReasonHostBanned, ActionMonitor, listTwo}},
		{"other list", frame{src: "203.0.113.135"}, one(FamilyIPv4, ReasonHostBanned, listOne)},
	})
	ban(t, f, time.Hour, "203.0.113.0/24", "2001:db8:8:8::/64")
	expectFates(t, f, []fateCase{
		{"enforced network behind a monitored host", frame{src: "203.0.113.9"}, one(FamilyIPv4, ReasonNetworkBanned, listOne)},
		{"enforced site behind a monitored /80", frame{src: "2001:db8:8:8:8::2"}, one(FamilyIPv6, ReasonHostBanned, listOne)},
	})
	must(t, f.Set(Settings{})) // does not touch the lists
	expectFates(t, f, []fateCase{{"still monitored", frame{src: "2a0f::1"}, fate{FamilyIPv6, ReasonNetworkBanned, ActionMonitor, listTwo}}})
	must(t, s.SetMonitored(0))
	expectFates(t, f, []fateCase{{"no longer", frame{src: "2a0f::1"}, one(FamilyIPv6, ReasonNetworkBanned, listTwo)}})
}
