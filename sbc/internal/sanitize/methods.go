package sanitize

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/eventdoc"
)

// The realms, as the border names them.
const (
	realmAccess = "access"
	realmPeer   = "peer"
	realmCore   = "core"
)

// methods lists what each realm may send. NOTIFY comes from the exchange alone; carriers watch nobody.
var methods = map[string][]sip.RequestMethod{
	realmAccess: {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REFER, sip.MESSAGE, sip.SUBSCRIBE, sip.PUBLISH, sip.REGISTER},
	realmPeer:   {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REFER},
	realmCore:   {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.NOTIFY, sip.MESSAGE, sip.REGISTER},
}

// registerExtensions are those of a REGISTER from a phone: RFC 3327 and RFC 5626.
var registerExtensions = map[string]bool{"path": true, "outbound": true}

// Those that the call engine serves on each leg: RFC 3262 and RFC 4028, and of transfers RFC 3891, RFC 4488 and RFC 7614.
var (
	inviteExtensions  = map[string]bool{"100rel": true, "timer": true, "replaces": true}
	sessionExtensions = map[string]bool{"100rel": true, "timer": true}
	referExtensions   = map[string]bool{"norefersub": true, "nosub": true}
)

// extensions returns the option tags that a request may demand.
func extensions(realm string, m sip.RequestMethod) map[string]bool {
	if realm == realmAccess && m == sip.REGISTER {
		return registerExtensions
	}
	switch m {
	case sip.INVITE:
		return inviteExtensions
	case sip.PRACK, sip.UPDATE:
		return sessionExtensions
	case sip.REFER:
		return referExtensions
	}
	return nil
}

// bodies lists the media types that may cross the border in each method and its responses. A session description does so
// only in the form that media/anchor builds; the others are small and checked in whole (body.go).
var bodies = map[sip.RequestMethod][]string{
	sip.INVITE: {typeSDP},
	sip.ACK:    {typeSDP},
	sip.PRACK:  {typeSDP},
	sip.UPDATE: {typeSDP},
	sip.INFO:   {typeDTMFRelay, typeDTMF},
	sip.NOTIFY: {typeSipfrag, eventdoc.TypeDialogInfo, eventdoc.TypePIDF, eventdoc.TypeSummary},

	sip.MESSAGE: {typeText},
	sip.PUBLISH: {eventdoc.TypePIDF},
}

const (
	typeSDP       = "application/sdp"
	typeDTMFRelay = "application/dtmf-relay"
	typeDTMF      = "application/dtmf"
	typeSipfrag   = "message/sipfrag"
	typeText      = "text/plain"
)
