package pcap

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Protocol is the IP protocol number of a packet; Other for what is not IP.
type Protocol uint8

// The protocols that Decode knows by name.
const (
	Other  Protocol = 255 // reserved by IANA, so free for "not IP"
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
)

// Packet is a frame taken apart.
type Packet struct {
	Time     time.Time
	VLANs    []uint16 // 802.1Q tags, outermost first
	Proto    Protocol
	Src, Dst netip.AddrPort // ports 0 unless UDP or TCP
	Seq      uint32         // TCP sequence number of Payload[0]
	Flags    byte           // TCP flags
	Fragment bool           // an IP fragment; the ports are known in the first only
	Payload  []byte         // of UDP or TCP; of the network packet for everything else
	Frame    []byte         // the whole frame
	Odd      string         // why it could not be taken apart further; empty if it could
}

// The TCP flags that a test may ask for.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Decode takes a frame apart. It never fails: what it cannot read is told in Odd, and Payload holds the rest.
func Decode(f Frame) Packet {
	p := Packet{Time: f.Time, Proto: Other, Frame: f.Data, Payload: f.Data}
	if f.Len > len(f.Data) {
		p.Odd = "cut off by the capture"
	}
	etype, rest, ok := linkLayer(&p, f)
	if !ok {
		p.Odd = "link header too short"
		return p
	}
	p.Payload = rest
	switch etype {
	case 0x0800:
		decodeIPv4(&p, rest)
	case 0x86dd:
		decodeIPv6(&p, rest)
	}
	return p
}

// linkLayer strips the link header and tags and returns the EtherType.
func linkLayer(p *Packet, f Frame) (etype uint16, rest []byte, ok bool) {
	off := map[LinkType]int{Ethernet: 12, CookedV1: 14, CookedV2: 0}
	switch f.Link {
	case RawIP:
		if len(f.Data) > 0 && f.Data[0]>>4 == 6 {
			return 0x86dd, f.Data, true
		}
		return 0x0800, f.Data, true
	case CookedV2:
		if len(f.Data) < 20 {
			return 0, nil, false
		}
		return binary.BigEndian.Uint16(f.Data), f.Data[20:], true
	}
	at, known := off[f.Link]
	if !known || len(f.Data) < at+2 {
		return 0, nil, false
	}
	etype, rest = binary.BigEndian.Uint16(f.Data[at:]), f.Data[at+2:]
	for etype == 0x8100 || etype == 0x88a8 {
		if len(rest) < 4 {
			return 0, nil, false
		}
		p.VLANs = append(p.VLANs, binary.BigEndian.Uint16(rest)&0x0fff)
		etype, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	return etype, rest, true
}

// RFC 791 §3.1.
func decodeIPv4(p *Packet, b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 {
		p.Odd = "IPv4 header too short"
		return
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || head > len(b) {
		p.Odd = "IPv4 lengths disagree"
		return
	}
	if total < len(b) {
		b = b[:total] // the rest is Ethernet padding
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	frag := binary.BigEndian.Uint16(b[6:])
	p.Fragment = frag&0x3fff != 0
	p.transport(Protocol(b[9]), src, dst, b[head:], frag&0x1fff != 0)
}

// RFC 8200 §3 and §4; the extension headers that a lab sees.
func decodeIPv6(p *Packet, b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		p.Odd = "IPv6 header too short"
		return
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	next, rest := b[6], b[40:]
	if n := int(binary.BigEndian.Uint16(b[4:])); n < len(rest) {
		rest = rest[:n]
	}
	later := false
	for range 8 {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
				p.Odd = "IPv6 extension header too short"
				return
			}
			next, rest = rest[0], rest[8+8*int(rest[1]):]
		case 44: // fragment
			if len(rest) < 8 {
				p.Odd = "IPv6 fragment header too short"
				return
			}
			p.Fragment = true
			later = later || binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0
			next, rest = rest[0], rest[8:]
		default:
			p.transport(Protocol(next), src, dst, rest, later)
			return
		}
	}
	p.Odd = "too many IPv6 extension headers"
}

// transport reads the ports; a fragment that is not the first has none.
func (p *Packet) transport(proto Protocol, src, dst netip.Addr, b []byte, later bool) {
	p.Proto, p.Payload = proto, b
	p.Src, p.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	if later {
		return
	}
	switch proto {
	case UDP: // RFC 768
		if len(b) < 8 {
			p.Odd = "UDP header too short"
			return
		}
		p.ports(b)
		end := int(binary.BigEndian.Uint16(b[4:]))
		if end < 8 || end > len(b) {
			end = len(b)
		}
		p.Payload = b[8:end]
	case TCP: // RFC 9293 §3.1
		if len(b) < 20 || int(b[12]>>4)*4 < 20 || int(b[12]>>4)*4 > len(b) {
			p.Odd = "TCP header too short"
			return
		}
		p.ports(b)
		p.Seq, p.Flags = binary.BigEndian.Uint32(b[4:]), b[13]
		p.Payload = b[int(b[12]>>4)*4:]
	}
}

func (p *Packet) ports(b []byte) {
	p.Src = netip.AddrPortFrom(p.Src.Addr(), binary.BigEndian.Uint16(b))
	p.Dst = netip.AddrPortFrom(p.Dst.Addr(), binary.BigEndian.Uint16(b[2:]))
}
