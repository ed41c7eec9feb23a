package bpf

import (
	"net/netip"
	"testing"
	"time"
)

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
		"v4 short UDP":        {src: src4, options: 40, payload: []byte{0x13, 0xc4}},
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

// Whatever a source that is not banned sends passes, but for what nobody should send.
func TestRootShapesPass(t *testing.T) {
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.8/32", "2001:db8::8/128", "2001:db8:0:1::/64", "203.0.113.0/24", "2001:db8:bad::/48")
	for name, s := range shapes("192.0.2.7", "2001:db8::7") {
		want := pass(familyOf(s))
		switch name {
		case "v4 short UDP":
			want = drop(FamilyIPv4, ReasonBadPacket)
		case "v6 seven extensions":
			want = drop(FamilyIPv6, ReasonExtensionChain)
		}
		if _, got := run(t, f, s.bytes()); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// No shape of a banned source passes, whatever table bans it, unless monitor mode or the never-ban list says so; and then whatever
// it sends passes.
func TestRootShapesBanned(t *testing.T) {
	for _, tc := range []struct {
		name      string
		prefixes  []string
		four, six Reason
		byList    bool
	}{
		{name: "host", prefixes: []string{"192.0.2.7/32", "2001:db8::7/128"}, four: ReasonHostBanned, six: ReasonHostBanned},
		{name: "site", prefixes: []string{"192.0.2.7/32", "2001:db8::/64"}, four: ReasonHostBanned, six: ReasonHostBanned},
		{name: "list", prefixes: []string{"192.0.2.7/32", "2001:db8::7/128"}, four: ReasonHostBanned, six: ReasonHostBanned, byList: true},
		{name: "network list", prefixes: []string{"192.0.2.0/23", "2001:db8::/40"}, four: ReasonNetworkBanned, six: ReasonNetworkBanned, byList: true},
		{name: "/24 and /48", prefixes: []string{"192.0.2.0/24", "2001:db8::/48"}, four: ReasonNetworkBanned, six: ReasonNetworkBanned},
		{name: "/20 and /33", prefixes: []string{"192.0.0.0/20", "2001:db8::/33"}, four: ReasonNetworkBanned, six: ReasonNetworkBanned},
		{name: "/8 and /29", prefixes: []string{"192.0.0.0/8", "2001:db8::/29"}, four: ReasonNetworkBanned, six: ReasonNetworkBanned},
		{name: "/31 and /80", prefixes: []string{"192.0.2.6/31", "2001:db8::/80"}, four: ReasonHostBanned, six: ReasonNetworkBanned},
		{name: "/25 and /127", prefixes: []string{"192.0.2.0/25", "2001:db8::6/127"}, four: ReasonHostBanned, six: ReasonNetworkBanned},
		{name: "/1 and /16", prefixes: []string{"128.0.0.0/1", "2001::/16"}, four: ReasonNetworkBanned, six: ReasonNetworkBanned},
		{name: "all", prefixes: []string{"192.0.2.0/24", "2001:db8::/32", "192.0.2.7/32", "2001:db8::7/128"}, four: ReasonHostBanned, six: ReasonHostBanned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := unattached(t)
			s := f.Sources()
			if tc.byList {
				must(t, s.SetList(listOne, prefixes(tc.prefixes...)))
			} else {
				ban(t, f, time.Hour, tc.prefixes...)
			}
			expect := func(what string, want fate) {
				t.Helper()
				for name, sh := range shapes("192.0.2.7", "2001:db8::7") {
					want := want
					if want.family = familyOf(sh); want.action != ActionAllow {
						if want.reason = tc.four; want.family == FamilyIPv6 {
							want.reason = tc.six
						}
					}
					_, got := run(t, f, sh.bytes())
					if what == "monitored" && (name == "v4 short UDP" || name == "v6 seven extensions") && got.action == ActionDrop && got.list == 0 {
						continue // dropped for what it is
					}
					if got != want {
						t.Errorf("%s, %s: %v, want %v", what, name, got, want)
					}
				}
			}
			expect("banned", fate{action: ActionDrop, list: listOne})
			must(t, s.SetMonitored(1<<listOne))
			expect("monitored", fate{action: ActionMonitor, list: listOne})
			must(t, s.SetMonitored(0))
			must(t, s.SetAllow(prefixes("192.0.2.0/28", "2001:db8::/120")))
			expect("allowed", fate{action: ActionAllow})
			must(t, s.SetAllow(prefixes("192.0.2.0/23", "2001:db8::/47")))
			expect("network allowed", fate{action: ActionAllow})
			must(t, s.SetAllow(prefixes("192.0.2.0/30", "2001:db8::8/128")))
			expect("no longer allowed", fate{action: ActionDrop, list: listOne})
			must(t, s.SetAllow(nil))
			must(t, s.SetList(listOne, nil))
			for _, p := range prefixes(tc.prefixes...) {
				must(t, s.Unban(p))
			}
			for name, sh := range shapes("192.0.2.7", "2001:db8::7") {
				if _, got := run(t, f, sh.bytes()); got.list != 0 || (got.action != ActionPass && got.reason != ReasonBadPacket && got.reason != ReasonExtensionChain) {
					t.Errorf("unbanned, %s: %v", name, got)
				}
			}
		})
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
			_, got := run(t, f, b[:n])
			want := fate{familyOf(s), ReasonHostBanned, ActionDrop, listOne}
			if n < ip+header {
				want.reason, want.list = ReasonBadPacket, 0
			}
			if n < ip {
				want.family = FamilyOther
			}
			if got != want {
				t.Fatalf("%s cut to %d bytes: %v, want %v", name, n, got, want)
			}
		}
	}
}
