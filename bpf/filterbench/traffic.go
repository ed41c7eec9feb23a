package filterbench

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Sources says where packets come from.
type Sources struct {
	networks     bool
	first, count int
}

// Banned are the first n hosts of any Load with as many.
func Banned(n int) Sources { return Sources{count: n} }

// BannedNetworks are random hosts in the first n networks of any Load with as many.
func BannedNetworks(n int) Sources { return Sources{networks: true, count: n} }

// Legit are n hosts that no Load bans.
func Legit(n int) Sources { return Sources{first: firstLegit, count: n} }

// Spoofed are about 2^30 hosts that no Load bans.
func Spoofed() Sources { return Sources{first: firstStranger, count: strangers} }

// XDP actions (linux/bpf.h).
const (
	Any  uint32 = 0 // either, as the expectation of Traffic
	Drop uint32 = 1 // XDP_DROP
	Pass uint32 = 2 // XDP_PASS
)

// Traffic is a kind of packets.
type Traffic struct {
	Version int // 4 or 6
	Tags    int // VLAN tags: none, 802.1Q, or QinQ
	Sources Sources
	Ports   int    // how many destination ports from Port on are drawn from, a power of two; 0: Port only
	Port    uint16 // 0: 5060
	Payload []byte // nil: a SIP request
	// Want is the action that the filter has to take, for at least the share AtLeast of the packets; 0: all of them.
	Want    uint32
	AtLeast float64
	// FirstOnly holds only the first of the programs that are compared to Want: the others have no such duty.
	FirstOnly bool
}

const (
	ethernetSize = 14
	tagSize      = 4
	udpSize      = 8
	ipv4Size     = 20
	ipv6Size     = 40
)

const request = "OPTIONS sip:border.example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP client.example.org:5060;branch=z9hG4bK776asdhds;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: <sip:alice@example.org>;tag=1928301774\r\n" +
	"To: <sip:border.example.com>\r\n" +
	"Call-ID: a84b4c76e66710@client.example.org\r\n" +
	"CSeq: 63104 OPTIONS\r\n" +
	"Contact: <sip:alice@client.example.org:5060>\r\n" +
	"Content-Length: 0\r\n\r\n"

func (t Traffic) ipAt() int { return ethernetSize + t.Tags*tagSize }

// Frame is one packet. What the generator writes is zero in it.
func (t Traffic) Frame() ([]byte, error) {
	if t.Tags < 0 || t.Tags > 2 || (t.Version != 4 && t.Version != 6) {
		return nil, fmt.Errorf("no frame of IP version %d with %d tags", t.Version, t.Tags)
	}
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for i := t.Tags; i > 0; i-- {
		proto := uint16(0x8100) // IEEE 802.1Q
		if i == 2 {
			proto = 0x88a8 // IEEE 802.1ad
		}
		b = binary.BigEndian.AppendUint16(b, proto)
		b = binary.BigEndian.AppendUint16(b, uint16(100+i))
	}
	payload := t.Payload
	if payload == nil {
		payload = []byte(request)
	}
	length := uint16(udpSize + len(payload))
	if t.Version == 4 {
		b = ipv4Header(b, length)
	} else {
		b = ipv6Header(b, length)
	}
	port := t.Port
	if port == 0 {
		port = 5060
	}
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, port)
	b = binary.BigEndian.AppendUint16(b, length)
	b = append(b, 0, 0)
	return append(b, payload...), nil
}

// The checksum is not right: sources change, and no filter looks at it.
func ipv4Header(b []byte, length uint16) []byte {
	h := make([]byte, ipv4Size)
	h[0], h[8], h[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(h[2:], ipv4Size+length)
	copy(h[16:], netip.MustParseAddr("198.51.100.1").AsSlice())
	return append(append(b, 0x08, 0x00), h...)
}

func ipv6Header(b []byte, length uint16) []byte {
	h := make([]byte, ipv6Size)
	h[0], h[6], h[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(h[4:], length)
	copy(h[24:], netip.MustParseAddr("2001:db8:ffff::1").AsSlice())
	return append(append(b, 0x86, 0xdd), h...)
}
