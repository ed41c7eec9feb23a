package dialplan

import (
	"strings"
	"testing"

	"brickhouse/pbx/internal/e164"
	"brickhouse/shared/verdict"
)

// rightsFile is a dialplan with classes of service.
const rightsFile = `
home: {country: DE}
emergency: {numbers: ["110", "112"], trunks: [other]}
classes:
  default: {deny: ["+4918"], allow: ["+4990012"]}
  world: {countries: [any], shared_cost: true, networks: true}
  closed: {concurrent: 0}
total: {concurrent: 9}
trunks: {carrier: {per_hour: 7}}
rules:
  - {number: "0.", do: trunk, trunk: carrier}
  - {number: "9.", do: trunk, trunk: carrier, strip: 1, bare: international}
  - {number: "1XXX", do: extension}
`

func TestRight(t *testing.T) {
	p, err := load(t, rightsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		class, number string
		want          verdict.Reason
	}{
		{"", "030123456", ""},
		{"default", "0049301234567", ""},
		{"default", "01801234567", verdict.NotAllowed}, // denied before all else
		{"default", "09001234567", ""},                 // allowed by its beginning
		{"default", "09003234567", verdict.PremiumDenied},
		{"default", "0033123456789", verdict.CountryDenied},
		{"default", "933123456789", verdict.CountryDenied}, // the rule's trunk reads it with a country code
		{"default", "9493012345", ""},
		{"default", "0080012345678", verdict.NetworkDenied},
		{"default", "00870123456789", verdict.SatelliteDenied},
		{"default", "00979123456789", verdict.PremiumDenied},
		{"world", "0033123456789", ""},
		{"world", "0080012345678", ""},
		{"world", "09003234567", verdict.PremiumDenied},
		{"world", "00870123456789", verdict.SatelliteDenied},
		{"world", "00210123456", verdict.NumberUnreadable},
		{"world", "0030*12", verdict.NumberUnreadable},
		{"nobody", "030123456", verdict.NotAllowed},
	} {
		a, ok := p.Lookup("", c.number, Moment{})
		if !ok || a.Kind != Trunk {
			t.Fatalf("%s: %+v", c.number, a)
		}
		if got := p.Right(c.class, p.Number(a)); got.Reason != c.want || got.Rule == "" {
			t.Errorf("%s, %s: %+v, want %q (%+v)", c.class, c.number, got, c.want, p.Number(a))
		}
	}
}

func TestCaps(t *testing.T) {
	p, err := load(t, rightsFile)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := p.Class(""); !ok || c.PerDay != NewClass().PerDay || len(c.Deny) != 1 {
		t.Errorf("%+v: what a class leaves out has its default", c)
	}
	if c, _ := p.Class("closed"); c.Concurrent != 0 || c.PerDay != NewClass().PerDay {
		t.Errorf("%+v", c)
	}
	if _, ok := p.Class("nobody"); ok {
		t.Error("there is a class nobody")
	}
	if c := p.Total(); c.Concurrent != 9 || c.PerDay != Unlimited {
		t.Errorf("%+v", c)
	}
	if c := p.TrunkCaps("carrier"); c.PerHour != 7 || c.Concurrent != Unlimited {
		t.Errorf("%+v", c)
	}
	if c := p.TrunkCaps("other"); c.PerHour != Unlimited {
		t.Errorf("%+v", c)
	}
	if got := strings.Join(p.Classes(), " "); got != "closed default world" {
		t.Error(got)
	}
}

func TestEmergency(t *testing.T) {
	p, err := load(t, rightsFile)
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := p.Lookup("", "112", Moment{}); !ok || !a.Emergency || a.Trunk != "other" || a.Number != "112" {
		t.Errorf("%+v, %v", a, ok)
	}
	if a, ok := p.Lookup("carrier", "112", Moment{}); ok {
		t.Errorf("a carrier calls it: %+v", a)
	}
	for _, number := range []string{"0112", "01120", "1120", "911", "9112"} {
		if a, _ := p.Lookup("", number, Moment{}); a.Emergency != (number == "9112") { // which the trunk gets as 112
			t.Errorf("%s: %+v", number, a)
		}
	}
	byRule, err := load(t, "rules:\n  - {number: \"0.\", do: trunk, trunk: carrier, strip: 1}\n  - {number: \"911\", do: extension}\n")
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := byRule.Lookup("", "0112", Moment{}); !a.Emergency || a.Trunk != "carrier" {
		t.Errorf("%+v", a)
	}
	if a, _ := byRule.Lookup("", "911", Moment{}); a.Emergency {
		t.Errorf("an extension is no emergency service: %+v", a)
	}
}

func TestWrongRights(t *testing.T) {
	for text, want := range map[string]string{
		"home: {country: XY}":                        `home.country: "XY"`,
		"home: {national: x}":                        "national",
		"home: {bare: maybe}":                        "bare",
		"emergency: {numbers: [\"0123456\"]}":        "numbers",
		"emergency: {numbers: [\"\"]}":               "numbers",
		"classes: {a: {countries: [XY]}}":            `classes.a.countries[0]: "XY"`,
		"classes: {a: {per_day: -1}}":                "per_day",
		"classes: {a: {block_denied: 100000}}":       "block_denied",
		"classes: {a: {allow: [\"49\"]}}":            "allow",
		"classes: {a: {deny: [\"+\"]}}":              "deny",
		"total: {concurrent: -1}":                    "concurrent",
		"trunks: {carrier: {per_minute: 999999999}}": "per_minute",
		"classes: {a: {wealthy: true}}":              "wealthy",
	} {
		if _, err := load(t, text+"\nrules: []\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzNumber: whatever is dialled is read without a fault, is never free of a kind, and what is costly stays so behind each
// prefix that means the same.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "0", "00", "0049900123", "9+1", "0088213", "0é", "0112", "00000"} {
		f.Add(s)
	}
	p, err := Compile(File{Home: Home{Country: "DE"}, Rules: []Rule{{Number: "!", From: FromPhones, Do: "trunk", Trunk: "carrier"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, dialled string) {
		a, ok := p.Lookup("", dialled, Moment{})
		if !ok {
			return
		}
		n := p.Number(a)
		if n.Kind == "" || n.Kind == e164.Ordinary && n.Country == "" {
			t.Fatalf("%q is %+v", dialled, n)
		}
		if rest, ok := strings.CutPrefix(dialled, "+"); ok {
			a.Number = "00" + rest
			if m := p.Number(a); m.Kind != n.Kind || m.Country != n.Country {
				t.Fatalf("%q is %+v, and with 00 %+v", dialled, n, m)
			}
		}
	})
}
