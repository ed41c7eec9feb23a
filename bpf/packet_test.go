package bpf

import (
	"encoding/binary"
	"net/netip"
)

// frame builds test frames from the outside in; what is not set is right.
type frame struct {
	tags    []uint16 // EtherTypes of the VLAN tags, outermost first
	proto   uint16   // 0: by the source's family
	src     string
	dst     string // empty: a host of the source's family
	ihl     uint8  // 0: right for options
	version uint8  // 0: right
	total   int    // IPv4 total length; 0: right, -1: zero
	options int    // IPv4 option bytes
	flags   uint16 // IPv4 flags and fragment offset
	next    int    // protocol or next header; 0: UDP, -1: 0, hop-by-hop options
	ext     []byte // between the IPv6 header and the payload
	payload []byte // nil: a small UDP datagram
}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	etherQinQ = 0x88a8
)

var udpPayload = append([]byte{0x13, 0xc4, 0x13, 0xc4, 0, 24, 0, 0}, "OPTIONS sip:x SIP"[:16]...)

func (f frame) bytes() []byte {
	src := netip.MustParseAddr(f.src)
	proto := f.proto
	if proto == 0 {
		proto = etherIPv4
		if src.Is6() {
			proto = etherIPv6
		}
	}
	b := make([]byte, 12, 200)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	for i, t := range f.tags {
		b = binary.BigEndian.AppendUint16(b, t)
		b = binary.BigEndian.AppendUint16(b, uint16(100+i))
	}
	b = binary.BigEndian.AppendUint16(b, proto)
	payload := f.payload
	if payload == nil {
		payload = udpPayload
	}
	if src.Is4() {
		b = f.ipv4(b, src, payload)
	} else {
		b = f.ipv6(b, src, payload)
	}
	for len(b) < 60 { // the least that Ethernet carries
		b = append(b, 0)
	}
	return b
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func (f frame) ipv4(b []byte, src netip.Addr, payload []byte) []byte {
	header := 20 + f.options
	ihl, total := or(f.ihl, uint8(header/4)), or(f.total, header+len(payload))
	h := make([]byte, header)
	h[0] = or(f.version, 4)<<4 | ihl
	binary.BigEndian.PutUint16(h[2:], uint16(max(0, total)))
	binary.BigEndian.PutUint16(h[6:], f.flags)
	h[8], h[9] = 64, byte(max(0, or(f.next, 17)))
	copy(h[12:], src.AsSlice())
	copy(h[16:], netip.MustParseAddr(or(f.dst, "198.51.100.1")).AsSlice())
	for i := 20; i < header; i++ {
		h[i] = 1 // no-operation
	}
	return append(append(b, h...), payload...)
}

func (f frame) ipv6(b []byte, src netip.Addr, payload []byte) []byte {
	h := make([]byte, 40)
	h[0] = or(f.version, 6) << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(f.ext)+len(payload)))
	h[6], h[7] = byte(max(0, or(f.next, 17))), 64
	copy(h[8:], src.AsSlice())
	copy(h[24:], netip.MustParseAddr(or(f.dst, "2001:db8:ffff::1")).AsSlice())
	return append(append(append(b, h...), f.ext...), payload...)
}

// chain is n IPv6 destination options headers of 8 bytes, the last one before UDP.
func chain(n int) []byte {
	var b []byte
	for i := range n {
		next := byte(60)
		if i == n-1 {
			next = 17
		}
		b = append(b, next, 0, 1, 4, 0, 0, 0, 0)
	}
	return b
}
