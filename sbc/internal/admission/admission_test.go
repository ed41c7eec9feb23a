package admission

import (
	"net/netip"
	"testing"
)

func TestTrunk(t *testing.T) {
	table, err := New(map[string][]netip.Prefix{
		"wide":   {netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		"narrow": {netip.MustParsePrefix("198.51.100.16/28")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{
		"198.51.100.1": "wide", "198.51.100.17": "narrow", "::ffff:198.51.100.17": "narrow",
		"2001:db8::5": "wide", "203.0.113.1": "", "::1": "",
	} {
		got, ok := table.Trunk(netip.MustParseAddr(src))
		if got != want || ok != (want != "") {
			t.Errorf("Trunk(%s) = %q, %v; want %q", src, got, ok, want)
		}
	}
	if len(table.Sources()) != 3 {
		t.Errorf("Sources() = %v", table.Sources())
	}
}

func TestTwoOwners(t *testing.T) {
	p := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	if _, err := New(map[string][]netip.Prefix{"a": p, "b": {netip.MustParsePrefix("198.51.100.7/24")}}); err == nil {
		t.Error("two trunks claim one network, and nothing is said")
	}
}
