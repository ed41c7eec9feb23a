package dialplan

import (
	"fmt"
	"strings"

	"brickhouse/pbx/internal/e164"
	"brickhouse/shared/conffile"
)

// Home says where the exchange is, so that numbers which leave through a trunk can be understood as the carrier does.
type Home struct {
	Country       string `yaml:"country" doc:"Country of the exchange, two capital letters as DE. Empty: none is known; numbers without an international prefix are then of the country home, and its premium-rate numbers are not recognised."`
	National      string `yaml:"national" doc:"Prefix of national numbers as the trunks take them; none where there is no such prefix. Empty: 0, and 1 in North America."`
	International string `yaml:"international" doc:"Prefix of international numbers as the trunks take them, beside +. Empty: 00, and 011 in North America."`
	Bare          string `yaml:"bare" oneof:"|national|international" doc:"What a trunk takes a number for that begins with none of these prefixes: national (empty means that, too), or international, with the country code first. A rule may say otherwise."`
}

// Ways to read a number without a prefix.
const (
	bareNational      = "national"
	bareInternational = "international"
	noPrefix          = "none"
)

// HomeCountry stands for the country of the exchange, in classes, and for itself where the file names no country.
const HomeCountry = "home"

// Validate says what is wrong with the prefixes.
func (h *Home) Validate() []conffile.Fault {
	var fs []conffile.Fault
	for _, p := range []struct{ key, text string }{{"national", h.National}, {"international", h.International}} {
		if p.text != noPrefix && strings.Trim(p.text, "0123456789") != "" {
			fs = append(fs, conffile.Bad(p.key, "is no prefix", "give digits, or none"))
		}
	}
	return fs
}

// HasHome reports whether the file names the country of the exchange.
func (p *Plan) HasHome() bool { return p.reader.country != HomeCountry }

// reader understands numbers as the trunks do.
type reader struct {
	table         *e164.Table
	country       string // ISO code, or HomeCountry
	code          string // its calling code; empty where the country is not named
	national      string
	international string
	bare          string
}

func newReader(h Home) (reader, error) {
	table, err := e164.Load()
	if err != nil {
		return reader{}, err
	}
	r := reader{table: table, country: HomeCountry, national: "0", international: "00", bare: h.Bare}
	if h.Country != "" {
		code, ok := table.Code(h.Country)
		if !ok {
			return r, fmt.Errorf("home.country: %q is no country; give two capital letters as DE", h.Country)
		}
		r.country, r.code = h.Country, code
		if code == "1" {
			r.national, r.international = "1", "011"
		}
	}
	for _, p := range []struct {
		to   *string
		text string
	}{{&r.national, h.National}, {&r.international, h.International}} {
		switch p.text {
		case "":
		case noPrefix:
			*p.to = ""
		default:
			*p.to = p.text
		}
	}
	return r, nil
}

// read tells what a number is that a trunk gets. It is Unknown where the trunk might take it for something else.
func (r reader) read(number, bare string) e164.Number {
	if bare == "" {
		bare = r.bare
	}
	if rest, ok := strings.CutPrefix(number, "+"); ok {
		return r.table.Lookup(rest)
	}
	if rest, ok := strings.CutPrefix(number, r.international); ok && r.international != "" {
		return r.table.Lookup(rest)
	}
	if bare == bareInternational {
		return r.table.Lookup(number)
	}
	rest := number
	if r.national != "" {
		rest = strings.TrimPrefix(number, r.national)
	}
	if r.code == "1" && len(rest) == 3 && strings.HasSuffix(rest, "11") { // 211 to 911 are no area codes
		return e164.Number{Country: r.country, Kind: e164.Ordinary}
	}
	if r.code != "" {
		return r.table.Lookup(r.code + rest)
	}
	n := r.table.Lookup(rest)
	switch {
	case n.Kind != e164.Unknown && n.Country == "":
		return n // should the carrier read it with a country code first: no satellite
	case strings.Trim(rest, "0123456789") != "" || rest == "":
		return e164.Number{Digits: rest, Kind: e164.Unknown}
	}
	return e164.Number{Country: HomeCountry, Kind: e164.Ordinary}
}
