package sdp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits of what a browser writes.
const (
	maxFingerprints = 8   // a=fingerprint lines of one m= line
	maxDigest       = 64  // bytes of one fingerprint: SHA-512
	maxMID          = 32  // bytes of an a=mid
	maxUfrag        = 256 // RFC 8839 §5.4
	minPwd          = 22
)

// Fingerprint is the hash of the certificate that the writer shows in DTLS (RFC 8122 §5).
type Fingerprint struct {
	Hash   string // lower case: sha-256
	Digest []byte
}

// ICE is what the writer says of interactive connectivity establishment (RFC 8839). The candidates of others are read over: we answer
// their checks and never make any.
type ICE struct {
	Ufrag string
	Pwd   string         // secret
	Lite  bool           // RFC 8839 §5.3
	Host  netip.AddrPort // the one candidate that we write
}

// String hides the password.
func (i ICE) String() string { return "ice " + i.Ufrag + " [pwd]" }

// GoString hides the password, too.
func (i ICE) GoString() string { return i.String() }

// Transport is how a medium's keys and addresses are proved. Session and medium may both say it.
type Transport struct {
	Fingerprints []Fingerprint
	Setup        string // RFC 4145 §4: active, passive, actpass or holdconn; empty: not said
	ICE          ICE
}

// under returns t with what the session level says where t says nothing. A name and its password belong together.
func (t Transport) under(session Transport) Transport {
	if len(t.Fingerprints) == 0 {
		t.Fingerprints = session.Fingerprints
	}
	if t.Setup == "" {
		t.Setup = session.Setup
	}
	if t.ICE.Ufrag == "" && t.ICE.Pwd == "" {
		t.ICE.Ufrag, t.ICE.Pwd = session.ICE.Ufrag, session.ICE.Pwd
	}
	t.ICE.Lite = session.ICE.Lite
	return t
}

// transport reads an attribute of DTLS or ICE into the level that it stands on. False if it is none.
func (p *parser) transport(name, value string) (bool, error) {
	t := &p.session
	if p.media != nil {
		t = &p.media.Transport
	}
	switch name {
	case "fingerprint":
		return true, t.fingerprint(value)
	case "setup":
		if !slices.Contains([]string{"active", "passive", "actpass", "holdconn"}, value) {
			return true, fmt.Errorf("a=setup has an unknown role")
		}
		t.Setup = value
	case "ice-lite":
		p.session.ICE.Lite = true
	case "ice-ufrag":
		t.ICE.Ufrag = value
		return true, checkICE(name, value, 4)
	case "ice-pwd":
		t.ICE.Pwd = value
		return true, checkICE(name, value, minPwd)
	default:
		return false, nil
	}
	return true, nil
}

// iceBytes are the bytes of RFC 8839 §5.1 ice-char.
const iceBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

func checkICE(name, value string, least int) error {
	if len(value) < least || len(value) > maxUfrag || !onlyBytes(value, iceBytes) {
		return fmt.Errorf("a=%s is not %d to %d letters and digits", name, least, maxUfrag)
	}
	return nil
}

// fingerprint reads hash SP hex pairs with colons; upper case is demanded, lower case is seen.
func (t *Transport) fingerprint(value string) error {
	hash, digits, ok := strings.Cut(value, " ")
	if !ok || !isToken(hash) || len(hash) > maxEncoding {
		return fmt.Errorf("fingerprint is not of the form hash digest")
	}
	if len(t.Fingerprints) == maxFingerprints {
		return fmt.Errorf("more than %d fingerprints", maxFingerprints)
	}
	pairs := strings.Split(strings.TrimSpace(digits), ":")
	if len(pairs) > maxDigest {
		return fmt.Errorf("fingerprint is longer than %d bytes", maxDigest)
	}
	digest := make([]byte, 0, len(pairs))
	for _, pair := range pairs {
		b, err := hex.DecodeString(pair)
		if err != nil || len(b) != 1 {
			return fmt.Errorf("fingerprint has a pair that is not two hexadecimal digits")
		}
		digest = append(digest, b[0])
	}
	t.Fingerprints = append(t.Fingerprints, Fingerprint{strings.ToLower(hash), digest})
	return nil
}

// group reads the first BUNDLE group (RFC 9143 §7.1); others are forgotten.
func (p *parser) group(value string) error {
	words := strings.Fields(value)
	if len(words) < 2 || words[0] != "BUNDLE" || p.s.Bundle != nil {
		return nil
	}
	if len(words)-1 > MaxMedia {
		return fmt.Errorf("BUNDLE of more than %d media", MaxMedia)
	}
	for _, mid := range words[1:] {
		if !isToken(mid) || len(mid) > maxMID {
			return fmt.Errorf("BUNDLE has a name that is no token of %d bytes", maxMID)
		}
	}
	p.s.Bundle = words[1:]
	return nil
}

// mid reads the name of a medium (RFC 5888 §4).
func (p *parser) mid(value string) error {
	if !isToken(value) || len(value) > maxMID {
		return fmt.Errorf("a=mid is no token of %d bytes", maxMID)
	}
	p.media.MID = value
	return nil
}

// appendSession writes what stands before the first m= line.
func (s *Session) appendSession(b []byte) []byte {
	for i := range s.Media {
		if s.Media[i].Port != 0 && s.Media[i].ICE.Lite {
			b = appendLine(b, "a=ice-lite")
			break
		}
	}
	if len(s.Bundle) > 0 {
		b = appendLine(b, "a=group:BUNDLE ", s.Bundle...)
	}
	return b
}

// hostPriority is that of a host candidate of component 1 (RFC 8445 §5.1.2.1).
const hostPriority = "2130706431"

func (t *Transport) append(b []byte) []byte {
	for _, f := range t.Fingerprints {
		b = append(b, "a=fingerprint:"...)
		b = append(b, f.Hash...)
		separator := byte(' ')
		for _, c := range f.Digest {
			b = append(b, separator, hexDigits[c>>4], hexDigits[c&15])
			separator = ':'
		}
		b = append(b, "\r\n"...)
	}
	if t.Setup != "" {
		b = appendLine(b, "a=setup:", t.Setup)
	}
	if t.ICE.Ufrag == "" || t.ICE.Pwd == "" {
		return b
	}
	b = appendLine(b, "a=ice-ufrag:", t.ICE.Ufrag)
	b = appendLine(b, "a=ice-pwd:", t.ICE.Pwd)
	if h := t.ICE.Host; h.IsValid() {
		b = append(b, "a=candidate:1 1 udp "+hostPriority+" "...)
		b = h.Addr().Unmap().AppendTo(b)
		b = append(b, ' ')
		b = fmt.Appendf(b, "%d typ host\r\n", h.Port())
		b = appendLine(b, "a=end-of-candidates") // RFC 8840 §4.4
	}
	return b
}

const hexDigits = "0123456789ABCDEF"
