// Package e164 tells what a telephone number is: its country, and whether it is of a kind that costs more than a call
// to that country should.
//
// Its table is plan.txt, made from the metadata of Google's libphonenumber by the generator in ./generate, and the
// international networks of ITU-T E.164, which stand here. The longest prefix decides, whatever the number's length:
// digits too many, which a carrier cuts, change nothing. Each area code of North America and the Caribbean is in the
// table with its own country: +1 473 is Grenada, and one that nobody has been given is nobody's.
package e164

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
)

// Kind is what a number is besides its country.
type Kind string

// The kinds of numbers.
const (
	Ordinary  Kind = "ordinary"    // fixed, mobile, toll-free
	Premium   Kind = "premium"     // premium rate
	Shared    Kind = "shared-cost" // shared cost, and personal numbers, which are charged like it
	Satellite Kind = "satellite"   // satellite phones
	Network   Kind = "network"     // international networks and services, which belong to no country
	Unknown   Kind = "unknown"     // no number that anybody has been given
)

// maxDigits is the longest number (ITU-T E.164 §6.2.1).
const maxDigits = 15

// Number is what is known of a telephone number.
type Number struct {
	Digits  string `json:"digits,omitempty"`  // country code and national number, without +
	Country string `json:"country,omitempty"` // ISO 3166-1 alpha-2; empty: none
	Kind    Kind   `json:"kind"`
	Prefix  string `json:"prefix,omitempty"` // the entry of the table that decided
}

// networks are the codes that belong to no country (ITU-T, list of E.164 country codes assigned).
var networks = []struct {
	prefix string
	kind   Kind
}{
	{"800", Network},                           // universal international freephone
	{"808", Premium},                           // international shared cost
	{"870", Satellite},                         // Inmarsat
	{"878", Network},                           // universal personal telecommunications
	{"881", Satellite},                         // Iridium 8816 8817, Globalstar 8818 8819
	{"882", Network},                           // international networks
	{"88213", Satellite}, {"88216", Satellite}, // EMSAT, Thuraya
	{"883", Network}, // international networks
	{"888", Network}, // disaster relief
	{"979", Premium}, // international premium rate
	{"991", Network}, // international public correspondence, trial
	{"999", Network}, // reserved
}

//go:embed plan.txt
var plan string

// entry is what a prefix tells.
type entry struct {
	country string
	kind    Kind
}

// Table knows the world's numbers. It never changes.
type Table struct {
	prefixes map[string]entry
	codes    map[string]string // calling code of a country
	longest  int               // prefix
}

var errTable = errors.New("table of telephone numbers")

// Load reads the table that is built into the program.
func Load() (*Table, error) { return parse(plan) }

func parse(text string) (*Table, error) {
	t := &Table{prefixes: map[string]entry{}, codes: map[string]string{}}
	kinds := map[string]Kind{"-": Ordinary, "premium": Premium, "shared": Shared}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 3 || !digits(f[0]) || len(f[1]) != 2 || kinds[f[2]] == "" {
			return nil, fmt.Errorf("%w: line %d: %.40q", errTable, i+1, line)
		}
		t.add(f[0], entry{f[1], kinds[f[2]]})
	}
	for _, n := range networks {
		t.add(n.prefix, entry{kind: n.kind})
	}
	t.callingCodes()
	return t, nil
}

func (t *Table) add(prefix string, e entry) {
	t.prefixes[prefix] = e
	t.longest = max(t.longest, len(prefix))
}

// callingCodes finds each country's: the shortest prefix in the table that its entries begin with, and 1 in North America.
func (t *Table) callingCodes() {
	for prefix, e := range t.prefixes {
		if e.country == "" {
			continue
		}
		code := "1"
		for n := 1; prefix[0] != '1' && n <= len(prefix); n++ {
			if _, ok := t.prefixes[prefix[:n]]; ok {
				code = prefix[:n]
				break
			}
		}
		t.codes[e.country] = code
	}
}

// Code returns the calling code of a country, and whether there is such a country.
func (t *Table) Code(country string) (string, bool) {
	code, ok := t.codes[country]
	return code, ok
}

// Lookup tells what a number is: its digits, with the country code, without +.
func (t *Table) Lookup(number string) Number {
	n := Number{Digits: number, Kind: Unknown}
	if !digits(number) || len(number) > maxDigits {
		return n
	}
	for l := min(t.longest, len(number)); l > 0; l-- {
		if e, ok := t.prefixes[number[:l]]; ok {
			n.Country, n.Kind, n.Prefix = e.country, e.kind, number[:l]
			return n
		}
	}
	return n
}

// digits reports whether s is digits, at least one.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
