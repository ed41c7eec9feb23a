package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// XDP actions (linux/bpf.h).
const (
	xdpDrop = 1
	xdpPass = 2
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// unattached is the filter loaded for test runs, with nothing pinned.
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

func ban(t testing.TB, f *Filter, for_ time.Duration, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		must(t, f.Ban(Ban{netip.MustParsePrefix(p), now(t) + for_}))
	}
}

type fate struct {
	family Family
	reason Reason
	action Action
}

// run gives the frame to the program, and checks that the frame comes back unchanged and that exactly one counter moved, by one
// packet of its size. It returns what the program decided.
func run(t testing.TB, f *Filter, b []byte) (uint32, fate) {
	t.Helper()
	before := counts(t, f)
	out := make([]byte, len(b)+256)
	o := &ebpf.RunOptions{Data: b, DataOut: out}
	ret, err := f.Program().Run(o)
	must(t, err)
	if !bytes.Equal(o.DataOut, b) {
		t.Errorf("the program changed the frame:\n%x\n%x", b, o.DataOut)
	}
	var moved []fate
	for k, c := range counts(t, f) {
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
	return ret, moved[0]
}

func counts(t testing.TB, f *Filter) map[fate]Count {
	t.Helper()
	all, err := f.Counts()
	must(t, err)
	m := map[fate]Count{}
	for _, c := range all {
		m[fate{c.Family, c.Reason, c.Action}] = c
	}
	return m
}

// shapes are frames of one source each, in every shape that may hide a source from a filter that looks too far.
func shapes(src4, src6 string) map[string]frame {
	return map[string]frame{
		"v4":                  {src: src4},
		"v4 TCP":              {src: src4, next: 6, payload: make([]byte, 20)},
		"v4 options":          {src: src4, options: 40},
		"v4 first fragment":   {src: src4, flags: 0x2000},
		"v4 later fragment":   {src: src4, flags: 0x2010},
		"v4 last fragment":    {src: src4, flags: 0x0010},
		"v4 don't fragment":   {src: src4, flags: 0x4000},
		"v4 no payload":       {src: src4, payload: []byte{}},
		"v4 short UDP":        {src: src4, payload: []byte{0x13, 0xc4}},
		"v4 SCTP":             {src: src4, next: 132},
		"v4 GRE":              {src: src4, next: 47},
		"v4 ICMP":             {src: src4, next: 1},
		"v4 IP in IP":         {src: src4, next: 4},
		"v4 ESP":              {src: src4, next: 50},
		"v4 multicast":        {src: src4, dst: "224.0.1.75"},
		"v4 broadcast":        {src: src4, dst: "255.255.255.255"},
		"v4 VLAN":             {src: src4, tags: []uint16{etherVLAN}},
		"v4 QinQ":             {src: src4, tags: []uint16{etherQinQ, etherVLAN}},
		"v4 VLAN in VLAN":     {src: src4, tags: []uint16{etherVLAN, etherVLAN}},
		"v4 total length 0":   {src: src4, total: -1},
		"v4 total length big": {src: src4, total: 9000},
		"v6":                  {src: src6},
		"v6 VLAN":             {src: src6, tags: []uint16{etherVLAN}},
		"v6 QinQ":             {src: src6, tags: []uint16{etherQinQ, etherVLAN}},
		"v6 hop-by-hop":       {src: src6, next: -1, ext: []byte{17, 0, 1, 4, 0, 0, 0, 0}},
		"v6 first fragment":   {src: src6, next: 44, ext: []byte{17, 0, 0, 1, 0, 0, 0, 9}},
		"v6 later fragment":   {src: src6, next: 44, ext: []byte{17, 0, 5, 0x79, 0, 0, 0, 9}},
		"v6 seven extensions": {src: src6, next: 60, ext: chain(7)},
		"v6 routing header":   {src: src6, next: 43, ext: []byte{17, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		"v6 no next header":   {src: src6, next: 59, payload: []byte{}},
		"v6 ICMPv6":           {src: src6, next: 58},
		"v6 SCTP":             {src: src6, next: 132},
		"v6 v4 inside":        {src: src6, next: 4},
		"v6 multicast":        {src: src6, dst: "ff02::1"},
	}
}

func familyOf(f frame) Family {
	if netip.MustParseAddr(f.src).Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

func TestRootShapesPass(t *testing.T) {
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.8/32", "2001:db8::8/128", "2001:db8:0:1::/64", "203.0.113.0/24", "2001:db8:bad::/48")
	for name, s := range shapes("192.0.2.7", "2001:db8::7") {
		ret, got := run(t, f, s.bytes())
		if want := (fate{familyOf(s), ReasonNone, ActionPass}); ret != xdpPass || got != want {
			t.Errorf("%s: %d %v, want %d %v", name, ret, got, xdpPass, want)
		}
	}
}

// No shape of a banned source passes, whatever table bans it, unless monitor mode or the allow list says so.
func TestRootShapesBanned(t *testing.T) {
	for _, tc := range []struct {
		name     string
		prefixes []string
		reason   Reason
	}{
		{"host", []string{"192.0.2.7/32", "2001:db8::7/128"}, ReasonHostBanned},
		{"site", []string{"192.0.2.7/32", "2001:db8::/64"}, ReasonHostBanned},
		{"network", []string{"192.0.2.0/24", "2001:db8::/32"}, ReasonNetworkBanned},
		{"odd network", []string{"192.0.2.6/31", "2001:db8::6/127"}, ReasonNetworkBanned},
		{"both", []string{"192.0.2.0/24", "2001:db8::/32", "192.0.2.7/32", "2001:db8::7/128"}, ReasonHostBanned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := unattached(t)
			ban(t, f, time.Hour, tc.prefixes...)
			expect := func(what string, wantRet uint32, action Action) {
				for name, s := range shapes("192.0.2.7", "2001:db8::7") {
					ret, got := run(t, f, s.bytes())
					if want := (fate{familyOf(s), tc.reason, action}); ret != wantRet || got != want {
						t.Errorf("%s, %s: %d %v, want %d %v", what, name, ret, got, wantRet, want)
					}
				}
			}
			expect("banned", xdpDrop, ActionDrop)
			must(t, f.Set(Settings{Monitor: true}))
			expect("monitored", xdpPass, ActionMonitor)
			must(t, f.Set(Settings{}))
			must(t, f.SetAllowed([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/120")}))
			expect("allowed", xdpPass, ActionAllow)
			must(t, f.SetAllowed([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/30"), netip.MustParsePrefix("2001:db8::8/128")}))
			expect("no longer allowed", xdpDrop, ActionDrop)
			for _, p := range tc.prefixes {
				must(t, f.Unban(netip.MustParsePrefix(p)))
			}
			for name, s := range shapes("192.0.2.7", "2001:db8::7") {
				if ret, got := run(t, f, s.bytes()); ret != xdpPass || got.action != ActionPass {
					t.Errorf("unbanned, %s: %d %v", name, ret, got)
				}
			}
		})
	}
}

func TestRootHeaders(t *testing.T) {
	f := unattached(t)
	drop := func(fam Family, r Reason) fate { return fate{fam, r, ActionDrop} }
	pass := func(fam Family) fate { return fate{fam, ReasonNone, ActionPass} }
	for _, tc := range []struct {
		name string
		in   frame
		want fate
	}{
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
	} {
		ret, got := run(t, f, tc.in.bytes())
		if wantRet := uint32(xdpPass - min(1, int(tc.want.action))); ret != wantRet || got != tc.want {
			t.Errorf("%s: %d %v, want %d %v", tc.name, ret, got, wantRet, tc.want)
		}
	}
}

// ::/64 holds the loopback address and can't be banned as a site; its hosts can.
func TestRootUnspecified(t *testing.T) {
	f := unattached(t)
	if err := f.Ban(Ban{netip.MustParsePrefix("::/64"), Never}); err == nil {
		t.Error("::/64 was banned")
	}
	must(t, f.objs.Site6.Put([8]byte{}, &edgeBan{Until: ^uint64(0)})) // whoever writes it there all the same
	if ret, got := run(t, f, frame{src: "::1", dst: "::1"}.bytes()); ret != xdpPass {
		t.Errorf("::1 is dropped: %v", got)
	}
	ban(t, f, time.Hour, "::1/128", "0.0.0.0/32", "::/128")
	if ret, got := run(t, f, frame{src: "::1", dst: "::1"}.bytes()); ret != xdpDrop {
		t.Errorf("::1 is banned but passes: %v", got)
	}
	for _, in := range []frame{{src: "0.0.0.0", dst: "255.255.255.255"}, {src: "::", dst: "ff02::1:ff00:1"}} {
		if ret, got := run(t, f, in.bytes()); ret != xdpPass {
			t.Errorf("nobody's address can be banned: %v", got)
		}
	}
}

// Whatever is cut off a banned source's frame, what is left does not pass as IP of another source: either it is dropped, or the
// link header is not whole.
func TestRootTruncated(t *testing.T) {
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.7/32", "2001:db8::7/128")
	for name, s := range shapes("192.0.2.7", "2001:db8::7") {
		b := s.bytes()
		ip := 14 + 4*len(s.tags)
		header := 20 + s.options
		if familyOf(s) == FamilyIPv6 {
			header = 40
		}
		for n := 14; n < len(b); n++ {
			ret, got := run(t, f, b[:n])
			want := fate{familyOf(s), ReasonHostBanned, ActionDrop}
			if n < ip+header {
				want.reason = ReasonBadPacket
			}
			if n < ip {
				want.family = FamilyOther
			}
			if ret != xdpDrop || got != want {
				t.Fatalf("%s cut to %d bytes: %d %v, want %v", name, n, ret, got, want)
			}
		}
	}
}

// The end of a ban is a comparison in the kernel.
func TestRootExpiry(t *testing.T) {
	f := unattached(t)
	in := frame{src: "192.0.2.7"}.bytes()
	expired := []string{"192.0.2.7/32", "192.0.2.0/24"}
	ban(t, f, -time.Second, expired...)
	if ret, got := run(t, f, in); ret != xdpPass || got.reason != ReasonNone {
		t.Errorf("ended ban: %d %v", ret, got)
	}
	ban(t, f, time.Hour, "192.0.2.0/24")
	if ret, got := run(t, f, in); ret != xdpDrop || got.reason != ReasonNetworkBanned {
		t.Errorf("host ban ended, network ban in force: %d %v", ret, got)
	}
	must(t, f.Ban(Ban{netip.MustParsePrefix("192.0.2.7/32"), Never}))
	if ret, got := run(t, f, in); ret != xdpDrop || got.reason != ReasonHostBanned {
		t.Errorf("ban without an end: %d %v", ret, got)
	}
	must(t, f.Unban(netip.MustParsePrefix("192.0.2.0/24")))
	ban(t, f, 300*time.Millisecond, "192.0.2.7/32")
	if ret, _ := run(t, f, in); ret != xdpDrop {
		t.Error("short ban is not in force")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ret, _ := run(t, f, in); ret == xdpPass {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the ban did not end by itself")
		}
	}
}

func TestRootEvents(t *testing.T) {
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.7/32", "2001:db8::7/128")
	ev, err := f.Events()
	must(t, err)
	defer ev.Close()
	none := func(what string) {
		t.Helper()
		ev.SetDeadline(time.Now())
		if e, err := ev.Read(); err == nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
	v4, v6 := frame{src: "192.0.2.7"}.bytes(), frame{src: "2001:db8::7", payload: bytes.Repeat([]byte("x"), 300)}.bytes()
	run(t, f, v4)
	none("samples are off")
	must(t, f.Set(Settings{Samples: 3, Monitor: true}))
	run(t, f, frame{src: "192.0.2.9"}.bytes())
	none("passed")
	stayOnOneCPU(t) // the budget is each CPU's own
	before := now(t)
	for _, b := range [][]byte{v4, v6, frame{src: "192.0.2.7", proto: etherVLAN}.bytes()[:16], v4, v4} {
		run(t, f, b)
	}
	oneWindow := now(t)-before < time.Second
	for i, want := range []Event{
		{Length: len(v4), Family: FamilyIPv4, Reason: ReasonHostBanned, Source: netip.MustParseAddr("192.0.2.7"), Head: v4[:len(v4)&^7]},
		{Length: len(v6), Family: FamilyIPv6, Reason: ReasonHostBanned, Source: netip.MustParseAddr("2001:db8::7"), Head: v6[:128]},
		{Length: 16, Family: FamilyOther, Reason: ReasonBadPacket, Head: frame{src: "192.0.2.7", proto: etherVLAN}.bytes()[:16]},
	} {
		ev.SetDeadline(time.Now().Add(5 * time.Second))
		e, err := ev.Read()
		must(t, err)
		if e.At < before-time.Second || e.At > now(t)+time.Second {
			t.Errorf("event %d: at %v, not near %v", i, e.At, before)
		}
		want.At, want.Interface, want.Action = e.At, e.Interface, ActionMonitor
		if fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", want) {
			t.Errorf("event %d:\n%+v, want\n%+v", i, e, want)
		}
	}
	if !oneWindow {
		t.Log("five packets took over a second: they had the budget of two")
		return
	}
	none("over the budget of 3 a second")
}

// stayOnOneCPU keeps the test's thread where it is until the test ends.
func stayOnOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &old))
	for cpu := range 1024 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	t.Cleanup(func() {
		must(t, unix.SchedSetaffinity(0, &old))
		runtime.UnlockOSThread()
	})
}

func TestDecodeEventShort(t *testing.T) {
	if _, err := decodeEvent(make([]byte, 20)); err == nil {
		t.Error("20 bytes are no event")
	}
	raw := make([]byte, 168)
	raw[19] = 255 // more captured than there is room for
	if e, err := decodeEvent(raw); err != nil || len(e.Head) != 128 {
		t.Errorf("%v, head of %d bytes", err, len(e.Head))
	}
}

// Many at once are the same as one by one.
func TestRootBanAll(t *testing.T) {
	f := unattached(t)
	want := map[netip.Prefix]time.Duration{}
	var all []Ban
	for i := range 10_000 {
		a, b := byte(i>>8), byte(i)
		for _, p := range []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, a, b}), 32),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 6: a, 7: b}), 64),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 6: a, 15: b}), 128),
			netip.PrefixFrom(netip.AddrFrom4([4]byte{172, a, b, 0}), 24),
		} {
			want[p] = time.Duration(i + 1)
			all = append(all, Ban{p, time.Duration(i + 1)})
		}
	}
	all[17].Until, want[all[17].Prefix] = Never, Never
	must(t, f.BanAll(all))
	must(t, f.BanAll(nil))
	got, err := f.Bans()
	must(t, err)
	for _, b := range got {
		if u, ok := want[b.Prefix]; !ok || u != b.Until {
			t.Fatalf("%v until %v, want %v", b.Prefix, b.Until, u)
		}
		delete(want, b.Prefix)
	}
	if len(want) > 0 {
		t.Errorf("%d bans are missing", len(want))
	}
	if err := f.BanAll([]Ban{{Prefix: netip.Prefix{}}, {netip.MustParsePrefix("192.0.2.1/32"), Never}}); err == nil {
		t.Error("no prefix was banned")
	}
	if ret, _ := run(t, f, frame{src: "192.0.2.1"}.bytes()); ret != xdpDrop {
		t.Error("a good one was left out for a bad one")
	}
}

func TestRootTables(t *testing.T) {
	f := unattached(t)
	want := map[netip.Prefix]time.Duration{}
	for i, p := range []string{"192.0.2.7/32", "10.0.0.0/8", "2001:db8::7/128", "2001:db8:0:1::/64", "2001:db8::/48", "192.0.2.0/31"} {
		want[netip.MustParsePrefix(p)] = time.Duration(i+1) * time.Hour
	}
	want[netip.MustParsePrefix("198.51.100.0/24")] = Never
	for p, u := range want {
		must(t, f.Ban(Ban{p, u}))
	}
	got, err := f.Bans()
	must(t, err)
	if len(got) != len(want) {
		t.Errorf("%d bans, want %d", len(got), len(want))
	}
	for _, b := range got {
		if u, ok := want[b.Prefix]; !ok || u != b.Until {
			t.Errorf("%v until %v, want %v", b.Prefix, b.Until, u)
		}
	}
	must(t, f.Unban(netip.MustParsePrefix("203.0.113.1/32"))) // there is none: no error
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("::ffff:192.0.2.7/128")} {
		if f.Ban(Ban{Prefix: p}) == nil || f.Unban(p) == nil || f.SetAllowed([]netip.Prefix{p}) == nil {
			t.Errorf("%v was taken", p)
		}
	}
	allow := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	must(t, f.SetAllowed(allow))
	must(t, f.SetAllowed(allow[1:]))
	if have, err := f.Allowed(); err != nil || len(have) != 1 || have[0] != allow[1] {
		t.Errorf("allowed: %v %v", have, err)
	}
}
