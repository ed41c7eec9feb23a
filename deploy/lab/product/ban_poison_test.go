package product

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/flood"
	"brickhouse/shared/siptest"
)

// forgeries are how many packets are forged in all, and forgeryRate how many a second: what the border can well read on a busy machine, for
// a packet that its socket drops poisons nobody.
const (
	forgeries   = 20_000
	forgeryRate = 4000
)

// Twenty thousand packets of every kind in other people's names: nobody is banned, not the trunk, the exchange, the border, the office's
// gateway, nor a phone that is registered, by UDP or by TLS. A call that is up meanwhile goes on, and afterwards all are served.
func TestPoisoning(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, UDP: true, SRTP: "allow", Trunk: true, Guard: junk})
	for _, n := range []string{"1001", "1002", "1003"} {
		p.Extension(n, "md5")
	}
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	bob.Register()
	alice := tester(t, siptest.Config{User: "1001", Password: Password, Domain: Domain, Transport: siptest.UDP, Server: p.OutsideUDP().String(),
		Bind: l.Remote.Addr(), Within: l.Remote.Do, Tone: 440})
	enrol(t, alice)
	carol := tester(t, p.outsider(t, l.Remote2, "1003", 550))
	enrol(t, carol)
	up, err := carol.Invite(bounded(t, waits), "1002")
	if err != nil {
		t.Fatal(err)
	}
	bob.Answer()
	if r, err := up.Wait(bounded(t, waits)); err != nil || r.Code != 200 {
		t.Fatalf("%v %v", r, err)
	}
	bob.Hears(550)

	gateway := netip.MustParseAddr("198.18.255.254") // of an office, with phones that we don't know yet
	victims := []netip.AddrPort{
		alice.Addr(), netip.AddrPortFrom(l.Remote2.Addr(), 0), p.CarrierAddr(), l.Exchange.Port(l.Core, 5070),
		netip.AddrPortFrom(l.Exchange.Addr(l.Core), 0), p.OutsideUDP(), netip.AddrPortFrom(gateway, 5060),
	}
	before := p.arrived(t)
	sent := p.poison(t, victims)
	if sent < forgeries*9/10 {
		t.Errorf("only %d of %d packets were sent", sent, forgeries)
	}
	p.nobodyBanned(t)
	// They came to the border, and it took offence at many.
	until(t, waits, "what was forged to be read", func() string {
		s := p.banStats(t)
		if got := p.arrived(t) - before; got < sent/2 || s.Offences < 200 || s.Holds == 0 {
			return fmt.Sprintf("%d of %d arrived: %+v", got, sent, s)
		}
		return ""
	})
	t.Logf("%d packets forged; %+v", sent, p.banStats(t))
	p.nobodyBanned(t)
	for _, v := range victims {
		if e := p.whyBanned(t, v.Addr()); len(e.Bans)+len(e.History) > 0 || strings.HasPrefix(e.Outcome, "drop") {
			t.Errorf("%s: %+v", v.Addr(), e)
		}
	}

	bob.Hears(550)
	if _, err := up.AwaitTone(bounded(t, waits), 700); err != nil {
		t.Error(err)
	}
	if err := up.Hangup(bounded(t, waits)); err != nil {
		t.Error(err)
	}
	bob.WaitClosed()
	echoed(t, alice, 440)
	echoed(t, carol, 550)
	carrier := l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Tone: 620, Talk: 2 * time.Second})
	bob.Answer()
	bob.Hears(620)
	carrier.MustSucceed(waits)
	bob.WaitClosed()
	p.nobodyBanned(t)
	if n := p.banStats(t).droppedOf("host-banned", "network-banned"); n > 0 {
		t.Errorf("the kernel dropped %d packets as banned", n)
	}
}

// poison sends all kinds to both sides of the border and to its media ports, and tells how many.
func (p *Product) poison(t *testing.T, victims []netip.AddrPort) (sent uint64) {
	t.Helper()
	sip := []netip.AddrPort{p.OutsideUDP(), p.Peer()}
	var media []netip.AddrPort
	for port := uint16(40000); port < 40020; port++ { // where the border begins to give them out: some are in use
		media = append(media, netip.AddrPortFrom(p.OutsideUDP().Addr(), port))
	}
	for _, k := range []struct {
		what string
		to   []netip.AddrPort
		text [][]byte
	}{
		{"REGISTER", sip, p.forgedRegisters(t, victims)},
		{"INVITE", sip, forgedInvites(victims)},
		{"malformed", sip, malformed()},
		{"RTP", media, forgedMedia()},
	} {
		const kinds = 4
		for _, to := range k.to {
			s := p.flood(t, flood.Flood{To: to, Sources: flood.Among(victims...), Payloads: k.text, CPU: -1,
				Count: uint64(forgeries / kinds / len(k.to)), Rate: forgeryRate})
			sent += s.Packets
		}
	}
	return sent
}

// variety is how many messages there are of each kind and victim.
const variety = 16

// forgedRegisters are with the wrong answer to a challenge that was given to the attacker, to one that was never given, and with none.
func (p *Product) forgedRegisters(t *testing.T, victims []netip.AddrPort) (all [][]byte) {
	t.Helper()
	nonce := p.nonce(t)
	for i, v := range victims {
		for n := range variety {
			mark := fmt.Sprintf("poison%d-", i)
			all = append(all, login("1001", nonce, mark, n+1, v), login("nobody", nonce, mark+"n", n+1, v), login("1003", "invented", mark+"i", n+1, v),
				request("REGISTER", Domain, mark+"p", n, v))
		}
	}
	return all
}

func forgedInvites(victims []netip.AddrPort) (all [][]byte) {
	for i, v := range victims {
		for n := range variety {
			mark := fmt.Sprintf("toll%d-", i)
			all = append(all, request("INVITE", "00900"+fmt.Sprint(n)+"@"+Domain, mark, n, v), request("INVITE", "1002@"+Domain, mark+"d", n, v),
				request("INVITE", "1@elsewhere.test", mark+"e", n, v))
		}
	}
	return all
}

// request is one without credentials.
func request(method, to, mark string, n int, via netip.AddrPort) []byte {
	return []byte(strings.ReplaceAll(fmt.Sprintf(`%[1]s sip:%[2]s SIP/2.0
Via: SIP/2.0/UDP %[3]s;branch=z9hG4bK%[4]s%[5]d;rport
From: <sip:1001@%[6]s>;tag=%[4]s%[5]d
To: <sip:%[2]s>
Call-ID: %[4]s%[5]d
CSeq: 1 %[1]s
Max-Forwards: 70
Contact: <sip:1001@%[3]s>
Content-Length: 0

`, method, to, via, mark, n, Domain), "\n", "\r\n"))
}

// malformed are messages that no program sends by mistake, and what is no SIP at all.
func malformed() [][]byte {
	all := [][]byte{
		[]byte("REGISTER sip:" + Domain + " SIP/2.0\r\nVia: rubbish\r\n\r\n"),
		[]byte("INVITE  sip:1002@" + Domain + " SIP/2.0\r\n\r\n"),
		[]byte("OPTIONS sip:" + Domain + " SIP/9.9\r\nCSeq: 99999999999 OPTIONS\r\n\r\n"),
		[]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n"),
		[]byte("GET / HTTP/1.1\r\nHost: " + Domain + "\r\n\r\n"),
		[]byte("\x00\x01\x00\x00\x21\x12\xa4\x42"),
		[]byte(strings.Repeat("A", 1200)),
		[]byte("INVITE sip:1002@" + Domain + " SIP/2.0\r\nContent-Length: -1\r\n" + strings.Repeat("Via: SIP/2.0/UDP h\r\n", 40) + "\r\n"),
	}
	for n := range variety { // cut at every sixth byte or so
		b := request("INVITE", "1002@"+Domain, "cut", n, netip.MustParseAddrPort("192.0.2.1:5060"))
		all = append(all, b[:len(b)*n/variety])
	}
	return all
}

// forgedMedia are RTP (RFC 3550 §5.1) of several payload types, RTCP, and noise.
func forgedMedia() (all [][]byte) {
	for n := range variety {
		for _, kind := range []byte{0, 8, 101, 72 /* with the marker: RTCP's sender report */} {
			b := make([]byte, 172)
			b[0], b[1] = 0x80, kind|0x80
			binary.BigEndian.PutUint16(b[2:], uint16(n))
			binary.BigEndian.PutUint32(b[8:], uint32(n)*0x9e3779b1)
			all = append(all, b)
		}
		all = append(all, []byte(strings.Repeat(string(rune('a'+n)), 20+n)))
	}
	return all
}

// arrived is how many IPv4 packets the kernel filter has seen.
func (p *Product) arrived(t *testing.T) (n uint64) {
	t.Helper()
	for _, c := range p.banStats(t).Counts {
		if c.Where == "kernel" && c.Family == "ipv4" {
			n += uint64(c.Packets)
		}
	}
	return n
}
