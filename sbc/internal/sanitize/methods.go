package sanitize

import "github.com/emiago/sipgo/sip"

// The realms, as the border names them.
const (
	realmAccess = "access"
	realmPeer   = "peer"
	realmCore   = "core"
)

// methods lists what each realm may send. REFER, SUBSCRIBE, NOTIFY, PUBLISH and MESSAGE wait until
// something behind the border serves them.
var methods = map[string][]sip.RequestMethod{
	realmAccess: {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REGISTER},
	realmPeer:   {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE},
	realmCore:   {sip.INVITE, sip.ACK, sip.CANCEL, sip.BYE, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REGISTER},
}

// registerExtensions are those of a REGISTER from a phone: RFC 3327 and RFC 5626.
var registerExtensions = map[string]bool{"path": true, "outbound": true}

// sessionExtensions are those that the call engine serves on each leg: RFC 3262 and RFC 4028.
var sessionExtensions = map[string]bool{"100rel": true, "timer": true}

// extensions returns the option tags that a request may demand.
func extensions(realm string, m sip.RequestMethod) map[string]bool {
	if realm == realmAccess && m == sip.REGISTER {
		return registerExtensions
	}
	switch m {
	case sip.INVITE, sip.PRACK, sip.UPDATE:
		return sessionExtensions
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
	sip.NOTIFY: {typeSipfrag},
}

const (
	typeSDP       = "application/sdp"
	typeDTMFRelay = "application/dtmf-relay"
	typeDTMF      = "application/dtmf"
	typeSipfrag   = "message/sipfrag"
)
