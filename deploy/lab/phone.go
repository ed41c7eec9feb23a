package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"brickhouse/shared/tone"
)

// Account is how a phone is set up: what a person would type into it.
type Account struct {
	User, Password string
	Domain         string         // of the AOR; the server's address if empty
	Server         netip.AddrPort // registrar and outbound proxy; the zero value: none, calls go straight to a SIP URI
	Transport      string         // "udp" (default), "tcp", "tls"
	CA             string         // PEM file that vouches for the server, with "tls"
	SRTP           bool           // SDES-SRTP, mandatory; RTP otherwise
	Suites         string         // with SRTP: linphone's list of suites, of AES_CM and AES_256_CM (no GCM); baresip offers its own
	DTLS           bool           // DTLS-SRTP, mandatory; baresip only
	Codec          string         // "PCMU" (default) or "PCMA"
	Tone           float64        // what it sings while it talks, Hz; 0 is silence
	AutoAnswer     bool
	IPv6           bool // lives at its host's IPv6 address; so it does anyway if its server has one
}

// self is where a phone with this account lives.
func (a Account) self(h *Host) netip.Addr {
	h.lab.t.Helper()
	if !a.IPv6 && !a.Server.Addr().Is6() {
		return h.Addr()
	}
	if !h.Addr6().IsValid() {
		h.lab.t.Fatalf("lab: %s has no IPv6 address", h.Name)
	}
	return h.Addr6()
}

// Phone is a program with which somebody telephones. A method that waits has a deadline; one that does not get what it
// waits for fails the test and says what the phone told instead.
type Phone interface {
	// Register registers and waits for the 200.
	Register()
	// RegisterFails tries to register and returns the reason why that failed, as the phone tells it ("403 Forbidden").
	RegisterFails() string
	// Unregister takes the registration back.
	Unregister()

	// Call dials a number or a SIP URI and returns at once.
	Call(target string)
	// WaitRinging waits for the far phone's 180.
	WaitRinging()
	// WaitIncoming waits for a call and returns who calls, as a SIP URI.
	WaitIncoming() string
	// Answer waits for a call, takes it, and waits until it is established.
	Answer()
	// Reject waits for a call and refuses it.
	Reject()
	// WaitEstablished waits until the call that it made is answered.
	WaitEstablished()
	// Press presses a key in the call (RFC 4733).
	Press(key string)
	// Transfer puts the other party through to a SIP URI (REFER).
	Transfer(uri string)
	// Hold and Resume hold the call and take it back, each with a re-INVITE. Who holds hears nothing; the held one hears
	// nothing from a baresip and goes on hearing the tone, as music on hold, from a linphone.
	Hold()
	Resume()
	// Hangup ends the call, also one that still rings (CANCEL).
	Hangup()
	// WaitClosed waits until the call is over and returns the reason as the phone tells it ("486 Busy Here").
	WaitClosed() string

	// Addr is where it takes SIP calls that come straight to it (UDP and TCP; not behind TLS).
	Addr() netip.AddrPort

	// Hears waits until the phone hears the tone, in sound that comes after now.
	Hears(hz float64) tone.Result
	// HearsNothing waits for a second of silence.
	HearsNothing()

	// Trace is every SIP message that the phone sent or got, also those that TLS hides from a capture.
	Trace() string
	// Proc is the program.
	Proc() *Process
}

// transport is the account's transport with its default.
func (a Account) transport() string {
	if a.Transport == "" {
		return "udp"
	}
	return a.Transport
}

// domain is the host part of the AOR.
func (a Account) domain(self netip.Addr) string {
	switch {
	case a.Domain != "":
		return a.Domain
	case a.Server.IsValid():
		return uriHost(a.Server.Addr())
	}
	return uriHost(self)
}

// uri is what a number dialled with this account means.
func (a Account) uri(target string, self netip.Addr) string {
	if strings.HasPrefix(target, "sip:") || strings.HasPrefix(target, "sips:") {
		return target
	}
	return fmt.Sprintf("sip:%s@%s", target, a.domain(self))
}

func (a Account) codec() string {
	if a.Codec == "" {
		return "PCMU"
	}
	return a.Codec
}

// uriHost is an address as it stands in a URI: IPv6 in brackets (RFC 3261 §19.1.1).
func uriHost(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
