package bpf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// Media ports are closed until a call opens them, for UDP only; what is no media port is not asked.
func TestRootPinholes(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	closed4, closed6 := drop(FamilyIPv4, ReasonPortClosed), drop(FamilyIPv6, ReasonPortClosed)
	media := udp(mediaFirst, "\x80\x00media")
	expectFates(t, f, []fateCase{
		{"first", frame{src: "192.0.2.7", payload: media}, closed4},
		{"last", frame{src: "192.0.2.7", payload: udp(mediaLast, "")}, closed4},
		{"behind options", frame{src: "192.0.2.7", options: 40, payload: media}, closed4},
		{"first fragment", frame{src: "192.0.2.7", flags: 0x2000, payload: media}, closed4},
		{"QinQ", frame{src: "192.0.2.7", tags: []uint16{etherQinQ, etherVLAN}, payload: media}, closed4},
		{"v6", frame{src: "2001:db8::7", payload: media}, closed6},
		{"v6 extensions", frame{src: "2001:db8::7", next: 60, ext: chain(6), payload: media}, closed6},
		{"v6 first fragment", frame{src: "2001:db8::7", next: 44, ext: []byte{17, 0, 0, 1, 0, 0, 0, 9}, payload: media}, closed6},
		{"v6 authentication header", frame{src: "2001:db8::7", next: 51, ext: append([]byte{17, 4}, make([]byte, 22)...), payload: media}, closed6},
		{"before", frame{src: "192.0.2.7", payload: udp(mediaFirst-1, "")}, pass(FamilyIPv4)},
		{"behind", frame{src: "192.0.2.7", payload: udp(mediaLast+1, "")}, pass(FamilyIPv4)},
		{"TCP", tcp4("192.0.2.7", mediaFirst, tcpSYN), pass(FamilyIPv4)},
		{"SCTP", frame{src: "192.0.2.7", next: 132, payload: media}, pass(FamilyIPv4)},
	})
	f.OpenPort(mediaFirst, true)
	expectFates(t, f, []fateCase{
		{"opened", frame{src: "192.0.2.7", payload: media}, pass(FamilyIPv4)},
		{"its neighbour", frame{src: "192.0.2.7", payload: udp(mediaFirst+1, "")}, closed4},
	})
	f.OpenPort(mediaFirst, false)
	expectFates(t, f, []fateCase{{"closed again", frame{src: "192.0.2.7", payload: media}, closed4}})
	must(t, f.Sources().SetAllow(prefixes("192.0.2.7/32")))
	expectFates(t, f, []fateCase{{"never banned", frame{src: "192.0.2.7", payload: media}, fate{FamilyIPv4, ReasonNone, ActionAllow, 0}}})
	must(t, f.Sources().SetAllow(nil))
	must(t, f.SetOwn([]netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:ffff::1")}))
	others := []fateCase{
		{"at another address", frame{src: "192.0.2.7", dst: "198.51.100.2", payload: media}, pass(FamilyIPv4)},
		{"at another address, v6", frame{src: "2001:db8::7", dst: "2001:db8:ffff::2", payload: media}, pass(FamilyIPv6)},
		{"at another address, v6 extensions", frame{src: "2001:db8::7", dst: "2001:db8:ffff::2", next: 60, ext: chain(6), payload: media}, pass(FamilyIPv6)},
	}
	expectFates(t, f, append(others, []fateCase{
		{"at ours", frame{src: "192.0.2.7", payload: media}, closed4},
		{"at ours, v6", frame{src: "2001:db8::7", payload: media}, closed6},
		{"at ours, v6 extensions", frame{src: "2001:db8::7", next: 60, ext: chain(6), payload: media}, closed6},
	}...))
	must(t, f.SetOwn([]netip.Addr{netip.MustParseAddr("198.51.100.2")}))
	expectFates(t, f, []fateCase{
		{"ours no longer", frame{src: "192.0.2.7", payload: media}, pass(FamilyIPv4)},
		{"ours now", frame{src: "192.0.2.7", dst: "198.51.100.2", payload: media}, closed4},
	})
	if err := f.SetOwn(make([]netip.Addr, MaxOwn+1)); err == nil {
		t.Error("more addresses than there is room for")
	}
	must(t, f.SetOwn(nil))
	expectFates(t, f, []fateCase{{"at all", frame{src: "192.0.2.7", dst: "198.51.100.9", payload: media}, closed4}})
	f.SetPorts(Ports{})
	expectFates(t, f, []fateCase{{"not guarded", frame{src: "2001:db8::7", payload: media}, pass(FamilyIPv6)}})
}

// Later fragments by policy, and chains of extension headers up to the bound and over it.
func TestRootFragmentsAndChains(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	cases := func(later4, later6 fate) []fateCase {
		return []fateCase{
			{"first", frame{src: "192.0.2.7", flags: 0x2000}, pass(FamilyIPv4)},
			{"don't fragment", frame{src: "192.0.2.7", flags: 0x4000}, pass(FamilyIPv4)},
			{"later", frame{src: "192.0.2.7", flags: 0x2001}, later4},
			{"last", frame{src: "192.0.2.7", flags: 0x1fff}, later4},
			{"later TCP", frame{src: "192.0.2.7", flags: 1, next: 6}, later4},
			{"v6 first", frame{src: "2001:db8::7", next: 44, ext: []byte{17, 0, 0, 1, 0, 0, 0, 9}}, pass(FamilyIPv6)},
			{"v6 later", frame{src: "2001:db8::7", next: 44, ext: []byte{17, 0, 0, 8, 0, 0, 0, 9}}, later6},
			{"v6 later behind options", frame{src: "2001:db8::7", next: 60, ext: []byte{44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0xff, 0xf8, 0, 0, 0, 9}}, later6},
		}
	}
	for p, r := range map[Fragments]Reason{FragmentsDrop: ReasonFragment, FragmentsPass: ReasonNone, FragmentsRate: ReasonNone} {
		must(t, f.Set(Settings{Fragments: p}))
		if r == ReasonNone {
			expectFates(t, f, cases(pass(FamilyIPv4), pass(FamilyIPv6)))
		} else {
			expectFates(t, f, cases(drop(FamilyIPv4, r), drop(FamilyIPv6, r)))
		}
	}
	for n := range 10 {
		want := pass(FamilyIPv6)
		if n > 6 {
			want = drop(FamilyIPv6, ReasonExtensionChain)
		}
		in := frame{src: "2001:db8::7", next: 60, ext: chain(n), payload: udp(9, "")}
		if n == 0 {
			in.next = 17
		}
		expectFates(t, f, []fateCase{{fmt.Sprint(n, " extension headers"), in, want}})
	}
	bad := drop(FamilyIPv6, ReasonBadPacket)
	expectFates(t, f, []fateCase{
		{"a chain beyond the frame", frame{src: "2001:db8::7", next: 60, ext: []byte{17, 255, 1, 4, 0, 0, 0, 0}}, bad},
		{"a chain that ends with the frame", frame{src: "2001:db8::7", next: 60, ext: []byte{60, 0, 1, 4, 0, 0, 0, 0}, payload: make([]byte, 7)}, bad},
		{"short UDP", frame{src: "2001:db8::7", payload: make([]byte, 7)}, bad},
		{"short TCP", frame{src: "2001:db8::7", next: 6, payload: make([]byte, 19)}, bad},
		{"whole TCP", frame{src: "2001:db8::7", next: 6, payload: make([]byte, 20)}, pass(FamilyIPv6)},
		{"no next header", frame{src: "2001:db8::7", next: 59, payload: []byte{1}}, pass(FamilyIPv6)},
		{"ESP", frame{src: "2001:db8::7", next: 50, payload: []byte{1}}, pass(FamilyIPv6)},
	})
}

// What is on the SIP port is SIP, or keeps a NAT open.
func TestRootLikeSIP(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	for _, s := range []string{
		"OPTIONS sip:x SIP/2.0\r\n", "REGISTER sip:pbx.example SIP/2.0\r\n", "INVITE sip:1@x SIP/2.0\r\n", "ACK sip:x SIP/2.0\r\n", "BYE sip:x SIP/2.0\r\n",
		"CANCEL sip:x SIP/2.0\r\n", "UPDATE sip:x SIP/2.0\r\n", "PRACK sip:x SIP/2.0\r\n", "SUBSCRIBE sip:x SIP/2.0\r\n", "NOTIFY sip:x SIP/2.0\r\n",
		"PUBLISH sip:x SIP/2.0\r\n", "INFO sip:x SIP/2.0\r\n", "REFER sips:x SIP/2.0\r\n", "MESSAGE tel:+1 SIP/2.0\r\n", "A sip:x SIP/2.0\r\n",
		"ODD.-_'`~%!*+ sip:x SIP/2.0\r\n", "SIP/2.0 200 OK\r\n", "\r\n", "\r\n\r\n", "", "\x00", "\x00\x00\x00\x00", "\r",
		"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl", "\x01\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl", "\r\n\r\nOPTIONS sip:x SIP/2.0\r\n",
	} {
		for _, src := range []string{"192.0.2.7", "2001:db8::7"} { // the short IPv4 ones come with the padding that Ethernet wants
			in := frame{src: src, payload: udp(portSIP, s)}
			if _, got := run(t, f, in.bytes()); got != pass(familyOf(in)) {
				t.Errorf("%q from %s: %v", s, src, got)
			}
		}
	}
	for _, s := range []string{
		"\x80\x00\x12\x34\x00\x00\x00\x00ssss", "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", "NOTIFY * HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n",
		"JUNK", "jaK", "JUNKJUN\x00JUNK", "GET / HTTP/1.1\r\n", "SIP/3.0 200 OK\r\n", " OPTIONS sip:x", "OPTIONS  sip:x SIP/2.0", "OPT\x7fONS sip:x SIP/2.0",
		"OPTION\xc3\xa9 sip:x", "\n\r\n\r\n\r\n\r\n", strings.Repeat("\x00", 9), strings.Repeat("\xff", 200), "\xc0\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl",
	} {
		in := frame{src: "192.0.2.7", payload: udp(portSIP, s)}
		if _, got := run(t, f, in.bytes()); got != drop(FamilyIPv4, ReasonNotSIP) {
			t.Errorf("%q: %v", s, got)
		}
		in.payload = udp(portTLS, s) // not a port for SIP over UDP
		if _, got := run(t, f, in.bytes()); got != pass(FamilyIPv4) {
			t.Errorf("%q to another port: %v", s, got)
		}
	}
	must(t, f.Set(Settings{Monitored: map[Reason]bool{ReasonNotSIP: true}}))
	expectFates(t, f, []fateCase{{"monitored", frame{src: "192.0.2.7", payload: udp(portSIP, "JUNK")}, fate{FamilyIPv4, ReasonNotSIP, ActionMonitor, 0}}})
}

// likeSIP is the rule in plain Go: of a request's first nine bytes the method is a token without a slash, and a letter follows its space.
func likeSIP(b string) bool {
	switch {
	case b == "":
		return true
	case len(b) < 9:
		return b[0] == '\r' || b[0] == 0
	case strings.HasPrefix(b, "SIP/2.0 "), strings.HasPrefix(b, "\r\n"):
		return true
	case b[4:8] == "\x21\x12\xa4\x42" && b[0]&0xc0 == 0:
		return true
	}
	for i := range 8 {
		switch c := b[i]; {
		case c == ' ':
			l := b[i+1] | 0x20
			return i > 0 && l >= 'a' && l <= 'z'
		case c < 0x21 || c > 0x7e || c == '/':
			return false
		}
	}
	return true
}

// The arithmetic on eight bytes at once and the plain rule say the same about random payloads and about SIP with some bytes changed.
func TestRootLikeSIPModel(t *testing.T) {
	f := unattached(t)
	f.SetPorts(testPorts)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 2))
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	seeds := []string{sipOptions, "SIP/2.0 200 OK\r\n", "A b:cdefghijk", "REGISTER sip:x", "SUBSCRIBE sip:x", "\x00\x01\x00\x00\x21\x12\xa4\x42abcd", "ABCDEFG s", "ABCDEFGH s"}
	odd := []byte{0, ' ', '/', '\r', '\n', 0x7f, 0x80, 0xff, 'a', 'z', 'A', 'Z', '{', '`', '[', '@', '!', '~', 0x21, 0x1f, 0xa0, 0xc1}
	var o ebpf.RunOptions
	for i := range n {
		b := []byte(seeds[r.IntN(len(seeds))])
		for range r.IntN(4) {
			c := odd[r.IntN(len(odd))]
			if r.IntN(2) == 0 {
				c = byte(r.Uint32())
			}
			b[r.IntN(9)] = c
		}
		if r.IntN(20) == 0 {
			b = b[:r.IntN(12)]
		}
		o.Data = frame{src: "192.0.2.7", payload: udp(portSIP, string(b))}.bytes()
		ret, err := f.Program().Run(&o)
		must(t, err)
		if (ret == xdpPass) != likeSIP(string(b)) {
			t.Fatalf("seed %d, payload %d %q: %d, the model says %v", seed, i, b, ret, likeSIP(string(b)))
		}
	}
}
