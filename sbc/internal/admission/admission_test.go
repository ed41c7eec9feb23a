package admission

import (
	"net/netip"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestTrunk(t *testing.T) {
	table, err := New(map[string]Claim{
		"wide":   {Sources: prefixes("198.51.100.0/24", "2001:db8::/32"), TLSNames: []string{"Sip.Wide.example.", "alt.example"}},
		"narrow": {Sources: prefixes("198.51.100.16/28"), Token: "t0ken"},
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
	for name, want := range map[string]string{
		"sip.wide.example": "wide", "SIP.WIDE.EXAMPLE": "wide", "alt.example.": "wide", "x.sip.wide.example": "", "*.example": "", "": "",
	} {
		if got, ok := table.Named([]string{"other.example", name}); got != want || ok != (want != "") {
			t.Errorf("Named(%s) = %q, %v; want %q", name, got, ok, want)
		}
	}
	for token, want := range map[string]string{"t0ken": "narrow", "T0ken": "", "": ""} {
		if got, ok := table.Registered(token); got != want || ok != (want != "") {
			t.Errorf("Registered(%s) = %q, %v; want %q", token, got, ok, want)
		}
	}
	if len(table.Sources()) != 3 || !table.HasNames() {
		t.Errorf("Sources() = %v, names %v", table.Sources(), table.names)
	}
}

func TestTwoOwners(t *testing.T) {
	for what, c := range map[string][2]Claim{
		"a network": {{Sources: prefixes("198.51.100.0/24")}, {Sources: prefixes("198.51.100.7/24")}},
		"a name":    {{TLSNames: []string{"sip.example"}}, {TLSNames: []string{"SIP.example"}}},
	} {
		if _, err := New(map[string]Claim{"a": c[0], "b": c[1]}); err == nil {
			t.Errorf("two trunks claim %s, and nothing is said", what)
		}
	}
	if table, err := New(map[string]Claim{"a": {Sources: prefixes("198.51.100.0/24", "198.51.100.0/24")}}); err != nil || table.HasNames() {
		t.Errorf("one trunk says it twice: %v", err)
	}
}
