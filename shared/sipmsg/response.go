package sipmsg

import (
	"slices"

	"github.com/emiago/sipgo/sip"
)

// Response makes an answer by RFC 3261 §8.2.6: Via list, From, To, Call-ID and CSeq are copied, and Timestamp into a 100.
// To gets toTag if it has none and code is not 100; an empty toTag makes a new one. Record-Route is not copied: both
// programs are user agents. An empty reason gives the standard phrase. What req does not have is left out.
func Response(req *sip.Request, code int, reason string, toTag string) *sip.Response {
	if reason == "" {
		reason = ReasonPhrase(code)
	}
	res := sip.NewResponse(code, reason)
	for _, h := range req.Headers() {
		if sameName(h.Name(), "Via") {
			res.AppendHeader(sip.HeaderClone(h))
		}
	}
	if h := req.From(); h != nil {
		res.AppendHeader(sip.HeaderClone(h))
	}
	if h := req.To(); h != nil {
		to := &sip.ToHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: slices.Clone(h.Params)}
		if tag, ok := Param(to.Params, "tag"); code != sip.StatusTrying && (!ok || tag == "") {
			if toTag == "" {
				toTag = NewTag()
			}
			to.Params.Add("tag", toTag)
		}
		res.AppendHeader(to)
	}
	if h := req.CallID(); h != nil {
		id := *h
		res.AppendHeader(&id)
	}
	if h := req.CSeq(); h != nil {
		res.AppendHeader(sip.HeaderClone(h))
	}
	if stamp, ok := Header(req, "Timestamp"); ok && code == sip.StatusTrying { // RFC 3261 §8.2.6.1
		res.AppendHeader(sip.NewHeader("Timestamp", stamp))
	}
	return res
}

// ReasonPhrase returns the phrase that the IANA registry gives for a status code; for others that of its class.
func ReasonPhrase(code int) string {
	if p, ok := phrases[code]; ok {
		return p
	}
	switch code / 100 {
	case 1:
		return "Session Progress"
	case 2:
		return "OK"
	case 3:
		return "Redirect"
	case 4:
		return "Bad Request"
	case 5:
		return "Server Internal Error"
	default:
		return "Decline"
	}
}

// phrases is a constant table (RFC 3261 §21 and the IANA registry of response codes).
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	199: "Early Dialog Terminated",
	200: "OK", 202: "Accepted", 204: "No Notification",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
	415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 417: "Unknown Resource-Priority", 420: "Bad Extension",
	421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief", 424: "Bad Location Information",
	428: "Use Identity Header", 429: "Provide Referrer Identity", 430: "Flow Failed", 433: "Anonymity Disallowed",
	436: "Bad Identity Info", 437: "Unsupported Credential", 438: "Invalid Identity Header",
	439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded", 469: "Bad Info Package",
	470: "Consent Needed", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
	483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated",
	488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending", 493: "Undecipherable",
	494: "Security Agreement Required",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large", 555: "Push Notification Service Not Supported",
	580: "Precondition Failure",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}
