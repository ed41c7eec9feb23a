package anchor

import (
	"net/netip"

	"brickhouse/sbc/internal/media/dtls"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// way is how an m= line's media are keyed.
type way uint8

const (
	unknown way = iota
	plain       // RTP
	bySDES      // SRTP with keys in a=crypto
	byDTLS      // SRTP with keys from DTLS
)

// wayOf tells how a line is keyed: by its transport protocol, and where that leaves it open (RFC 5764 was not the first to have
// RTP/SAVP) by what stands in it.
func wayOf(m *sdp.Media) way {
	switch m.Proto {
	case "RTP/AVP", "RTP/AVPF":
		return plain
	case "RTP/SAVP", "RTP/SAVPF": // RFC 4568 §12, RFC 5124
		if len(m.Crypto) == 0 && len(m.Fingerprints) > 0 {
			return byDTLS
		}
		return bySDES
	case "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF": // RFC 5764 §8
		return byDTLS
	}
	return unknown
}

// checkPromise decides whether a line that is keyed by DTLS may be relayed.
func (l *leg) checkPromise(m *sdp.Media, answer bool) (*promise, *Error) {
	realm := &l.endpoint.Realm
	switch {
	case realm.Secure == Never:
		return nil, fail(488, verdict.NoCommonMedia, "realm "+realm.Name+" takes no SRTP")
	case l.secure && l.link == nil:
		return nil, fail(488, verdict.SecureMediaRequired, "a call keyed by SDES does not change to DTLS")
	case !m.RTCPMux:
		return nil, fail(488, verdict.NoCommonMedia, "DTLS-SRTP is taken with rtcp-mux only")
	case realm.Secure == Require && !l.endpoint.SecureHop: // RFC 5763 §8: who can change a fingerprint is in the middle
		return nil, fail(488, verdict.SecureMediaRequired, "the fingerprint came over signalling that is not encrypted")
	}
	peer, err := dtls.Usable(m.Fingerprints)
	if err != nil {
		return nil, fail(488, verdict.NoCommonSuite, err.Error())
	}
	p := &promise{peer: peer}
	var ok bool
	if p.role, ok = l.roleFor(m.Setup, answer); !ok {
		return nil, fail(488, verdict.NoCommonMedia, "a=setup:"+m.Setup+" has no place here")
	}
	if m.ICE.Ufrag != "" && m.ICE.Pwd != "" && !m.ICE.Lite {
		p.ice = m.ICE.Ufrag
	} else if at, sendable := m.RTP(); sendable {
		p.at = at
	}
	return p, nil
}

// roleFor is our role in the handshake (RFC 5763 §5). Where the phone leaves the choice to us we wait: its ClientHello opens its NAT.
func (l *leg) roleFor(setup string, answer bool) (dtls.Role, bool) {
	switch setup {
	case "active", "":
		return dtls.Passive, true
	case "passive":
		return dtls.Active, true
	case "actpass":
		if answer {
			return 0, false
		}
		if l.link != nil && l.link.association != nil {
			return l.link.association.Role(), true // RFC 8842 §5.3: who was client stays it
		}
		return dtls.Passive, true
	}
	return 0, false
}

// forgetAddress drops the address that m= and c= name where ICE decides: of a browser that hides its own it is 0.0.0.0, which
// is no hold.
func (p *promise) forgetAddress(m *sdp.Media) {
	if p != nil && p.ice != "" {
		m.Conn = netip.Addr{}
	}
}
