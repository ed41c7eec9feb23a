package dialog

import (
	"strings"
	"testing"
)

func TestParseReplaces(t *testing.T) {
	for value, want := range map[string]Replaces{
		"98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff": {CallID: "98732@sip.example.com", ToTag: "ff87ff", FromTag: "r33th4x0r"},
		"a ; TO-TAG = 1 ; from-tag=2;early-only;x=y":             {CallID: "a", ToTag: "1", FromTag: "2", EarlyOnly: true},
		"a;to-tag=1;from-tag=0":                                  {CallID: "a", ToTag: "1", FromTag: "0"},
		strings.Repeat("x", maxName) + ";to-tag=1;from-tag=2":    {CallID: strings.Repeat("x", maxName), ToTag: "1", FromTag: "2"},
	} {
		got, err := ParseReplaces(value)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v", value, got, err)
		}
		if again, err := ParseReplaces(got.String()); err != nil || again != got {
			t.Errorf("%q written is %q", value, got.String())
		}
	}
	for _, value := range []string{
		"", "a", "a;to-tag=1", "a;from-tag=1", ";to-tag=1;from-tag=2", "a;to-tag=1;to-tag=1;from-tag=2", "a;to-tag=;from-tag=2",
		"a;to-tag=1;from-tag=\"2\"", "a b;to-tag=1;from-tag=2", "a\r\n;to-tag=1;from-tag=2", "a,b;to-tag=1;from-tag=2",
		strings.Repeat("x", maxName+1) + ";to-tag=1;from-tag=2",
	} {
		if got, err := ParseReplaces(value); err == nil {
			t.Errorf("%q is %+v", value, got)
		}
	}
}

func TestParseReferTo(t *testing.T) {
	for value, want := range map[string]string{
		"<sip:1002@example.com>":                                                                           "<sip:1002@example.com>",
		"sip:1002@example.com":                                                                             "<sip:1002@example.com>",
		"\"Bob\" <sip:1002@example.com>;x=y":                                                               "<sip:1002@example.com>",
		"<sip:1002@example.com;method=INVITE;transport=tcp>":                                               "<sip:1002@example.com;transport=tcp>",
		"<sip:1002@example.com?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>":                                "<sip:1002@example.com?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>",
		"<sip:192.0.2.1:5061?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>":                                      "<sip:192.0.2.1:5061?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>",
		"<sip:1002@example.com?Subject=x&replaces=a%3bfrom-tag%3d2%3bto-tag%3d1%3bearly-only&Require=foo>": "<sip:1002@example.com?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2%3Bearly-only>",
	} {
		got, err := ParseReferTo(value)
		if err != nil || got.String() != want {
			t.Errorf("%q is %q, %v; want %q", value, got.String(), err, want)
		}
	}
	for _, value := range []string{
		"", "<tel:+4930>", "<sip:example.com>", "<sip:1002@example.com;method=BYE>", "<sip:1002@example.com?Replaces=a>", "<mailto:a@b>",
		"<sip:1002@example.com?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2&Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2>",
		"<sip:1002@example.com?Replaces=a%0D%0AX%3A1%3Bto-tag%3D1%3Bfrom-tag%3D2>",
	} {
		if got, err := ParseReferTo(value); err == nil {
			t.Errorf("%q is %q", value, got.String())
		}
	}
}

func FuzzParseReferTo(f *testing.F) {
	f.Add("<sip:1002@example.com?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ParseReferTo(value)
		if err != nil {
			return
		}
		again, err := ParseReferTo(got.String())
		if err != nil || again.String() != got.String() || (again.Replaces == nil) != (got.Replaces == nil) {
			t.Errorf("%q → %q → %q, %v", value, got.String(), again.String(), err)
		}
		if got.Replaces != nil && *again.Replaces != *got.Replaces {
			t.Errorf("%q → %+v → %+v", value, got.Replaces, again.Replaces)
		}
	})
}

func FuzzParseReplaces(f *testing.F) {
	f.Add("98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only")
	f.Add("a;to-tag=1;from-tag=0")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ParseReplaces(value)
		if err != nil {
			return
		}
		if strings.ContainsAny(got.String(), " \t\r\n\"<>,?\x00") {
			t.Errorf("%q is written %q", value, got)
		}
		if again, err := ParseReplaces(got.String()); err != nil || again != got {
			t.Errorf("%q → %+v → %+v, %v", value, got, again, err)
		}
	})
}
