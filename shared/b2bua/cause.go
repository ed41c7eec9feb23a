package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// causeOf is the value of the Reason header (RFC 3326) that tells a far side why we end a call or call it off; "" where
// there is nothing to tell. What telephone networks have a number for is told by that (Q.850), the rest by a SIP code.
func causeOf(why verdict.Reason) string {
	switch why {
	case verdict.NormalClearing, verdict.CallCancelled, verdict.Transferred, verdict.None:
		return ""
	case verdict.MediaTimeout, verdict.PeerLost, verdict.HandshakeTimeout, verdict.ICEFailed, verdict.ConsentLost:
		return `Q.850;cause=27;text="` + string(why) + `"` // destination out of order
	case verdict.TransportFailure:
		return `Q.850;cause=38;text="` + string(why) + `"` // network out of order
	case verdict.Shutdown, verdict.Overload:
		return `Q.850;cause=41;text="` + string(why) + `"` // temporary failure
	case verdict.SessionExpired, verdict.NoACK, verdict.NoPRACK:
		return `Q.850;cause=102;text="` + string(why) + `"` // recovery on timer expiry
	case verdict.NoAnswer:
		return `Q.850;cause=19;text="` + string(why) + `"` // alerting, but no answer
	case verdict.UnknownDialog:
		return `SIP;cause=481;text="` + string(why) + `"`
	case verdict.BadBody, verdict.NoCommonMedia, verdict.NoCommonSuite, verdict.SecureMediaRequired, verdict.FingerprintMismatch, verdict.UnsupportedBody:
		return `SIP;cause=488;text="` + string(why) + `"`
	case verdict.Internal:
		return `SIP;cause=500;text="` + string(why) + `"`
	}
	return `SIP;cause=503;text="` + string(why) + `"`
}

// addCause adds our Reason to a BYE that has none.
func addCause(req *sip.Request, why verdict.Reason) {
	if _, ok := sipmsg.Header(req, "Reason"); ok {
		return
	}
	if v := causeOf(why); v != "" {
		req.AppendHeader(sip.NewHeader("Reason", v))
	}
}
