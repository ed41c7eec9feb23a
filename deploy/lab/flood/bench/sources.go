package bench

import (
	"encoding/binary"
	"net/netip"
)

// MaxSources is how many different sources there are.
const MaxSources = 1 << sourceBits

// Sources lie scattered, so that no table profits from their order: an odd factor makes a permutation of the numbers of 29 bits.
const (
	sourceBits   = 29
	sourceFactor = 0x9e3779b1
	sourceTop    = 1 << sourceBits // 32.0.0.0/3; in IPv6 the third and fourth group
)

func scattered(i uint32) uint32 { return i*sourceFactor&(sourceTop-1) | sourceTop }

// source4 is the i-th IPv4 source.
func source4(i int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], scattered(uint32(i)))
	return netip.AddrFrom4(a)
}

// source6 is the i-th IPv6 source; each is in a /64 of its own.
func source6(i int) netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 7}
	binary.BigEndian.PutUint32(a[4:], scattered(uint32(i)))
	return netip.AddrFrom16(a)
}
