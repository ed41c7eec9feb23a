package e164

import (
	"strings"
	"testing"
)

func load(t testing.TB) *Table {
	t.Helper()
	table, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLookup(t *testing.T) {
	table := load(t)
	for number, want := range map[string]struct {
		country string
		kind    Kind
	}{
		"4930123456":       {"DE", Ordinary},
		"491711234567":     {"DE", Ordinary},
		"49900123456":      {"DE", Premium},
		"499001234567890":  {"DE", Premium}, // digits too many
		"49900":            {"DE", Premium}, // too few
		"491801234567":     {"DE", Shared},
		"43900123456":      {"AT", Premium},
		"41900123456":      {"CH", Premium},
		"442079460000":     {"GB", Ordinary},
		"441481960194":     {"GG", Ordinary},
		"441534960194":     {"JE", Ordinary},
		"441624960194":     {"IM", Ordinary},
		"449012345678":     {"GB", Premium},
		"447012345678":     {"GB", Shared}, // personal numbers
		"12015550123":      {"US", Ordinary},
		"14165550123":      {"CA", Ordinary},
		"19005550123":      {"US", Premium},
		"18005550123":      {"US", Ordinary},
		"14735550123":      {"GD", Ordinary},
		"16495550123":      {"TC", Ordinary},
		"18765550123":      {"JM", Ordinary},
		"16585550123":      {"JM", Ordinary},
		"18095550123":      {"DO", Ordinary},
		"12425550123":      {"BS", Ordinary},
		"12685550123":      {"AG", Ordinary},
		"1999":             {"", Unknown}, // area code that nobody has
		"74951234567":      {"RU", Ordinary},
		"77011234567":      {"KZ", Ordinary},
		"390612345678":     {"IT", Ordinary},
		"25261234567":      {"SO", Ordinary},
		"37112345678":      {"LV", Ordinary},
		"870773123456":     {"", Satellite},
		"881612345678":     {"", Satellite},
		"881712345678":     {"", Satellite},
		"881812345678":     {"", Satellite},
		"881912345678":     {"", Satellite},
		"8821612345678":    {"", Satellite},
		"8821312345678":    {"", Satellite},
		"882991234567":     {"", Network},
		"883510012345":     {"", Network},
		"878101234567":     {"", Network},
		"888123456":        {"", Network},
		"80012345678":      {"", Network},
		"979123456789":     {"", Premium},
		"808123456":        {"", Premium},
		"210123456":        {"", Unknown}, // no such code
		"":                 {"", Unknown},
		"49x":              {"", Unknown},
		"4930123456789012": {"", Unknown}, // longer than any number
	} {
		if got := table.Lookup(number); got.Country != want.country || got.Kind != want.kind || got.Digits != number {
			t.Errorf("%s: %+v, want %s %s", number, got, want.country, want.kind)
		}
	}
}

func TestCode(t *testing.T) {
	table := load(t)
	for country, want := range map[string]string{
		"DE": "49", "GB": "44", "GG": "44", "US": "1", "GD": "1", "RU": "7", "KZ": "7", "IT": "39", "VA": "39", "FI": "358", "AX": "358", "CU": "53",
	} {
		if got, ok := table.Code(country); !ok || got != want {
			t.Errorf("%s: %q, %v", country, got, ok)
		}
	}
	for _, none := range []string{"", "XX", "de"} {
		if got, ok := table.Code(none); ok {
			t.Errorf("%q has the code %q", none, got)
		}
	}
	if n := len(table.codes); n < 240 {
		t.Errorf("only %d countries", n)
	}
}

func TestBadTable(t *testing.T) {
	for _, bad := range []string{"49", "49 DE", "49 DE gold", "4x DE -", "49 GER -", "49 DE - -"} {
		if _, err := parse("1201 US -\n" + bad + "\n"); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzLookup(f *testing.F) {
	table := load(f)
	f.Add("4930123456")
	f.Add("+1")
	f.Fuzz(func(t *testing.T, number string) {
		n := table.Lookup(number)
		if !strings.HasPrefix(number, n.Prefix) || n.Kind == "" || n.Kind != Unknown && n.Prefix == "" {
			t.Errorf("%q: %+v", number, n)
		}
		if n.Kind == Ordinary && n.Country == "" {
			t.Errorf("%q is ordinary and of no country", number)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	table := load(b)
	for b.Loop() {
		table.Lookup("4930123456")
	}
}
