package banlist

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Refusal is why an entry was not taken.
type Refusal string

// The refusals. The first four are garbage: too much of it, and the whole list is refused.
const (
	NotAddress Refusal = "not-an-address"
	BadRange   Refusal = "bad-range"   // its end lies before its begin
	TooLong    Refusal = "too-long"    // a line or row over maxLine
	Malformed  Refusal = "malformed"   // a row or an object without the cell or key, or with it twice
	TooWide    Refusal = "too-wide"    // IPv4 shorter than /8, IPv6 shorter than /16
	ThisNet    Refusal = "this-net"    // 0.0.0.0/8
	Unspec     Refusal = "unspecified" // ::, or a network that holds it
	Loopback   Refusal = "loopback"
	Multicast  Refusal = "multicast"
	LinkLocal  Refusal = "link-local" // a neighbour's own address; without fe80::/10 there is no IPv6 on the link
)

func (r Refusal) garbage() bool {
	return r == NotAddress || r == BadRange || r == TooLong || r == Malformed
}

// Errors why a list was refused as a whole.
var (
	ErrGarbage   = errors.New("is no list of networks")
	ErrTooMany   = errors.New("has too many entries")
	ErrTooLarge  = errors.New("is too large")
	ErrTruncated = errors.New("is not whole")
	ErrEmpty     = errors.New("has no entries")
	ErrOptions   = errors.New("can't be read as told")
)

// Sample is an entry that was refused.
type Sample struct {
	Line    int     `json:"line"` // line, or number of the entry where the format knows no lines
	Text    string  `json:"text"` // quoted, in ASCII, cut
	Refusal Refusal `json:"refusal"`
}

// Report tells what became of the entries of a list.
type Report struct {
	Format  Format          `json:"format,omitempty"`
	Read    int             `json:"read"`    // entries that stood there, good or not
	Entries int             `json:"entries"` // networks that they amount to
	Masked  int             `json:"masked"`  // had bits set behind the prefix length
	Covered int             `json:"covered"` // stood twice, or within a wider one
	Refused map[Refusal]int `json:"refused,omitempty"`
	Samples []Sample        `json:"samples,omitempty"` // the first that were refused
}

// What is kept of refused entries.
const (
	maxSamples = 5
	maxText    = 64 // bytes of each
)

func (r *Report) refuse(why Refusal, line int, text []byte) {
	if r.Refused == nil {
		r.Refused = map[Refusal]int{}
	}
	r.Refused[why]++
	if len(r.Samples) < maxSamples {
		r.Samples = append(r.Samples, Sample{line, clean(text), why})
	}
}

// RefusedAll is how many entries were refused, for whatever reason.
func (r Report) RefusedAll() int {
	n := 0
	for _, c := range r.Refused {
		n += c
	}
	return n
}

// garbage is how many entries were none.
func (r Report) garbage() int {
	n := 0
	for why, c := range r.Refused {
		if why.garbage() {
			n += c
		}
	}
	return n
}

// String is the report in one line.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d networks of %d entries", r.Entries, r.Read)
	if r.Covered > 0 {
		fmt.Fprintf(&b, ", %d within others", r.Covered)
	}
	if r.Masked > 0 {
		fmt.Fprintf(&b, ", %d with host bits", r.Masked)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(&b, ", %d refused: %s", r.Refused[why], why)
	}
	if len(r.Samples) > 0 {
		fmt.Fprintf(&b, " (first: line %d, %s)", r.Samples[0].Line, r.Samples[0].Text)
	}
	return b.String()
}

// clean makes a stranger's text fit to be shown.
func clean(text []byte) string {
	if len(text) > maxText {
		return strconv.QuoteToASCII(string(text[:maxText])) + "..."
	}
	return strconv.QuoteToASCII(string(text))
}
