package filterbench

import (
	"encoding/binary"
	"net/netip"
)

// Numbers of hosts are 30 bits wide. These ranges never meet, so what is no ban is never banned by chance.
const (
	maxBans       = 8 << 20
	firstLegit    = maxBans
	firstStranger = 16 << 20
	strangers     = 1<<30 - firstStranger
)

// The formulas of xdp/generator.bpf.c, which says what they are for.

func scramble(k uint32) uint32 {
	x := k * 0x9e3779b1 & 0x3fffffff
	x ^= x >> 15
	x = x * 0x85ebca6b & 0x3fffffff
	return x ^ x>>13
}

func spread4(k uint32) uint32 {
	x := scramble(k)
	octet := x>>23 + 1
	if octet >= 127 {
		octet++
	}
	return octet<<24 | (x>>16&0x7f)<<17 | x&0xffff
}

func spread6(k uint32) uint64 {
	x := scramble(k)
	upper, lower := 0x20000000|(x>>2)<<1, (x&3)<<30|x*0x9e3779b1>>2
	return uint64(upper)<<32 | uint64(lower)
}

// Host4 is the IPv4 host of number k, which is below 1<<30.
func Host4(k uint32) netip.Addr { return addr4(spread4(k)) }

// Site6 is the IPv6 /64 of number k, which is below 1<<30.
func Site6(k uint32) netip.Prefix { return netip.PrefixFrom(addr6(spread6(k)), 64) }

// Network4 is the IPv4 network of number k, a /16 to a /24. No Host4 is in one.
func Network4(k uint32) netip.Prefix {
	bits := 16 + int(uint64(0x8888888888876420)>>((k&15)*4)&15)
	return netip.PrefixFrom(addr4(spread4(k)|1<<16), bits).Masked()
}

// Network6 is the IPv6 network of number k, a /32 to a /56. No Site6 is in one.
func Network6(k uint32) netip.Prefix {
	bits := 32 + 4*int(uint64(0x4444444444463200)>>((k&15)*4)&15)
	return netip.PrefixFrom(addr6(spread6(k)|1<<32), bits).Masked()
}

func addr4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, a)))
}

func addr6(site uint64) netip.Addr {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:], site)
	return netip.AddrFrom16(a)
}

// numbered returns what of makes of count numbers from first on.
func numbered(of func(uint32) netip.Prefix, first, count int) []netip.Prefix {
	all := make([]netip.Prefix, 0, count)
	for k := range count {
		all = append(all, of(uint32(first+k)))
	}
	return all
}

func host4(k uint32) netip.Prefix { return netip.PrefixFrom(Host4(k), 32) }

func distinct(ps []netip.Prefix) []netip.Prefix {
	seen := make(map[netip.Prefix]bool, len(ps))
	all := ps[:0]
	for _, p := range ps {
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all
}
