package geo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"brickhouse/sbc/internal/banlist"
)

// network is what a test's database says of a network: "DE", "-/FR" for the registered country only, or "AS64500".
type network struct{ prefix, says string }

func database(t testing.TB, version int, kind string, ns ...network) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: kind, Description: map[string]string{"en": "test"}, IPVersion: version, RecordSize: 24, IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range ns {
		_, ipnet, err := net.ParseCIDR(n.prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(ipnet, data(n.says)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func data(says string) mmdbtype.Map {
	if asn, ok := strings.CutPrefix(says, "AS"); ok {
		var n uint32
		fmt.Sscan(asn, &n)
		return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(n), "autonomous_system_organization": mmdbtype.String("x")}
	}
	country, registered, _ := strings.Cut(says, "/")
	m := mmdbtype.Map{}
	if country != "-" {
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(country), "names": mmdbtype.Map{"en": mmdbtype.String("x")}}
	}
	if registered != "" {
		m["registered_country"] = mmdbtype.Map{"iso_code": mmdbtype.String(registered)}
	}
	return m
}

var world = []network{
	{"1.0.0.0/24", "AU"}, {"1.0.1.0/24", "DE/AU"}, {"1.0.2.0/23", "AU/DE"}, {"1.0.4.0/22", "AU"}, {"5.0.0.0/8", "DE"},
	{"6.0.0.0/7", "US"}, {"9.0.0.0/24", "-/US"}, {"9.0.1.0/24", "-"}, {"2001:db8::/32", "DE"}, {"2001:db9::/33", "US"}, {"2a00::/14", "FR"},
}

func TestCollect(t *testing.T) {
	countries := database(t, 6, "Test-Country", world...)
	asns := database(t, 6, "Test-ASN", network{"192.0.2.0/25", "AS64500"}, network{"192.0.2.128/25", "AS64501"}, network{"2001:db8::/48", "AS64500"})
	for _, tc := range []struct {
		name string
		db   []byte
		rule Rule
		want string
	}{
		{"country", countries, Rule{Countries: []string{"DE"}}, "[1.0.1.0/24 5.0.0.0/8 2001:db8::/32]"},
		{"located, not registered", countries, Rule{Countries: []string{"AU"}}, "[1.0.0.0/24 1.0.2.0/23 1.0.4.0/22]"},
		{"two", countries, Rule{Countries: []string{"AU", "DE"}}, "[1.0.0.0/21 5.0.0.0/8 2001:db8::/32]"},
		{"registered only, and a wide network", countries, Rule{Countries: []string{"US"}}, "[6.0.0.0/8 7.0.0.0/8 9.0.0.0/24 2001:db9::/33]"},
		{"wide IPv6", countries, Rule{Countries: []string{"FR"}}, "[2a00::/16 2a01::/16 2a02::/16 2a03::/16]"},
		{"none", countries, Rule{Countries: []string{"ZZ"}}, "[]"},
		{"asn", asns, Rule{ASNs: []uint32{64500}}, "[192.0.2.0/25 2001:db8::/48]"},
		{"asns", asns, Rule{ASNs: []uint32{64501, 64500}}, "[192.0.2.0/24 2001:db8::/48]"},
		{"IPv4 only", database(t, 4, "Test", network{"192.0.2.0/24", "DE"}), Rule{Countries: []string{"DE"}}, "[192.0.2.0/24]"},
		{"special networks", database(t, 6, "Test", network{"127.0.0.0/24", "DE"}, network{"ff02::/16", "DE"}, network{"192.0.2.0/24", "DE"}), Rule{Countries: []string{"DE"}}, "[192.0.2.0/24]"},
		{"the world", database(t, 6, "Test", network{"::/0", "DE"}, network{"2001:db8::/32", "DE/FR"}), Rule{Countries: []string{"DE"}}, ""},
	} {
		got, rep, err := Collect(context.Background(), tc.db, tc.rule, 100)
		if tc.want == "" {
			for _, p := range got {
				if p.Addr().Is6() && p.Bits() < banlist.MinBits6 || p.Addr().Is4() && p.Bits() < banlist.MinBits4 {
					t.Errorf("%s: %s", tc.name, p)
				}
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != tc.want || rep.Entries != len(got) {
			t.Errorf("%s: %v, %+v, %v\nwant %s", tc.name, got, rep, err, tc.want)
		}
	}
}

// What is collected is what a look-up says.
func TestCollectAgainstLookup(t *testing.T) {
	db := database(t, 6, "Test-Country", world...)
	got, _, err := Collect(context.Background(), db, Rule{Countries: []string{"DE", "US"}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range world {
		p := netip.MustParsePrefix(n.prefix)
		country, registered, _ := strings.Cut(n.says, "/")
		if country == "-" {
			country = registered
		}
		in := false
		for _, q := range got {
			in = in || q.Contains(p.Addr())
		}
		if want := country == "DE" || country == "US"; in != want {
			t.Errorf("%s (%s): %t", p, n.says, in)
		}
	}
}

func TestCollectRefuses(t *testing.T) {
	db := database(t, 6, "Test-Country", world...)
	gone, stop := context.WithCancel(context.Background())
	stop()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		db   []byte
		rule Rule
		max  int
		want error
	}{
		{"empty", context.Background(), nil, Rule{Countries: []string{"DE"}}, 100, ErrDatabase},
		{"a web page", context.Background(), []byte("<html>not found</html>"), Rule{Countries: []string{"DE"}}, 100, ErrDatabase},
		{"cut", context.Background(), db[:len(db)/2], Rule{Countries: []string{"DE"}}, 100, ErrDatabase},
		{"begin gone", context.Background(), db[200:], Rule{Countries: []string{"DE"}}, 100, ErrDatabase},
		{"other data", context.Background(), db, Rule{ASNs: []uint32{1}}, 100, ErrNoData},
		{"one half other data", context.Background(), db, Rule{Countries: []string{"DE"}, ASNs: []uint32{1}}, 100, ErrNoData},
		{"too many", context.Background(), db, Rule{Countries: []string{"DE"}}, 2, banlist.ErrTooMany},
		{"ended", gone, bigDatabase(t), Rule{Countries: []string{"DE"}}, 100_000, context.Canceled},
	} {
		if got, rep, err := Collect(tc.ctx, tc.db, tc.rule, tc.max); !errors.Is(err, tc.want) || got != nil {
			t.Errorf("%s: %v, %+v, %v; want %v", tc.name, got, rep, err, tc.want)
		} else if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 300 {
			t.Errorf("%s: %q", tc.name, err)
		}
	}
}

func bigDatabase(t testing.TB) []byte {
	var ns []network
	for i := range 20_000 {
		ns = append(ns, network{fmt.Sprintf("11.%d.%d.%d/32", i>>12, i>>4&255, i&15<<4), []string{"DE", "FR"}[i&1]})
	}
	return database(t, 6, "Test-Country", ns...)
}

// A tree whose branches all run together has as many leaves as there are addresses, here 2^32; it must not be walked to its end.
func TestTreeThatRunsTogether(t *testing.T) {
	db := database(t, 4, "Test-Country", network{"1.2.3.4/32", "DE"}) // a chain of 32 nodes of two 24-bit records each
	for _, leaves := range []string{"data", "empty"} {
		bad := bytes.Clone(db)
		for node := range 31 {
			next := []byte{0, 0, byte(node + 1)}
			copy(bad[node*6:], next)
			copy(bad[node*6+3:], next)
		}
		last := bad[31*6 : 32*6]
		if leaves == "empty" { // 1.2.3.4 is a left branch
			copy(last[:3], last[3:])
		} else {
			copy(last[3:], last[:3])
		}
		_, _, err := Collect(context.Background(), bad, Rule{Countries: []string{"DE"}}, 100_000)
		if !errors.Is(err, ErrDatabase) || !strings.Contains(err.Error(), "more leaves than nodes") {
			t.Errorf("%s: %v", leaves, err)
		}
	}
}

func FuzzCollect(f *testing.F) {
	f.Add(database(f, 6, "Test-Country", world...), 0, byte(0))
	f.Add(database(f, 4, "Test-ASN", network{"192.0.2.0/24", "AS64500"}), 9, byte(0xff))
	f.Add([]byte("\xab\xcd\xefMaxMind.com"), 0, byte(1))
	f.Fuzz(func(t *testing.T, db []byte, at int, x byte) {
		if len(db) > 0 && at >= 0 {
			db = bytes.Clone(db)
			db[at%len(db)] ^= x
		}
		list, rep, err := Collect(context.Background(), db, Rule{Countries: []string{"DE", "US"}, ASNs: nil}, 1000)
		if err == nil && (len(list) > 1000 || rep.Entries != len(list)) {
			t.Fatalf("%v, %+v", list, rep)
		}
		for _, p := range list {
			if p != p.Masked() || p.Addr().Is4() && p.Bits() < banlist.MinBits4 || p.Addr().Is6() && p.Bits() < banlist.MinBits6 {
				t.Fatalf("%s", p)
			}
		}
	})
}

func BenchmarkCollect(b *testing.B) {
	db := bigDatabase(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Collect(context.Background(), db, Rule{Countries: []string{"DE"}}, 100_000); err != nil {
			b.Fatal(err)
		}
	}
}
