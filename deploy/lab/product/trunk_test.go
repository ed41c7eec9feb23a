package product

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/pcap"
	"brickhouse/shared/siptest"
)

// trunkPassword is what we know of the carrier, and nobody else may.
const trunkPassword = "carriers-secret-word"

// carrier is how SIPp plays it: it demands credentials.
func carrier(proxy bool, hz float64) lab.SIPp {
	return lab.SIPp{Scenario: "uas", Domain: "carrier.test", User: "trunkuser", Password: trunkPassword, Proxy: proxy, Tone: hz, Calls: 1}
}

// Calls to and from a carrier that challenges, by phones on both sides of the border. Nothing of the inside is seen outside, the
// password is nowhere, and neither program sends a packet to anybody who is not in its configuration.
func TestTrunk(t *testing.T) {
	l := lab.New(t)
	wayOut(t, l)
	internet, core, voice := l.Internet.Capture(), l.Core.Capture(), l.Voice.Capture()
	p := Start(t, l, Options{Trunk: true})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	p.Command("pbx", trunkPassword+"\n", "trunk", "passwd", "carrier")
	alice := l.Remote.Baresip(p.RemoteAccount("1001", 440))
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	alice.Register()
	bob.Register()

	// Out, from the inside: 401. SIPp checks the answer to its challenge.
	sipp := l.Carrier.SIPp(carrier(false, 620))
	bob.Call("03012345")
	bob.WaitEstablished()
	atCarrier := l.Internet.Capture()
	bob.Hears(620)
	if r := atCarrier.Sound(l.Carrier); !r.Is(700) {
		t.Errorf("the carrier hears %+v", r)
	}
	bob.Hangup()
	sipp.MustSucceed(waits)
	dialled(t, sipp.Trace(), "3012345")

	// Out, from a remote phone: 407, and the carrier sends back what it hears.
	sipp = l.Carrier.SIPp(carrier(true, 0))
	alice.Call("03054321")
	alice.WaitEstablished()
	alice.Hears(440)
	alice.Hangup()
	sipp.MustSucceed(waits)
	dialled(t, sipp.Trace(), "3054321")
	proven(t, sipp.Trace(), "Proxy-Authorization", trunkPassword)

	// In: the carrier's number for us leads to an extension.
	sipp = l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Tone: 620, Talk: 4 * time.Second})
	bob.Answer()
	bob.Hears(620)
	sipp.MustSucceed(waits)
	bob.WaitClosed()

	// With another password the carrier refuses, and the caller is told.
	p.Command("pbx", "guess\n", "trunk", "passwd", "carrier")
	sipp = l.Carrier.SIPp(carrier(false, 0))
	bob.Call("03012345")
	if why := bob.WaitClosed(); !strings.HasPrefix(why, "403") {
		t.Errorf("refused by the carrier: the caller was told %q", why)
	}
	sipp.Stop()
	p.noCallsLeft(t)
	p.trunkRecords(t)

	p.discreet(internet, core, voice)
	p.keptNowhere(t, trunkPassword)
}

// discreet wants that nothing of the inside is seen outside, that no password is on any wire, and that border and exchange sent
// packets only to those who are in their configuration.
func (p *Product) discreet(internet, core, voice *lab.Capture) {
	l := p.Lab
	inside := slices.Concat(l.Exchange.Addrs(), l.Desk.Addrs(), []netip.Addr{l.DMZ.Addr(l.Core), l.DMZ.Addr6(l.Core)})
	internet.HoldsNoHost(inside...)
	internet.HoldsNo("Brickhouse-", "baresip", trunkPassword, "guess")
	core.HoldsNo(trunkPassword)
	voice.HoldsNo(trunkPassword)
	outside := slices.Concat(l.Remote.Addrs(), l.Carrier.Addrs(), l.DMZ.AddrsOn(l.Internet))
	internet.OnlyHosts(outside...)
	core.OnlyHosts(slices.Concat(l.DMZ.AddrsOn(l.Core), l.Exchange.AddrsOn(l.Core), l.Desk.Addrs())...)
	voice.OnlyHosts(slices.Concat(l.DMZ.AddrsOn(l.Core), l.Exchange.AddrsOn(l.Voice), l.Desk.Addrs())...)
}

// wayOut gives border and exchange a way to anywhere, so that what they would send home is seen on the wire, and shows that it is.
func wayOut(t *testing.T, l *lab.Lab) {
	t.Helper()
	home := netip.MustParseAddrPort("203.0.113.9:443")
	for _, h := range []struct {
		host, gateway *lab.Host
		wire          *lab.Wire
	}{{l.DMZ, l.Attacker, l.Internet}, {l.Exchange, l.Vault, l.Core}} {
		for _, via := range []netip.Addr{h.gateway.Addr(), h.gateway.Addr6()} {
			route := lab.Program{Path: "ip", Args: []string{"route", "add", "default", "via", via.String()}}
			if via.Is6() {
				route.Args = append([]string{"-6"}, route.Args...)
			}
			if code := h.host.Run(route).Wait(patience); code != 0 {
				t.Fatalf("a way out of %s: ip ended with %d", h.host.Name, code)
			}
		}
		wire := h.wire.Capture()
		c, err := h.host.Dial("udp", home)
		if err == nil {
			_, err = c.Write([]byte("is anybody home"))
			c.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := func(pk pcap.Packet) bool { return pk.Dst == home }
		until(t, waits, "a packet from "+h.host.Name+" to anywhere", func() string {
			if slices.ContainsFunc(wire.Peek(), seen) {
				return ""
			}
			return "it is not on the wire"
		})
	}
}

// dialled wants that the carrier was called under a number and by our name for it.
func dialled(t *testing.T, trace, number string) {
	t.Helper()
	if !strings.Contains(trace, "INVITE sip:"+number+"@carrier.test") {
		t.Errorf("no INVITE for %s in\n%s", number, trace)
	}
}

// proven checks a digest answer by its own arithmetic (RFC 7616 §3.4.1, with MD5 and qop=auth).
func proven(t *testing.T, trace, header, password string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + header + `: Digest (.*?)\r?$`).FindStringSubmatch(trace)
	if line == nil {
		t.Fatalf("no %s in\n%s", header, trace)
	}
	v := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)=("[^"]*"|[^,\s]+)`).FindAllStringSubmatch(line[1], -1) {
		v[m[1]] = strings.Trim(m[2], `"`)
	}
	sum := func(parts ...string) string {
		h := md5.Sum([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(h[:])
	}
	want := sum(sum(v["username"], v["realm"], password), v["nonce"], v["nc"], v["cnonce"], v["qop"], sum("INVITE", v["uri"]))
	if v["username"] != "trunkuser" || v["realm"] != "carrier.test" || v["qop"] != "auth" || v["response"] != want {
		t.Errorf("%s is wrong, want response %s: %s", header, want, line[1])
	}
}

// trunkRecords wants a call record of each of the four calls.
func (p *Product) trunkRecords(t *testing.T) {
	t.Helper()
	type short struct{ dialled, direction, disposition string }
	var got []short
	for _, r := range p.records(t) {
		if got = append(got, short{r.Dialled, r.Direction, r.Disposition}); r.Trunk != "carrier" {
			t.Errorf("%+v", r)
		}
	}
	want := []short{{"03012345", "outbound", "answered"}, {"03054321", "outbound", "answered"}, {"4930100", "inbound", "answered"},
		{"03012345", "outbound", "refused"}}
	if !slices.Equal(got, want) {
		t.Errorf("call records %v, want %v", got, want)
	}
}

// keptNowhere wants that a text stands in no file that the programs wrote, and in nothing that they said.
func (p *Product) keptNowhere(t *testing.T, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(p.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if files++; strings.Contains(string(b), text) {
			t.Errorf("%q stands in %s", text, path)
		}
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files, %v", files, err)
	}
	for _, proc := range []*lab.Process{p.Border, p.Exchange} {
		if strings.Contains(proc.Output(), text) {
			t.Errorf("%s said %q", proc, text)
		}
	}
}

// Who is no carrier gets no answer from the carriers' side, whatever he says, and whoever he calls.
func TestStrangerAtTheTrunk(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{Trunk: true})
	p.Extension("1002", "md5")
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	bob.Register()
	wire := l.Internet.Capture()
	c := siptest.Config{Transport: siptest.UDP, Server: p.Peer().String(), Bind: l.Attacker.Addr(), Within: l.Attacker.Do, User: "anybody"}
	for _, method := range []string{"OPTIONS", "INVITE", "REGISTER", "BYE", "rubbish"} {
		msg := strings.ReplaceAll(fmt.Sprintf(`%[1]s sip:4930100@%[2]s SIP/2.0
Via: SIP/2.0/UDP %[3]s:5060;branch=z9hG4bK%[1]s;rport
From: <sip:1002@%[4]s>;tag=s
To: <sip:4930100@%[2]s>
Call-ID: stranger-%[1]s
CSeq: 1 %[1]s
Max-Forwards: 70
Contact: <sip:anybody@%[3]s>
Content-Length: 0

`, method, p.Peer().Addr(), l.Attacker.Addr(), Domain), "\n", "\r\n")
		answer, err := siptest.SendRaw(bounded(t, waits), c, []byte(msg), 500*time.Millisecond)
		if err != nil || len(answer) > 0 {
			t.Errorf("%s: %v, answer %q", method, err, answer)
		}
	}
	for _, pk := range wire.Stop() {
		if slices.Contains(l.Attacker.Addrs(), pk.Dst.Addr()) && pk.Proto == pcap.UDP {
			t.Errorf("from %s to %s: %q", pk.Src, pk.Dst, pk.Payload)
		}
	}
	if r := p.records(t); len(r) > 0 {
		t.Errorf("a stranger has call records: %+v", r)
	}
	// The carrier itself is heard there.
	sipp := l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Tone: 620, Talk: time.Second})
	bob.Answer()
	sipp.MustSucceed(waits)
}
