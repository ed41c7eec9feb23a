package banlist

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

const million = 1_000_000

// manyLines are entries in random order: IPv4 hosts, one network in ten, and as many IPv6 ones as sixth says.
func manyLines(n int, sixth bool) []string {
	r := rand.New(rand.NewPCG(1, 1))
	out := make([]string, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{byte(1 + r.IntN(126)), byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))})
		switch {
		case sixth && i%2 == 0:
			out[i] = fmt.Sprintf("2001:db8:%x:%x::/64", r.IntN(1<<16), r.IntN(1<<16))
		case i%10 == 0:
			out[i] = netip.PrefixFrom(a, 24).Masked().String()
		default:
			out[i] = a.String()
		}
	}
	return out
}

func text(lines []string, before, first, each, last string) []byte {
	var b bytes.Buffer
	b.WriteString(before)
	for i, l := range lines {
		if i > 0 {
			b.WriteString(first)
		}
		fmt.Fprintf(&b, each, l)
	}
	b.WriteString(last)
	return b.Bytes()
}

// BenchmarkParse reads 1,000,000 entries in random order into the finished list.
func BenchmarkParse(b *testing.B) {
	v4, both := manyLines(million, false), manyLines(million, true)
	for _, bc := range []struct {
		name string
		text []byte
	}{
		{"plain", text(v4, "", "", "%s\n", "")},
		{"plain-half-IPv6", text(both, "", "", "%s\n", "")},
		{"csv", text(v4, "when,ip,score\n", "", "2024-01-01,%s,99\n", "")},
		{"csv-quoted", text(v4, "when,ip,score\n", "", "\"2024-01-01\",\"%s\",\"99\"\n", "")},
		{"drop-json", text(v4, "", "", `{"cidr":"%s","sblid":"SBL256894","rir":"apnic"}`+"\n", `{"type":"metadata","records":1000000}`)},
		{"apiban", text(v4, `{"ipaddress":[`, ",", `"%s"`, `],"ID":"1"}`)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.text)))
			for b.Loop() {
				list, _, err := Parse(bytes.NewReader(bc.text), Options{MaxBytes: 1 << 30})
				if err != nil || len(list) < million/2 {
					b.Fatal(len(list), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/entry")
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	list, _, err := Parse(bytes.NewReader(text(manyLines(million, true), "", "", "%s\n", "")), Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range []Format{Plain, CSV, DropJSON} {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var out bytes.Buffer
				if err := Write(&out, list, f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
