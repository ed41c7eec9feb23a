package sdp

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// attribute reads an a= line. Unknown ones are forgotten (RFC 8866 §5.13); known ones that are malformed are errors.
func (p *parser) attribute(v string) error {
	name, value, _ := strings.Cut(v, ":")
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		p.direction(name)
		return nil
	case "ptime", "maxptime":
		return p.packetTime(name, value)
	case "rtcp-mux":
		if p.media != nil {
			p.media.RTCPMux = true
		}
		return nil
	case "group":
		if p.media == nil {
			return p.group(value)
		}
		return nil
	}
	if ours, err := p.transport(name, value); ours {
		return err
	}
	if p.media == nil {
		return nil // the rest belongs to a medium
	}
	switch name {
	case "rtpmap":
		return p.rtpmap(value)
	case "fmtp":
		return p.fmtp(value)
	case "rtcp":
		return p.rtcp(value)
	case "crypto":
		return p.crypto(value)
	case "mid":
		return p.mid(value)
	}
	return nil
}

func (p *parser) direction(name string) {
	for d := SendRecv; d <= Inactive; d++ {
		if d.String() != name {
			continue
		}
		if p.media != nil {
			p.media.Direction = d
		} else {
			p.dir = d
		}
	}
}

func (p *parser) packetTime(name, value string) error {
	// RFC 8866 §6.4 allows fractions of a millisecond, which no codec here has.
	whole, _, _ := strings.Cut(strings.TrimSpace(value), ".")
	n, err := strconv.ParseUint(whole, 10, 16)
	if err != nil || n == 0 || n > 1000 {
		return nil // only a wish; some telephones write 0 for "none"
	}
	to := [2]*int{&p.ptime[0], &p.ptime[1]}
	if p.media != nil {
		to = [2]*int{&p.media.Ptime, &p.media.MaxPtime}
	}
	if name == "ptime" {
		*to[0] = int(n)
	} else {
		*to[1] = int(n)
	}
	return nil
}

func (p *parser) rtpmap(value string) error {
	format, encoding, ok := strings.Cut(value, " ")
	encoding = strings.TrimSpace(encoding)
	if !ok || !isEncoding(encoding) {
		return fmt.Errorf("rtpmap is not of the form payload-type name/clock")
	}
	for _, r := range p.media.RTPMaps {
		if r.Format == format {
			return nil // the first one counts
		}
	}
	if !p.listed(format) {
		return nil
	}
	p.media.RTPMaps = append(p.media.RTPMaps, RTPMap{format, encoding})
	return nil
}

// isEncoding reports whether s is name/clock or name/clock/channels.
func isEncoding(s string) bool {
	f := strings.Split(s, "/")
	if len(f) != 2 && len(f) != 3 || len(f[0]) > maxEncoding || !isToken(f[0]) {
		return false
	}
	if clock, err := strconv.ParseUint(f[1], 10, 32); err != nil || clock == 0 {
		return false
	}
	if len(f) == 3 {
		if channels, err := strconv.ParseUint(f[2], 10, 8); err != nil || channels == 0 {
			return false
		}
	}
	return true
}

func (p *parser) fmtp(value string) error {
	format, params, ok := strings.Cut(value, " ")
	params = strings.TrimSpace(params)
	if !ok || params == "" {
		return nil // some telephones write an empty one
	}
	if len(params) > maxFMTP || !printable(params) {
		return fmt.Errorf("fmtp is too long or not printable ASCII")
	}
	for _, have := range p.media.FMTPs {
		if have.Format == format {
			return nil // the first one counts
		}
	}
	if p.listed(format) {
		p.media.FMTPs = append(p.media.FMTPs, FMTP{format, params})
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// listed reports whether the m= line names the format.
func (p *parser) listed(format string) bool {
	for _, f := range p.media.Formats {
		if f == format {
			return true
		}
	}
	return false
}

// rtcp reads RFC 3605: port, and perhaps an address.
func (p *parser) rtcp(value string) error {
	port, rest, withAddr := strings.Cut(value, " ")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("a=rtcp has no port")
	}
	var addr netip.Addr
	if withAddr {
		if addr, err = connAddr(rest); err != nil {
			return err
		}
	}
	p.media.RTCPPort, p.media.RTCPAddr = uint16(n), addr
	return nil
}

// crypto splits RFC 4568 §9.1: tag suite key-params [session-params]. Errors never quote it.
func (p *parser) crypto(value string) error {
	if len(p.media.Crypto) == MaxCrypto {
		return fmt.Errorf("more than %d crypto lines", MaxCrypto)
	}
	f := strings.Fields(value)
	if len(f) < 3 || len(f) > 16 || !printable(value) {
		return fmt.Errorf("crypto is not of the form tag suite key-parameters")
	}
	tag, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil || tag == 0 || tag > 999999999 || f[0][0] == '0' {
		return fmt.Errorf("crypto tag is no number of 1 to 9 digits")
	}
	for _, c := range p.media.Crypto {
		if c.Tag == uint32(tag) {
			return fmt.Errorf("crypto tag twice") // RFC 4568 §4.1: unique
		}
	}
	if len(f[1]) > maxEncoding || !isToken(f[1]) {
		return fmt.Errorf("crypto suite is no token")
	}
	p.media.Crypto = append(p.media.Crypto, Crypto{uint32(tag), f[1], f[2], f[3:]})
	return nil
}
