package flood

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	etherHeader = 14
	ipv4Header  = 20
	ipv6Header  = 40
	udpHeader   = 8
	udpProtocol = 17
	hopLimit    = 64
	leastFrame  = 60 // what Ethernet carries at least
)

// MaxPayload is how long a datagram's payload may be, in bytes: none is fragmented.
const MaxPayload = 1400

// Frame is one Ethernet frame with a UDP datagram, whose source can be changed at little cost.
type Frame struct {
	Bytes []byte
	ip    int    // where the IP header begins
	v6    bool   // IPv6
	sum   uint32 // IPv4: of the IP header; IPv6: of the datagram. Without source address and port
}

// NewFrame builds a frame to an address. Its source is unset: see From.
func NewFrame(src, dst net.HardwareAddr, to netip.AddrPort, payload []byte) (*Frame, error) {
	if len(src) != 6 || len(dst) != 6 {
		return nil, fmt.Errorf("%d and %d bytes are no Ethernet addresses", len(src), len(dst))
	}
	if len(payload) > MaxPayload {
		return nil, fmt.Errorf("payload of %d bytes: at most %d", len(payload), MaxPayload)
	}
	f := &Frame{ip: etherHeader, v6: to.Addr().Is6()}
	b := append(append(make([]byte, 0, etherHeader+ipv6Header+udpHeader+len(payload)), dst...), src...)
	if f.v6 {
		b = f.ipv6(b, to, payload)
	} else {
		b = f.ipv4(b, to, payload)
	}
	for len(b) < leastFrame {
		b = append(b, 0)
	}
	f.Bytes = b
	return f, nil
}

// ipv4 is RFC 791 §3.1 and a UDP header without a checksum, RFC 768.
func (f *Frame) ipv4(b []byte, to netip.AddrPort, payload []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, etherIPv4)
	h := make([]byte, ipv4Header+udpHeader)
	h[0], h[8], h[9] = 0x45, hopLimit, udpProtocol
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	dst := to.Addr().As4()
	copy(h[16:], dst[:])
	f.sum = sum(0, h[:ipv4Header])
	binary.BigEndian.PutUint16(h[ipv4Header+2:], to.Port())
	binary.BigEndian.PutUint16(h[ipv4Header+4:], uint16(udpHeader+len(payload)))
	return append(append(b, h...), payload...)
}

// ipv6 is RFC 8200 §3 and a UDP header, whose checksum covers a pseudo-header (§8.1).
func (f *Frame) ipv6(b []byte, to netip.AddrPort, payload []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, etherIPv6)
	h := make([]byte, ipv6Header+udpHeader)
	length := uint16(udpHeader + len(payload))
	h[0], h[6], h[7] = 0x60, udpProtocol, hopLimit
	binary.BigEndian.PutUint16(h[4:], length)
	dst := to.Addr().As16()
	copy(h[24:], dst[:])
	binary.BigEndian.PutUint16(h[ipv6Header+2:], to.Port())
	binary.BigEndian.PutUint16(h[ipv6Header+4:], length)
	f.sum = sum(uint32(length)+udpProtocol, h[24:])
	f.sum = sum(f.sum, payload)
	return append(append(b, h...), payload...)
}

// From changes the frame's source. Its family must be that of the destination.
func (f *Frame) From(src netip.AddrPort) {
	ip := f.Bytes[f.ip:]
	if f.v6 {
		a := src.Addr().As16()
		copy(ip[8:], a[:])
		udp := ip[ipv6Header:]
		binary.BigEndian.PutUint16(udp, src.Port())
		check := fold(sum(f.sum+uint32(src.Port()), a[:]))
		if check == 0 {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], check)
		return
	}
	a := src.Addr().Unmap().As4()
	copy(ip[12:], a[:])
	binary.BigEndian.PutUint16(ip[10:], fold(sum(f.sum, a[:])))
	binary.BigEndian.PutUint16(ip[ipv4Header:], src.Port())
}

// sum adds b to a ones' complement sum (RFC 1071). It can take 65,536 words before it overflows; no frame has as many.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
