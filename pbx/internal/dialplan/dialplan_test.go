package dialplan

import (
	"strings"
	"testing"

	"brickhouse/shared/conffile"
)

const example = `
rules:
  - {number: "*43", do: echo}
  - {number: "*44", do: milliwatt}
  - {number: "0900.", do: refuse}
  - {number: "0.", do: trunk, trunk: carrier, strip: 1}
  - {number: "9Z.", do: trunk, trunk: other, strip: 1, prepend: "+"}
  - {number: "1[0-2]XX", do: extension}
  - {number: "al!", do: extension}
  - {from: carrier, number: "4930123456", extension: "1001"}
  - {from: trunks, number: "4930XX", strip: 2, prepend: "12"}
`

func load(t *testing.T, text string) (*Plan, error) {
	t.Helper()
	var f File
	if _, err := conffile.Parse("dialplan.yaml", []byte(text), &f); err != nil {
		return nil, err
	}
	return Compile(f)
}

func TestLookup(t *testing.T) {
	p, err := load(t, example)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		trunk, number string
		want          Action
	}{
		{"", "*43", Action{Kind: Echo, Number: "*43"}},
		{"", "*44", Action{Kind: Milliwatt, Number: "*44"}},
		{"", "0900123", Action{Kind: Refuse, Number: "0900123"}},
		{"", "0301234", Action{Kind: Trunk, Number: "301234", Trunk: "carrier"}},
		{"", "9491", Action{Kind: Trunk, Number: "+491", Trunk: "other"}},
		{"", "1001", Action{Kind: Extension, Number: "1001"}},
		{"", "alice", Action{Kind: Extension, Number: "alice"}},
		{"", "al", Action{Kind: Extension, Number: "al"}},
		{"carrier", "4930123456", Action{Kind: Extension, Number: "1001"}},
		{"other", "493055", Action{Kind: Extension, Number: "123055"}},
	} {
		if got, ok := p.Lookup(c.trunk, c.number, Moment{}); !ok || got != c.want {
			t.Errorf("Lookup(%q, %q) = %+v, %v; want %+v", c.trunk, c.number, got, ok, c.want)
		}
	}
	for _, c := range [][2]string{
		{"", "0"}, {"", "1300"}, {"", "10010"}, {"", "90"}, {"", ""}, {"", strings.Repeat("0", 65)}, {"", "é"},
		{"other", "4930123456"}, {"carrier", "1001"}, {"carrier", "*43"}, {"carrier", "0301234"},
	} {
		if got, ok := p.Lookup(c[0], c[1], Moment{}); ok {
			t.Errorf("Lookup(%q, %q) = %+v, want nothing", c[0], c[1], got)
		}
	}
	if got := strings.Join(p.Trunks(), " "); got != "carrier other carrier" {
		t.Errorf("Trunks() = %s", got)
	}
}

func TestFaultsNameLineAndKey(t *testing.T) {
	for text, want := range map[string]string{
		"rules:\n  - {number: \"1.2\"}":                                   "dialplan.yaml:2: rules[0].number",
		"rules:\n  - {number: \"A\"}":                                     "rules[0].number",
		"rules:\n  - {number: \"[1\"}":                                    "rules[0].number",
		"rules:\n  - {number: \"[3-1]\"}":                                 "rules[0].number",
		"rules:\n  - {number: \"\"}":                                      "rules[0].number",
		"rules:\n  - {number: \"0.\", do: trunk}":                         "rules[0].trunk",
		"rules:\n  - {number: \"0.\", do: dance}":                         "rules[0].do",
		"rules:\n  - {number: \"0.\", do: trunk, trunk: a, from: trunks}": "rules[0].do",
		"rules:\n  - {number: \"0.\", prepend: \"a b\"}":                  "rules[0].prepend",
		"rules:\n  - {number: \"0.\", strip: -1}":                         "rules[0].strip",
		"rules:\n  - {numbers: \"0.\"}":                                   "numbers",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a fault of %s", text, err, want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("1[0-2]XX", "1001")
	f.Add("0.", "0301")
	f.Fuzz(func(t *testing.T, text, number string) {
		p, err := parsePattern(text)
		if err == nil && p.matches(number) && len(number) < len(p.places) {
			t.Errorf("%q matches %q", text, number)
		}
	})
}
