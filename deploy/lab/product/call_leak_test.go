package product

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/pcap"
	"brickhouse/shared/siptest"
)

// mark stands in everything that a phone invents here.
const mark = "stuffing"

// invented are header fields that a phone may think of and that nobody on the other side asked for.
func invented() []siptest.InviteOption {
	var opts []siptest.InviteOption
	for _, f := range inventions {
		opts = append(opts, siptest.WithHeader(f[0], f[1]))
	}
	return append(opts, siptest.WithSDP(func(sdp string) string {
		sdp = strings.Replace(sdp, "\r\nc=", "\r\ni="+mark+"\r\nu=http://"+mark+".example/\r\ne="+mark+"@example.com\r\nc=", 1)
		return sdp + "a=x-" + mark + ":1\r\na=label:" + mark + "\r\n"
	}))
}

var inventions = [][2]string{
	{"X-Invented", mark}, {"Organization", mark}, {"Subject", mark}, {"Priority", mark}, {"Reply-To", "<sip:" + mark + "@example.com>"},
	{"P-Asserted-Identity", "<sip:" + mark + "@example.com>"}, {"P-Preferred-Identity", "<sip:" + mark + "@example.com>"},
	{"Remote-Party-ID", "<sip:" + mark + "@example.com>;party=calling"}, {"Diversion", "<sip:" + mark + "@example.com>"},
	{"History-Info", "<sip:" + mark + "@example.com>;index=1"}, {"Call-Info", "<http://" + mark + ".example/>;purpose=icon"},
	{"Alert-Info", "<http://" + mark + ".example/ring>"}, {"P-Charging-Vector", "icid-value=" + mark}, {"Geolocation", "<cid:" + mark + "@example.com>"},
	{"P-Access-Network-Info", "3GPP-" + mark}, {"User-to-User", mark}, {"Server", mark}, {"Identity", mark},
	{"Referred-By", "<sip:" + mark + "@example.com>"}, {"Accept-Contact", "*;" + mark}, {"Timestamp", "54"}, {"In-Reply-To", mark + "@example.com"},
	{ours + "Trunk", mark}, {ours + "Realm", mark}, {ours + "Flow", mark}, {ours + "Verdict", mark},
}

// unseen wants the values of what was invented nowhere on a wire in clear, and the names in nothing that a host of ours says on it.
func unseen(t *testing.T, wire *lab.Capture, by netip.Addr, more ...string) {
	t.Helper()
	wire.HoldsNo(mark, "siptest")
	said := func(text string) bool { return says(wire.Stop(), by, text) }
	if !said("INVITE sip:") || !said("SIP/2.0 200") {
		t.Errorf("%s says nothing that can be read", by)
	}
	for _, f := range inventions {
		if name := "\n" + f[0] + ":"; said(name) {
			t.Errorf("%s says %q", by, name)
		}
	}
	for _, text := range more {
		if said(text) {
			t.Errorf("%s says %q", by, text)
		}
	}
}

// says tells whether an address sends a text, in one packet or across several of a TCP stream; in any case.
func says(packets []pcap.Packet, by netip.Addr, text string) bool {
	var sent []pcap.Packet
	for _, p := range packets {
		if p.Src.Addr() == by {
			sent = append(sent, p)
		}
	}
	in := func(b []byte) bool { return bytes.Contains(bytes.ToLower(b), []byte(strings.ToLower(text))) }
	return slices.ContainsFunc(sent, func(p pcap.Packet) bool { return in(p.Payload) }) ||
		slices.ContainsFunc(pcap.Streams(sent), func(s pcap.Stream) bool { return in(s.Data) })
}

// insider is a test phone on the voice VLAN: UDP and RTP.
func (p *Product) insider(h *lab.Host, number string, hz float64) siptest.Config {
	return siptest.Config{
		User: number, Password: Password, Domain: Domain, Transport: siptest.UDP, Server: p.Inside().String(), Bind: h.Addr(), Within: h.Do,
		Tone: hz, Level: sung,
	}
}

// chat lets a test phone call a foreign one with everything that it invents, hold, resume, and be called.
func chat(t *testing.T, a *siptest.Phone, sings float64, b phone) {
	t.Helper()
	c, err := a.Invite(bounded(t, waits), b.number, invented()...)
	if err != nil {
		t.Fatal(err)
	}
	b.Answer()
	if r, err := c.Wait(bounded(t, waits)); err != nil || !r.OK() {
		t.Fatalf("%s calls %s: %s, %v", a.Name(), b.number, r, err)
	}
	chatted(t, c, sings, b)
	if err := c.Hold(bounded(t, waits)); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume(bounded(t, waits)); err != nil {
		t.Fatal(err)
	}
	chatted(t, c, sings, b)
	if err := c.Hangup(bounded(t, waits)); err != nil {
		t.Fatal(err)
	}
	b.WaitClosed()

	b.Call(a.Name())
	b.WaitEstablished()
	c = <-a.Incoming()
	chatted(t, c, sings, b)
	b.Hangup()
	<-c.Done()
	for _, f := range a.Faults() {
		t.Errorf("%s: %s", a.Name(), f)
	}
}

func chatted(t *testing.T, c *siptest.Call, sings float64, b phone) {
	t.Helper()
	r, err := c.AwaitTone(bounded(t, waits), b.sings)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the test phone hears %.1f Hz at %.1f dBm0, wanted %.0f Hz", r.Frequency, r.Level, b.sings)
	b.hears(t, sings)
}

// TestInventionsStayOutside lets a remote phone send whatever it can think of: nothing of it is seen inside.
func TestInventionsStayOutside(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	p.Extension("1001", "sha-256")
	p.Extension("1002", "md5")
	internet, core, voice := l.Internet.Capture(), l.Core.Capture(), l.Voice.Capture()
	cfg := p.outsider(t, l.Remote, "1001", 440)
	cfg.Level, cfg.UserAgent = sung, mark
	alice := tester(t, cfg)
	enrol(t, alice)
	bob := baresip(l.Desk, p.InsideAccount("1002", 700))
	bob.Register()
	chat(t, alice, 440, bob)

	unseen(t, voice, l.Exchange.Addr(l.Voice))
	for _, wire := range []*lab.Capture{core, voice} {
		wire.HoldsNoHost(p.outsideAddrs()...)
	}
	seesNo(t, bob, append(texts(p.outsideAddrs()), mark)...)
	internet.HoldsNoHost(p.insideAddrs()...)
	internet.HoldsNoPlainAudio()
	p.onlyRefused(t, "sbc")
	p.onlyRefused(t, "pbx")
}

// TestInventionsStayInside is the other way round, with remote phones in clear so that every byte can be looked at.
func TestInventionsStayInside(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{UDP: true, SRTP: "allow"})
	p.Extension("1001", "md5")
	p.Extension("1002", "sha-256")
	p.Extension("1003", "sha-256")
	internet, core, voice := l.Internet.Capture(), l.Core.Capture(), l.Voice.Capture()
	byUDP := lab.Account{User: "1001", Password: Password, Domain: Domain, Server: p.OutsideUDP(), Transport: "udp", Tone: 440}
	byTCP := byUDP
	byTCP.User, byTCP.Transport, byTCP.Tone = "1002", "tcp", 550
	bare, lin := baresip(l.Remote, byUDP), linphone(l.Remote2, byTCP)
	cfg := p.insider(l.Desk, "1003", 700)
	cfg.UserAgent = mark
	desk := tester(t, cfg)
	enrol(t, desk)
	for _, remote := range []phone{bare, lin} {
		remote.Register()
		chat(t, desk, 700, remote)
	}
	talk(t, bare, lin)
	hold(t, lin, bare)
	hangup(bare, lin)

	unseen(t, internet, l.DMZ.Addr(l.Internet), "\nPath:", "\nRecord-Route:", "User-Agent:", "transport=tls")
	internet.HoldsNoHost(p.insideAddrs()...)
	for _, wire := range []*lab.Capture{core, voice} {
		wire.HoldsNoHost(p.outsideAddrs()...)
	}
	voice.HoldsNo("User-Agent: baresip", "User-Agent: Linphone")
	p.onlyRefused(t, "sbc")
	p.onlyRefused(t, "pbx")
}

// TestCallsFromIPv6 lets remote phones that have IPv6 only talk to a phone inside that has IPv4 only, and to each other.
func TestCallsFromIPv6(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{IPv6: true})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	p.Extension("1003", "sha-256")
	p.Extension("1004", "sha-256")
	internet, core, voice := l.Internet.Capture(), l.Core.Capture(), l.Voice.Capture()
	six := p.RemoteAccount("1001", 440)
	six.Server = p.Outside6()
	outB, four, in := baresip(l.Remote, six), baresip(l.Remote2, p.RemoteAccount("1002", 550)), linphone(l.Desk, p.InsideAccount("1003", 650))
	for _, ph := range []phone{outB, four, in} {
		ph.Register()
	}
	talk(t, outB, in)
	hold(t, in, outB)
	hangup(outB, in)
	talk(t, in, outB)
	hangup(in, outB)
	talk(t, outB, four)
	hangup(four, outB)
	talk(t, four, outB)
	hangup(four, outB)

	cfg := p.outsider(t, l.Remote2, "1004", 880)
	cfg.Server, cfg.Bind, cfg.Level = p.Outside6().String(), l.Remote2.Addr6(), sung
	carol := tester(t, cfg)
	enrol(t, carol)
	chat(t, carol, 880, in)

	internet.HoldsNoHost(p.insideAddrs()...)
	internet.HoldsNoHost(l.Remote.Addr()) // it has, and is told, no IPv4
	internet.HoldsNoPlainAudio()
	for _, wire := range []*lab.Capture{core, voice} {
		wire.HoldsNoHost(p.outsideAddrs()...)
	}
	p.onlyRefused(t, "sbc")
	p.onlyRefused(t, "pbx")
}
