package score

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"brickhouse/shared/verdict"
)

// Offence is one thing that a source did wrong.
type Offence struct {
	Source netip.AddrPort
	// Verified tells that this very message proves its source: it came over a TCP or TLS connection, or it echoed a nonce
	// that we had sent to that address. A UDP source that merely proved itself earlier is not enough: the message that
	// offends may be forged in its name.
	Verified  bool
	Reason    verdict.Reason
	AOR       string // address of record that was tried; may be empty; a stranger's text
	Detail    string // one more fact for whoever reads Why; a stranger's text
	Interface string // name of the SIP interface
	At        time.Time
}

// Evidence is an offence as it is kept to explain a ban.
type Evidence struct {
	At        time.Time      `json:"at"`
	Source    netip.AddrPort `json:"source"`
	Reason    verdict.Reason `json:"reason"`
	AOR       string         `json:"aor,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Interface string         `json:"interface,omitempty"`
}

// Bytes that are kept of a stranger's texts.
const (
	maxAOR       = 64
	maxDetail    = 96
	maxInterface = 64
)

// Normal is o in the form in which it is scored and recorded: a plain address, clean texts, a time that is not ahead of now. It is
// false if o names no source.
func (o Offence) Normal(now time.Time) (Offence, bool) {
	addr := Plain(o.Source.Addr())
	if !addr.IsValid() || addr.IsUnspecified() {
		return o, false
	}
	if o.At.IsZero() || o.At.After(now) {
		o.At = now
	}
	o.Source = netip.AddrPortFrom(addr, o.Source.Port())
	o.AOR, o.Detail, o.Interface = Clean(o.AOR, maxAOR), Clean(o.Detail, maxDetail), Clean(o.Interface, maxInterface)
	return o, true
}

func (o Offence) evidence() Evidence {
	return Evidence{At: o.At, Source: o.Source, Reason: o.Reason, AOR: o.AOR, Detail: o.Detail, Interface: o.Interface}
}

// Plain is an address without what does not belong to a sender: an IPv4 address wrapped in IPv6, a zone.
func Plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Site is the network by which a plain address is scored and banned: an IPv4 host; an IPv6 /64, since its lower bits cost a sender
// nothing (RFC 6177 §2). ::/64 is no site: it holds the loopback address.
func Site(a netip.Addr) netip.Prefix {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil && !p.Addr().IsUnspecified() {
			return p
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// Clean makes a stranger's text fit for a journal line and a terminal: printable, and at most limit bytes.
func Clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), 4*limit)])
	if len(s) > limit {
		s = strings.TrimRightFunc(s[:limit], func(r rune) bool { return r == unicode.ReplacementChar })
	}
	return s
}

// offences are the reasons that a rule may weigh: what the transport, the sanitizer, the media relay and the exchange say of a
// sender. A name that is not among them is a slip in the configuration and would never count.
func offences() []verdict.Reason {
	return []verdict.Reason{
		verdict.Oversize, verdict.ConnectionLimit, verdict.HandshakeFailed, verdict.RequestTimeout, verdict.IdleTimeout,
		verdict.BadFraming, verdict.QueueFull, verdict.TransportFailure, verdict.NotSIP, verdict.CertificateRefused,

		verdict.ControlBytes, verdict.BadUTF8, verdict.BadStartLine, verdict.BadVersion, verdict.BadHeader, verdict.BadURI,
		verdict.EmbeddedHeaders, verdict.TooManyHeaders, verdict.HeaderTooLong, verdict.DuplicateHeader, verdict.MissingHeader,
		verdict.BadNumber, verdict.CSeqMismatch, verdict.BadContentLength, verdict.BadBody, verdict.BodyLimits,
		verdict.UnsupportedBody, verdict.MethodNotAllowed, verdict.ExtensionRequired, verdict.TooManyHops, verdict.LoopDetected, verdict.UnknownDomain,
		verdict.UnknownDialog, verdict.StrayResponse, verdict.StrayACK, verdict.UnknownPeer,

		verdict.BadCredentials, verdict.UnknownUser, verdict.MalformedMessage, verdict.ScannerSignature, verdict.NotAllowed,

		verdict.MediaStranger,
	}
}

// IsOffence reports whether a rule may weigh r.
func IsOffence(r verdict.Reason) bool { return slices.Contains(offences(), r) }
