package transport

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// counter is a handler that screens and counts.
type counter struct {
	limits   sipmsg.Limits
	refuse   bool
	messages int
	dropped  int
}

func (c *counter) Accept(*Interface, netip.AddrPort) verdict.Verdict {
	if c.refuse {
		return verdict.Dropped(verdict.HostBanned)
	}
	return verdict.Passed
}
func (c *counter) Raw(f *Flow, data []byte) verdict.Verdict {
	return sipmsg.ScreenRaw(data, !f.Reliable(), c.limits)
}
func (c *counter) Message(*Flow, sip.Message)                                 { c.messages++ }
func (c *counter) Unparsed(*Flow, []byte, verdict.Verdict)                    {}
func (c *counter) Dropped(*Interface, netip.AddrPort, verdict.Reason, []byte) { c.dropped++ }
func (c *counter) Closed(*Flow, verdict.Reason)                               {}

const benchSDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.77\r\ns=-\r\nc=IN IP4 192.0.2.77\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 0 101\r\n" +
	"a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"

func benchInvite() []byte {
	return []byte("INVITE sip:200@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bK1234567;rport\r\n" +
		"From: \"Alice\" <sip:100@example.com>;tag=abcdef\r\nTo: <sip:200@example.com>\r\nCall-ID: 1234\r\nCSeq: 1 INVITE\r\n" +
		"Contact: <sip:100@192.0.2.77:5060>\r\nMax-Forwards: 70\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n" +
		"Supported: replaces, timer\r\nUser-Agent: phone/1.0\r\nContent-Type: application/sdp\r\nContent-Length: " +
		strconv.Itoa(len(benchSDP)) + "\r\n\r\n" + benchSDP)
}

// BenchmarkDatagram is a datagram's way from the socket's buffer to Handler.Message.
func BenchmarkDatagram(b *testing.B) {
	for _, bb := range []struct {
		name string
		data []byte
		h    counter
	}{
		{"invite", benchInvite(), counter{}},
		{"refused source", benchInvite(), counter{refuse: true}},
		{"garbage", []byte("\x00\x01\x02\x03 garbage"), counter{}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			h := bb.h
			h.limits = sipmsg.DefaultLimits()
			i, err := NewVirtual(Config{Name: "bench", Network: UDP}, &h)
			if err != nil {
				b.Fatal(err)
			}
			local, remote := netip.MustParseAddr("192.0.2.1"), ap("192.0.2.77:5060")
			b.ReportAllocs()
			for b.Loop() {
				i.datagram(local, remote, bb.data, false)
			}
			if h.messages+h.dropped == 0 {
				b.Fatal("nothing arrived")
			}
		})
	}
}
