package product

import (
	"net/netip"
	"slices"
	"testing"

	"brickhouse/deploy/lab"
)

// cast are four phones of two makes, two outside and two inside, at one border and exchange, and all that goes over
// the three wires while they talk.
type cast struct {
	*Product
	outL, outB phone // linphone and baresip outside: TLS, SRTP; one by SHA-256, one by MD5
	inL, inB   phone // linphone inside by TCP, baresip inside by UDP

	internet, core, voice *lab.Capture
}

// assemble starts the programs and registers the phones.
func assemble(t *testing.T, o Options) *cast {
	t.Helper()
	l := lab.New(t)
	c := &cast{Product: Start(t, l, o)}
	c.Extension("1001", "sha-256")
	c.Extension("1002", "md5")
	c.Extension("1003", "sha-256", "md5")
	c.Extension("1004", "md5")
	c.internet, c.core, c.voice = l.Internet.Capture(), l.Core.Capture(), l.Voice.Capture()

	byTCP := c.InsideAccount("1003", 650)
	byTCP.Transport = "tcp"
	c.outL, c.outB = linphone(l.Remote, c.RemoteAccount("1001", 440)), baresip(l.Remote2, c.RemoteAccount("1002", 550))
	c.inL, c.inB = linphone(l.Desk, byTCP), baresip(l.Desk2, c.InsideAccount("1004", 770))
	for _, p := range c.phones() {
		p.Register()
	}
	return c
}

func (c *cast) phones() []phone { return []phone{c.outL, c.outB, c.inL, c.inB} }

// insideAddrs are all addresses that nobody outside may learn; outsideAddrs all that nobody inside may.
func (p *Product) insideAddrs() []netip.Addr {
	l := p.Lab
	all := l.DMZ.AddrsOn(l.Core)
	for _, h := range []*lab.Host{l.Exchange, l.Vault, l.Desk, l.Desk2} {
		all = append(all, h.Addrs()...)
	}
	return all
}

func (p *Product) outsideAddrs() []netip.Addr {
	l := p.Lab
	all := l.DMZ.AddrsOn(l.Internet)
	for _, h := range []*lab.Host{l.Remote, l.Remote2, l.Carrier, l.Attacker} {
		all = append(all, h.Addrs()...)
	}
	return all
}

// ours begins the names of all headers that the two programs tell each other.
const ours = "Brickhouse-"

// nothingLeaks wants that neither side of the border learned anything of the other that it need not know, and that
// nobody on the Internet could listen.
func (c *cast) nothingLeaks(t *testing.T) {
	t.Helper()
	l := c.Lab
	c.internet.HoldsNoHost(c.insideAddrs()...)
	c.internet.HoldsNo(ours)
	c.internet.HoldsNoPlainAudio()
	c.internet.HoldsNoPlainRTCP(l.DMZ)
	c.internet.HoldsMedia(l.Remote, 25)
	c.internet.HoldsMedia(l.Remote2, 25)
	c.internet.OnlyHosts(c.outsideAddrs()...)
	for _, p := range []phone{c.outL, c.outB} {
		seesNo(t, p, append(texts(c.insideAddrs()), ours)...)
	}
	seesNo(t, c.outL, "User-Agent: baresip")
	seesNo(t, c.outB, "User-Agent: Linphone")

	for _, wire := range []*lab.Capture{c.core, c.voice} {
		wire.HoldsNoHost(c.outsideAddrs()...)
		wire.HoldsNo(ours)
	}
	c.voice.Holds("INVITE sip:") // there is something to see
	for _, p := range []phone{c.inL, c.inB} {
		seesNo(t, p, append(texts(c.outsideAddrs()), ours)...)
	}
	seesNo(t, c.inL, "User-Agent: baresip")
	seesNo(t, c.inB, "User-Agent: Linphone")
	// What well-meaning phones send is refused nowhere.
	c.onlyRefused(t, "sbc")
	c.onlyRefused(t, "pbx")
	dropped := c.counted(t, "sbc", "media_dropped_total")
	t.Logf("media dropped: %v", dropped)
	for reason := range dropped {
		if !slices.Contains(usual, reason) {
			t.Errorf("sbc dropped media packets: %s", reason)
		}
	}
}

// usual is why packets of good phones are dropped: around the begin, a hold and the end of a call; STUN of linphone, and its
// SRTCP that is numbered from 1 again, under the same key, after a re-INVITE; and what baresip sends in clear, an APP before
// its SRTCP begins and a BYE after it ended. A program that is put through to another party numbers a packet or two of its
// stream again.
var usual = []string{"media-early", "media-late", "media-unwanted", "media-stun", "media-auth-failed", "media-replayed", "media-repeated"}

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}
