package sanitize

import (
	"slices"

	"github.com/emiago/sipgo/sip"
)

// Policy is the way that a message goes across the border.
type Policy uint8

// The ways.
const (
	Inward  Policy = 1 << iota // from a phone or a trunk to the exchange
	Outward                    // from the exchange to a phone
	ToTrunk                    // from the exchange to a trunk
)

const anyWay = Inward | Outward | ToTrunk

// rule lets one header pass. What has no rule does not.
type rule struct {
	name    string
	ways    Policy
	methods []sip.RequestMethod // in these requests and their responses; nil means all
	codes   []int               // nil: in requests; allResponses, or only responses with these codes
	also    bool                // with codes: in requests too
	needed  bool                // calls or phones can't do without it, so that the configuration can't drop it
	// remake makes the value anew, or refuses it. It gets one element of a list.
	remake func(value string, src sip.Message) (string, bool)
}

// allResponses stands for every status code.
var allResponses = []int{0}

// Headers that the border builds on its own are not here: Via, Route, Record-Route, Max-Forwards, From, To, Call-ID, CSeq,
// Contact, Path, Allow, Content-Length, and on each leg by itself session timers (Session-Expires, Min-SE), reliable
// provisional responses (RSeq, RAck) and the names of calls in transfers (Refer-To, Replaces), with their option tags.
var rules = []rule{
	// A phone's credentials go to the exchange. The exchange's go to the trunk that asked for them, and never to a phone:
	// a called party that challenges gets nothing (CVE-2021-41158).
	{name: "Authorization", ways: Inward | ToTrunk, needed: true, remake: credentials},
	{name: "Proxy-Authorization", ways: Inward | ToTrunk, needed: true, remake: credentials},
	{name: "WWW-Authenticate", ways: Inward | Outward, codes: []int{401}, needed: true, remake: challenge},
	{name: "Proxy-Authenticate", ways: Inward | Outward, codes: []int{407}, needed: true, remake: challenge},

	{name: "Content-Type", ways: anyWay, codes: allResponses, also: true, needed: true, remake: contentType},

	{name: "Expires", ways: anyWay, methods: []sip.RequestMethod{sip.REGISTER, sip.SUBSCRIBE, sip.PUBLISH}, codes: allResponses, also: true, needed: true, remake: seconds},
	{name: "Min-Expires", ways: anyWay, codes: []int{423}, needed: true, remake: seconds},
	{name: "Retry-After", ways: anyWay, codes: []int{404, 413, 480, 486, 500, 503, 600, 603}, remake: seconds}, // RFC 3261 §20.33
	{name: "Supported", ways: Inward, methods: []sip.RequestMethod{sip.REGISTER}, needed: true, remake: oneOf("outbound")},
	{name: "Require", ways: Inward | Outward, methods: []sip.RequestMethod{sip.REGISTER, sip.REFER}, codes: allResponses, also: true, needed: true, remake: require},
	{name: "Privacy", ways: Inward | ToTrunk, methods: []sip.RequestMethod{sip.INVITE}, remake: privacy},
	{name: "Reason", ways: anyWay, methods: []sip.RequestMethod{sip.INVITE, sip.BYE, sip.CANCEL}, codes: allResponses, also: true, remake: reason},

	{name: "Event", ways: anyWay, methods: []sip.RequestMethod{sip.SUBSCRIBE, sip.NOTIFY, sip.PUBLISH}, needed: true, remake: event},
	{name: "SIP-ETag", ways: Inward | Outward, methods: []sip.RequestMethod{sip.PUBLISH}, codes: []int{200}, needed: true, remake: entityTag},
	{name: "SIP-If-Match", ways: Inward, methods: []sip.RequestMethod{sip.PUBLISH}, needed: true, remake: entityTag},
	{name: "Refer-Sub", ways: anyWay, methods: []sip.RequestMethod{sip.REFER}, codes: allResponses, also: true, needed: true, remake: truth},
	{name: "Subscription-State", ways: anyWay, methods: []sip.RequestMethod{sip.NOTIFY}, needed: true, remake: subscriptionState},
}

// fits reports whether the rule holds for a message that goes that way.
func (r *rule) fits(p Policy, method sip.RequestMethod, code int) bool {
	if r.ways&p == 0 || r.methods != nil && !slices.Contains(r.methods, method) {
		return false
	}
	if code == 0 {
		return r.codes == nil || r.also
	}
	return slices.Equal(r.codes, allResponses) || slices.Contains(r.codes, code)
}
