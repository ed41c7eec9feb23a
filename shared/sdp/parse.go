package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// order is the order of lines that RFC 8866 §5 demands, before and after the first m= line.
const (
	sessionOrder = "vosiuepcbtrzka"
	mediaOrder   = "micbka"
)

// parser walks the lines of one description.
type parser struct {
	s     Session
	dir   Direction // of the session level
	ptime [2]int    // ptime, maxptime of the session level
	seen  [128]bool // which session lines came
	last  int       // rank of the last line in its level's order
	media *Media    // nil before the first m=

	session Transport // of the session level
}

// Parse reads a description. Every error wraps ErrMalformed. Secrets are never in an error.
func Parse(b []byte) (*Session, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(b), MaxBytes)
	}
	p := &parser{last: -1}
	for n := 1; len(b) > 0; n++ {
		if n > MaxLines {
			return nil, fmt.Errorf("%w: more than %d lines", ErrMalformed, MaxLines)
		}
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'}) // RFC 8866 §5: a bare LF ends a line, too
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMalformed, n, err)
		}
	}
	return p.finish()
}

func (p *parser) finish() (*Session, error) {
	for _, must := range "vost" {
		if !p.seen[must] {
			return nil, fmt.Errorf("%w: no %c= line", ErrMalformed, must)
		}
	}
	for i := range p.s.Media {
		m := &p.s.Media[i]
		m.Transport = m.under(p.session)
		if !m.Conn.IsValid() {
			m.Conn = p.s.Conn
		}
		if !m.Conn.IsValid() && m.Port != 0 {
			return nil, fmt.Errorf("%w: medium %d has no c= line", ErrMalformed, i+1) // RFC 8866 §5.7
		}
	}
	return &p.s, nil
}

func (p *parser) line(line []byte) error {
	if len(line) > MaxLine {
		return fmt.Errorf("longer than %d bytes", MaxLine)
	}
	if len(line) < 2 || line[1] != '=' {
		return fmt.Errorf("not of the form x=value")
	}
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("control byte %#02x", c)
		}
	}
	if err := p.place(line[0]); err != nil {
		return err
	}
	return p.value(line[0], string(line[2:]))
}

// place checks that a line of this type may stand here.
func (p *parser) place(typ byte) error {
	order := sessionOrder
	if p.media != nil || typ == 'm' {
		order = mediaOrder
	}
	rank := strings.IndexByte(order, typ)
	switch {
	case rank < 0:
		return fmt.Errorf("%q line has no place here", typ)
	case typ == 'm':
		if !p.seen['t'] {
			return fmt.Errorf("m= before t=")
		}
	case rank < p.last && !(typ == 't' && order[p.last] == 'r'): // each t= may have its r= lines
		return fmt.Errorf("%c= after %c=", typ, order[p.last])
	case rank == p.last && !strings.ContainsRune("epbtrac", rune(typ)):
		return fmt.Errorf("%c= twice", typ)
	case p.media == nil && typ != 'v' && !p.seen['v']:
		return fmt.Errorf("%c= before v=", typ)
	}
	if p.media == nil && typ != 'm' {
		p.seen[typ] = true
	}
	p.last = rank
	return nil
}

func (p *parser) value(typ byte, v string) error {
	switch typ {
	case 'v':
		if v != "0" {
			return fmt.Errorf("version is not 0")
		}
	case 'o':
		return p.origin(v)
	case 's', 'i', 'u', 'e', 'p', 'b', 'r', 'z', 'k': // read over; k= is obsolete and never used (RFC 8866 §5.12)
	case 't':
		return p.time(v)
	case 'c':
		return p.connection(v)
	case 'm':
		return p.medium(v)
	case 'a':
		return p.attribute(v)
	}
	return nil
}

func (p *parser) origin(v string) error {
	f := strings.Split(v, " ")
	if len(f) != 6 || f[0] == "" || f[5] == "" || f[3] != "IN" || f[4] != "IP4" && f[4] != "IP6" {
		return fmt.Errorf("o= is not of the form user id version IN IP4|IP6 address")
	}
	var err error
	if p.s.Origin.ID, err = bigNumber(f[1]); err != nil {
		return err
	}
	p.s.Origin.Version, err = bigNumber(f[2])
	return err
}

// bigNumber reads 1 to 32 digits; what 64 bits can't hold becomes the largest.
func bigNumber(s string) (uint64, error) {
	if len(s) == 0 || len(s) > 32 || strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("o= has a number that is none")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return ^uint64(0), nil
	}
	return n, nil
}

func (p *parser) time(v string) error {
	start, stop, ok := strings.Cut(v, " ")
	if !ok || len(v) > 64 || strings.Trim(start, "0123456789") != "" || strings.Trim(stop, "0123456789") != "" {
		return fmt.Errorf("t= is not two numbers")
	}
	return nil
}

func (p *parser) connection(v string) error {
	addr, err := connAddr(v)
	if err != nil {
		return err
	}
	if p.media == nil {
		if p.s.Conn.IsValid() {
			return fmt.Errorf("c= twice")
		}
		p.s.Conn = addr
		return nil
	}
	if p.media.Conn.IsValid() {
		return fmt.Errorf("c= twice") // several are for layered multicast only (RFC 8866 §5.7)
	}
	p.media.Conn = addr
	return nil
}

// connAddr reads "IN IP4 192.0.2.1". A host name would have to be looked up, which lets a stranger make us ask; it is refused, as is
// multicast.
func connAddr(v string) (netip.Addr, error) {
	f := strings.Split(v, " ")
	if len(f) != 3 || f[0] != "IN" {
		return netip.Addr{}, fmt.Errorf("address is not of the form IN IP4|IP6 address")
	}
	addr, err := netip.ParseAddr(f[2])
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is no plain IP address", f[2])
	}
	if (f[1] == "IP4") != addr.Is4() || (f[1] == "IP6") != addr.Is6() {
		return netip.Addr{}, fmt.Errorf("address type %q does not fit %s", f[1], addr)
	}
	addr = addr.Unmap()
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}, fmt.Errorf("%s is no unicast address", addr)
	}
	return addr, nil
}

func (p *parser) medium(v string) error {
	if len(p.s.Media) == MaxMedia {
		return fmt.Errorf("more than %d media", MaxMedia)
	}
	f := strings.Fields(v)
	if len(f) < 4 {
		return fmt.Errorf("m= is not of the form type port proto formats")
	}
	if len(f)-3 > MaxFormats {
		return fmt.Errorf("more than %d formats", MaxFormats)
	}
	port, err := mediumPort(f[1])
	if err != nil {
		return err
	}
	for _, w := range append([]string{f[0]}, f[3:]...) {
		if !isToken(w) {
			return fmt.Errorf("%q is no token", w)
		}
	}
	if strings.Trim(strings.ReplaceAll(f[2], "/", ""), tokenBytes) != "" {
		return fmt.Errorf("%q is no transport protocol", f[2])
	}
	m := Media{Type: f[0], Port: port, Proto: f[2], Formats: f[3:],
		Direction: p.dir, Ptime: p.ptime[0], MaxPtime: p.ptime[1]}
	p.s.Media = append(p.s.Media, m)
	p.media = &p.s.Media[len(p.s.Media)-1]
	return nil
}

func mediumPort(s string) (uint16, error) {
	number, count, several := strings.Cut(s, "/")
	if several && count != "1" {
		return 0, fmt.Errorf("several ports in one m= line")
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || number[0] == '+' {
		return 0, fmt.Errorf("%q is no port", s)
	}
	return uint16(n), nil
}

// tokenBytes are the bytes of a token (RFC 8866 §9).
const tokenBytes = "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz{|}~"

func isToken(s string) bool {
	return s != "" && strings.Trim(s, tokenBytes) == "" && onlyBytes(s, tokenBytes)
}

func onlyBytes(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}
