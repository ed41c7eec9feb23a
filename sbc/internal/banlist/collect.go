package banlist

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Collector gathers networks and makes a list of them. It is not for use by several goroutines at a time.
type Collector struct {
	max    int
	full   bool
	v4     []uint64 // address<<8 | prefix length: sorts by address, the wider first
	v6     []key6
	report Report
}

// key6 is an IPv6 network.
type key6 struct {
	hi, lo uint64
	bits   uint8
}

func (k key6) compare(o key6) int {
	if k.hi != o.hi {
		return cmp.Compare(k.hi, o.hi)
	}
	if k.lo != o.lo {
		return cmp.Compare(k.lo, o.lo)
	}
	return cmp.Compare(k.bits, o.bits)
}

// NewCollector returns an empty collector for at most maxEntries networks, those that stand twice included.
func NewCollector(maxEntries int) *Collector { return &Collector{max: maxEntries} }

// Add takes p, or tells why not; what it refuses is counted in the report.
func (c *Collector) Add(p netip.Prefix) Refusal {
	c.report.Read++
	why := c.prefix(p)
	if why != "" {
		c.report.refuse(why, c.report.Read, []byte(p.String()))
	}
	return why
}

func (c *Collector) prefix(p netip.Prefix) Refusal {
	switch {
	case !p.IsValid():
		return NotAddress
	case p.Addr().Is4():
		a4 := p.Addr().As4()
		return c.add4(binary.BigEndian.Uint32(a4[:]), p.Bits())
	}
	return c.add6(p.Addr(), p.Bits())
}

// room notes when there are more networks than there may be. It does not stop the one at hand: it is one, and bounded.
func (c *Collector) room() {
	if len(c.v4)+len(c.v6) >= c.max {
		c.full = true
	}
}

// Full tells that more was added than there may be; Finish will say so, too.
func (c *Collector) Full() bool { return c.full }

// Finish returns the list: IPv4 before IPv6, sorted, none within another. The collector is spent. An error is ErrTooMany.
func (c *Collector) Finish() ([]netip.Prefix, Report, error) {
	if c.full {
		return nil, c.report, fmt.Errorf("%w: more than %d", ErrTooMany, c.max)
	}
	all := len(c.v4) + len(c.v6)
	slices.Sort(c.v4)
	slices.SortFunc(c.v6, key6.compare)
	c.v4, c.v6 = outermost4(c.v4), outermost6(c.v6)
	out := make([]netip.Prefix, 0, len(c.v4)+len(c.v6))
	for _, k := range c.v4 {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(k>>8))
		out = append(out, netip.PrefixFrom(netip.AddrFrom4(a), int(k&0xff)))
	}
	for _, k := range c.v6 {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:8], k.hi)
		binary.BigEndian.PutUint64(a[8:], k.lo)
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(a), int(k.bits)))
	}
	c.report.Entries, c.report.Covered = len(out), all-len(out)
	c.v4, c.v6 = nil, nil
	return out, c.report, nil
}

// outermost4 leaves out, in place, what lies within another one. What is sorted has its coverer right before it.
func outermost4(ks []uint64) []uint64 {
	kept := ks[:0]
	for _, k := range ks {
		if n := len(kept); n > 0 {
			last := kept[n-1]
			if (k^last)>>8>>(32-last&0xff) == 0 {
				continue
			}
		}
		kept = append(kept, k)
	}
	return kept
}

func outermost6(ks []key6) []key6 {
	kept := ks[:0]
	for _, k := range ks {
		if n := len(kept); n > 0 {
			last := kept[n-1]
			if m := netmask(int(last.bits)); k.hi&m.hi == last.hi && k.lo&m.lo == last.lo {
				continue
			}
		}
		kept = append(kept, k)
	}
	return kept
}

// Join returns the shortest list of the same addresses: two halves of a network become the network, as long as that is not too
// wide. The list must be as Finish returns it; it is not changed.
func Join(list []netip.Prefix) []netip.Prefix {
	out := []netip.Prefix{} // never nil, as what Finish returns
	for _, p := range list {
		out = append(out, p)
		for len(out) >= 2 {
			parent, ok := halves(out[len(out)-2], out[len(out)-1])
			if !ok {
				break
			}
			out = append(out[:len(out)-2], parent)
		}
	}
	return out
}

// halves returns the network whose two halves a and b are.
func halves(a, b netip.Prefix) (netip.Prefix, bool) {
	least := MinBits6
	if a.Addr().Is4() {
		least = MinBits4
	}
	if a.Bits() != b.Bits() || a.Bits() <= least || a.Addr().Is4() != b.Addr().Is4() {
		return netip.Prefix{}, false
	}
	parent := netip.PrefixFrom(a.Addr(), a.Bits()-1)
	return parent, parent == parent.Masked() && parent.Contains(b.Addr()) && a != b
}
