package topology

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func TestUser(t *testing.T) {
	for in, want := range map[string]string{
		"1001":                        "1001",
		"+4930123456":                 "+4930123456",
		"+4930;phone-context=example": "+4930",
		"*43":                         "*43",
		"%2343":                       "%2343",
		"alice.b-c_d":                 "alice.b-c_d",
	} {
		if got, err := User(sip.Uri{User: in}); err != nil || got != want {
			t.Errorf("User(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ";x", "a b", "a\r\nb", "a\x00", "a\"b", "a<b", "a@b", "a,b", "a?b", "a/b", "%2", "%zz", "é", strings.Repeat("1", 65)} {
		if got, err := User(sip.Uri{User: in}); err == nil {
			t.Errorf("User(%q) = %q, want an error", in, got)
		}
	}
}

func TestCallerHidesTheHost(t *testing.T) {
	p := Caller(&sip.FromHeader{
		DisplayName: "Alice \"A\"\r\nX: 1",
		Address:     sip.Uri{Scheme: "sip", User: "1001", Host: "10.0.0.5", Port: 5060, UriParams: sip.HeaderParams{{K: "x", V: "y"}}},
		Params:      sip.HeaderParams{{K: "tag", V: "secret"}},
	}, "example.com")
	if got := p.URI.String(); got != "sip:1001@example.com" {
		t.Errorf("URI = %s", got)
	}
	if bare := strings.ReplaceAll(p.Display, `\"`, ""); p.Tag != "" || strings.ContainsAny(bare, "\r\n\"") {
		t.Errorf("party = %+v", p)
	}
}

func TestCallerWithoutAName(t *testing.T) {
	p := Caller(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", Host: "203.0.113.9"}}, "example.com")
	if got := p.URI.String(); got != "sip:anonymous@example.com" {
		t.Errorf("URI = %s", got)
	}
}

func FuzzUser(f *testing.F) {
	f.Add("1001")
	f.Add("%23")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := User(sip.Uri{User: s})
		if err == nil && (u == "" || strings.ContainsAny(u, " \t\r\n\"<>@;,?/\x00")) {
			t.Errorf("User(%q) = %q", s, u)
		}
	})
}
