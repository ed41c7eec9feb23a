package banlist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// somePrefix is a network in a small corner of the address space, so that networks meet.
func somePrefix(r *rand.Rand) netip.Prefix {
	if r.IntN(3) == 0 {
		a := [16]byte{0x20, 1, 0xd, 0xb8, 14: byte(r.IntN(3)), 15: byte(r.IntN(256))}
		if r.IntN(2) == 0 {
			a[7] = byte(r.IntN(256))
		}
		return netip.PrefixFrom(netip.AddrFrom16(a), []int{16, 56, 60, 64, 65, 112, 120, 124, 127, 128}[r.IntN(10)]).Masked()
	}
	a := [4]byte{192, 0, byte(r.IntN(4)), byte(r.IntN(256))}
	return netip.PrefixFrom(netip.AddrFrom4(a), 8+r.IntN(25)*r.IntN(2)+24*(1-r.IntN(2))).Masked()
}

func someList(r *rand.Rand) []netip.Prefix {
	var in []netip.Prefix
	for range r.IntN(60) {
		if p := somePrefix(r); p.IsValid() && (p.Bits() > 20 || r.IntN(20) == 0) {
			in = append(in, p)
		}
	}
	return in
}

func collect(t *testing.T, in []netip.Prefix) []netip.Prefix {
	t.Helper()
	c := NewCollector(len(in))
	for _, p := range in {
		if why := c.Add(p); why != "" {
			t.Fatalf("%s: %s", p, why)
		}
	}
	out, rep, err := c.Finish()
	if err != nil || rep.Entries != len(out) || rep.Covered != len(in)-len(out) || rep.Read != len(in) {
		t.Fatalf("%+v, %v", rep, err)
	}
	return out
}

// The list holds what was added, nothing but what is not within another, in order.
func TestCollectorAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		in := someList(r)
		var want []netip.Prefix
		for _, p := range in {
			within := slices.ContainsFunc(in, func(q netip.Prefix) bool { return q.Bits() < p.Bits() && q.Contains(p.Addr()) })
			if !within {
				want = append(want, p)
			}
		}
		slices.SortFunc(want, netip.Prefix.Compare)
		want = slices.Compact(want)
		if got := collect(t, in); !slices.Equal(got, want) {
			t.Fatalf("%v\ngave %v\nwant %v", in, got, want)
		}
	}
}

// Join changes no address, and no two halves are left.
func TestJoin(t *testing.T) {
	if got := fmt.Sprint(Join(list("192.0.2.0/26", "192.0.2.64/26", "192.0.2.128/25", "192.0.3.0/24", "192.0.4.0/24"))); got != "[192.0.2.0/23 192.0.4.0/24]" {
		t.Error(got)
	}
	if got := fmt.Sprint(Join(list("4.0.0.0/8", "5.0.0.0/8", "2001::/16", "2002::/16"))); got != "[4.0.0.0/8 5.0.0.0/8 2001::/16 2002::/16]" {
		t.Error(got)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		flat := collect(t, someList(r))
		joined := Join(flat)
		if !slices.IsSortedFunc(joined, netip.Prefix.Compare) || len(joined) > len(flat) {
			t.Fatalf("%v gave %v", flat, joined)
		}
		for _, p := range flat {
			if !slices.ContainsFunc(joined, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }) {
				t.Fatalf("%s of %v is not in %v", p, flat, joined)
			}
		}
		for i, p := range joined {
			if i > 0 {
				if _, ok := halves(joined[i-1], p); ok {
					t.Fatalf("%s and %s stand side by side", joined[i-1], p)
				}
			}
		}
		if size(flat).Cmp(size(joined)) != 0 {
			t.Fatalf("%v\ngave %v", flat, joined)
		}
	}
}

// size is how many addresses a list has; one of IPv6 counts as 2^32 so that the families do not make up for each other.
func size(list []netip.Prefix) *big.Int {
	sum := new(big.Int)
	for _, p := range list {
		host := p.Addr().BitLen() - p.Bits()
		if p.Addr().Is6() {
			host += 32
		}
		sum.Add(sum, new(big.Int).Lsh(big.NewInt(1), uint(host)))
	}
	return sum
}

// A range is cut into the fewest networks that hold it and nothing else.
func TestRangeAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	at := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))) }
	for range 2000 {
		first := uint32(0xc0000200) + uint32(r.IntN(600))
		last := first + uint32(r.IntN(600))
		got, _, err := Parse(strings.NewReader(fmt.Sprintf("%s-%s", at(first), at(last))), Options{})
		if err != nil {
			t.Fatal(err)
		}
		next := first
		for _, p := range got {
			if p.Addr() != at(next) {
				t.Fatalf("%s-%s: %v", at(first), at(last), got)
			}
			next += 1 << (32 - p.Bits())
		}
		if next != last+1 || len(Join(got)) != len(got) {
			t.Fatalf("%s-%s: %v", at(first), at(last), got)
		}
	}
}

// What is written is read back the same, in each format, told or not.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 1500 {
		in := collect(t, someList(r))
		if i == 0 {
			in = nil
		}
		for _, f := range []Format{Plain, CSV, DropJSON} {
			for _, as := range []Format{f, Auto} {
				if as == Auto && len(in) == 0 && f != CSV {
					continue
				}
				var b bytes.Buffer
				if err := Write(&b, in, f); err != nil {
					t.Fatal(err)
				}
				got, rep, err := Parse(&b, Options{Format: as})
				if err != nil || rep.Format != f || !slices.Equal(got, in) || rep.Covered != 0 {
					t.Fatalf("%s: %v\n%v, %v\nwant %v", f, rep, got, err, in)
				}
			}
		}
	}
	if err := Write(&bytes.Buffer{}, nil, APIBAN); err == nil {
		t.Error("written as APIBAN")
	}
}
