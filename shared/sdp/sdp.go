// Package sdp reads and writes session descriptions (RFC 8866), strictly and from fields only.
//
// What Parse does not know it forgets, so nothing unlisted can survive into what Bytes writes: the attributes kept are rtpmap,
// fmtp, ptime, maxptime, the directions, rtcp, rtcp-mux, crypto, and of browsers fingerprint, setup, ice-lite, ice-ufrag, ice-pwd, mid and
// the BUNDLE group. The offer/answer model is not here; see the anchor.
package sdp

import (
	"errors"
	"net/netip"
)

// Limits on what a stranger may send.
const (
	MaxBytes    = 16 << 10 // of a whole description
	MaxLine     = 1024     // bytes of one line
	MaxLines    = 512
	MaxMedia    = 16 // m= lines
	MaxFormats  = 48 // of one m= line
	MaxCrypto   = 16 // a=crypto lines of one m= line
	maxFMTP     = 256
	maxEncoding = 32
)

// ErrMalformed says that bytes are no usable session description.
var ErrMalformed = errors.New("malformed session description")

// Direction is which way media flow, seen from the one who wrote the description (RFC 8866 §6.7).
type Direction uint8

// The directions. The zero value is the default.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// String is the attribute's name.
func (d Direction) String() string {
	return [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}[d&3]
}

// Sends reports whether the writer sends.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives reports whether the writer wants to receive.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

// WithoutReceiving is d without the receiving half.
func (d Direction) WithoutReceiving() Direction {
	if d.Sends() {
		return SendOnly
	}
	return Inactive
}

// Origin is the o= line. Its address is always written as the session's own.
type Origin struct {
	ID, Version uint64 // larger numbers than 64 bits hold are read as the largest
}

// Session is one description.
type Session struct {
	Origin Origin
	Conn   netip.Addr // c= of the session; zero if each m= line has its own
	Media  []Media
	Bundle []string // names of the media that share a transport (RFC 9143)
}

// Media is one m= line with what belongs to it. What the session level said is already applied to it.
type Media struct {
	Type      string   // audio, video, …
	Port      uint16   // 0: refused or not offered
	Proto     string   // RTP/AVP, RTP/SAVP, …
	Formats   []string // RTP payload types, or whatever else the protocol has
	Conn      netip.Addr
	Direction Direction
	Ptime     int // packet time in ms; 0: not said
	MaxPtime  int
	RTPMaps   []RTPMap
	FMTPs     []FMTP
	RTCPPort  uint16     // RFC 3605; 0: not said, so Port+1
	RTCPAddr  netip.Addr // RFC 3605; zero: not said, so Conn
	RTCPMux   bool       // RFC 5761 §5.1.1
	Crypto    []Crypto
	MID       string // RFC 5888; empty: not said
	Transport
}

// RTPMap names the encoding of a payload type (RFC 8866 §6.6).
type RTPMap struct {
	Format   string
	Encoding string // name/clock or name/clock/channels
}

// FMTP holds the parameters of a payload type (RFC 8866 §6.15).
type FMTP struct {
	Format string
	Params string
}

// Crypto is an a=crypto line (RFC 4568 §9.1), split but not understood: see sbc/internal/media/keying. Its KeyParams are secret.
type Crypto struct {
	Tag           uint32
	Suite         string
	KeyParams     string // inline:…
	SessionParams []string
}

// String hides the key.
func (c Crypto) String() string { return "crypto " + c.Suite + " [key]" }

// GoString hides the key, too.
func (c Crypto) GoString() string { return c.String() }

// RTP returns the address of the media and whether there is one to send to: an unspecified address or port 0 is none.
func (m *Media) RTP() (netip.AddrPort, bool) {
	ok := m.Port != 0 && m.Conn.IsValid() && !m.Conn.IsUnspecified()
	return netip.AddrPortFrom(m.Conn, m.Port), ok
}

// RTCP returns the address for RTCP where it is not multiplexed (RFC 3550 §11, RFC 3605).
func (m *Media) RTCP() netip.AddrPort {
	addr, port := m.RTCPAddr, m.RTCPPort
	if !addr.IsValid() {
		addr = m.Conn
	}
	if port == 0 && m.Port != 0 && m.Port != 65535 {
		port = m.Port + 1
	}
	return netip.AddrPortFrom(addr, port)
}

// Held reports whether the writer does not want media both ways: a direction other than sendrecv, or the
// unspecified address that RFC 2543 used for it.
func (m *Media) Held() bool {
	return m.Direction != SendRecv || m.Conn.IsUnspecified()
}

// Encoding returns the encoding of a payload type: what rtpmap says, or the static one of RFC 3551 §6 for the codecs a telephone has.
func (m *Media) Encoding(format string) string {
	for _, r := range m.RTPMaps {
		if r.Format == format {
			return r.Encoding
		}
	}
	return staticEncoding(format)
}

// staticEncoding names the payload types that need no rtpmap.
func staticEncoding(format string) string {
	switch format {
	case "0":
		return "PCMU/8000"
	case "3":
		return "GSM/8000"
	case "4":
		return "G723/8000"
	case "8":
		return "PCMA/8000"
	case "9":
		return "G722/8000"
	case "13":
		return "CN/8000"
	case "15":
		return "G728/8000"
	case "18":
		return "G729/8000"
	}
	return ""
}
