package banlist

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// The widest networks that a list may hold, in bits of prefix.
const (
	MinBits4 = 8
	MinBits6 = 16
)

// parse4 reads a dotted IPv4 address and returns what follows it. Numbers with a leading zero, which some read as octal, are none.
func parse4(b []byte) (addr uint32, rest []byte, ok bool) {
	for part := range 4 {
		if part > 0 {
			if len(b) == 0 || b[0] != '.' {
				return 0, nil, false
			}
			b = b[1:]
		}
		n, digits := uint32(0), 0
		for digits < len(b) && digits < 3 && b[digits]-'0' < 10 {
			n = n*10 + uint32(b[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && b[0] == '0' {
			return 0, nil, false
		}
		addr, b = addr<<8|n, b[digits:]
	}
	return addr, b, true
}

// parseBits reads the number of a prefix length: up to three digits, no leading zero.
func parseBits(b []byte, most int) (int, bool) {
	if len(b) == 0 || len(b) > 3 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= most
}

// add takes one entry as it stands in a list: an address, a network or a range.
func (c *Collector) add(text []byte, line int) {
	c.report.Read++
	if why := c.parse(text); why != "" {
		c.report.refuse(why, line, text)
	}
}

func (c *Collector) parse(text []byte) Refusal {
	addr, rest, ok := parse4(text)
	if !ok {
		return c.parse6(text)
	}
	if len(rest) == 0 {
		return c.add4(addr, 32)
	}
	if rest[0] == '/' {
		n, ok := parseBits(rest[1:], 32)
		if !ok {
			return NotAddress
		}
		return c.add4(addr, n)
	}
	rest = bytes.TrimLeft(rest, " \t")
	if len(rest) == 0 || rest[0] != '-' {
		return NotAddress
	}
	last, rest, ok := parse4(bytes.TrimLeft(rest[1:], " \t"))
	if !ok || len(rest) > 0 {
		return NotAddress
	}
	return c.addRange(addr, last)
}

// maxEntry is longer than any address with a prefix length.
const maxEntry = 64

func (c *Collector) parse6(text []byte) Refusal {
	if len(text) > maxEntry {
		return NotAddress
	}
	host, length, cut := bytes.Cut(text, []byte("/"))
	addr, err := netip.ParseAddr(string(host))
	if err != nil || addr.Zone() != "" || addr.Is4() {
		return NotAddress
	}
	n := 128
	if cut {
		var ok bool
		if n, ok = parseBits(length, 128); !ok {
			return NotAddress
		}
	}
	return c.add6(addr, n)
}

// add4 takes an IPv4 network.
func (c *Collector) add4(addr uint32, n int) Refusal {
	if n < MinBits4 {
		return TooWide
	}
	masked := addr & (^uint32(0) << (32 - n))
	if why := refuse4(masked); why != "" {
		return why
	}
	if masked != addr {
		c.report.Masked++
	}
	c.room()
	c.v4 = append(c.v4, uint64(masked)<<8|uint64(n))
	return ""
}

// refuse4 looks at the first octets only: no network here is wider than /8.
func refuse4(addr uint32) Refusal {
	switch {
	case addr>>24 == 0:
		return ThisNet
	case addr>>24 == 127:
		return Loopback
	case addr>>28 == 14:
		return Multicast
	case addr>>16 == 169<<8|254:
		return LinkLocal
	}
	return ""
}

// addRange takes the networks from first to last, all or none.
func (c *Collector) addRange(first, last uint32) Refusal {
	if first > last {
		return BadRange
	}
	start := len(c.v4)
	for next := uint64(first); next <= uint64(last); {
		size := min(bits.TrailingZeros64(next|1<<32), bits.Len64(uint64(last)-next+1)-1)
		if why := c.add4(uint32(next), 32-size); why != "" {
			c.v4 = c.v4[:start]
			return why
		}
		next += 1 << size
	}
	return ""
}

// add6 takes an IPv6 network, or an IPv4 one in IPv6 form.
func (c *Collector) add6(addr netip.Addr, n int) Refusal {
	if addr.Is4In6() && n >= 96 {
		a4 := addr.Unmap().As4()
		return c.add4(binary.BigEndian.Uint32(a4[:]), n-96)
	}
	if n < MinBits6 {
		return TooWide
	}
	k := key6{bits: uint8(n)}
	a := addr.As16()
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	mask := netmask(n)
	k.hi, k.lo = hi&mask.hi, lo&mask.lo
	if why := refuse6(k); why != "" {
		return why
	}
	if k.hi != hi || k.lo != lo {
		c.report.Masked++
	}
	c.room()
	c.v6 = append(c.v6, k)
	return ""
}

func refuse6(k key6) Refusal {
	switch {
	case k.hi == 0 && k.lo == 0: // also a network that holds ::, and with it ::1
		return Unspec
	case k.hi == 0 && k.lo == 1:
		return Loopback
	case k.hi>>56 == 0xff:
		return Multicast
	case k.hi>>54 == 0xfe80>>6:
		return LinkLocal
	}
	return ""
}

// netmask is an IPv6 network mask of n bits.
func netmask(n int) key6 {
	if n <= 64 {
		return key6{hi: ^uint64(0) << (64 - n)}
	}
	return key6{hi: ^uint64(0), lo: ^uint64(0) << (128 - n)}
}
