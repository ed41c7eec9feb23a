package sipmsg

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// Screen judges a parsed message: what RFC 3261 §8.1.1 demands is there, numbers are in range, and its parts agree. It
// holds for both programs; which methods, extensions and bodies a realm takes is for its owner to say.
//
// It is stricter than the RFC in these, each named where it is done: no RFC 2543 transactions (a branch with the cookie
// and a tag in From are demanded), From and To are sip, sips or tel, Contact is sip or sips, and no URI carries headers
// but that of Refer-To and of Contact in a redirection.
func Screen(msg sip.Message, lim Limits) verdict.Verdict {
	switch m := msg.(type) {
	case *sip.Request:
		if m != nil {
			return screenRequest(m, &lim).verdict(false)
		}
	case *sip.Response:
		if m != nil {
			return screenResponse(m, &lim).verdict(true)
		}
	}
	return verdict.Dropped(verdict.NotSIP)
}

func screenRequest(req *sip.Request, lim *Limits) finding {
	switch uri := &req.Recipient; {
	case uri.Scheme != "sip" && uri.Scheme != "sips": // RFC 3261 §8.2.2.1
		return finding{verdict.BadURI, 416}
	case len(uri.Headers) > 0: // RFC 3261 §19.1.1, table 1
		return bad(verdict.EmbeddedHeaders)
	case len(appendURI(nil, uri)) > lim.MaxURI:
		return finding{verdict.BadURI, 414}
	case len(uri.UriParams) > lim.MaxURIParams:
		return bad(verdict.BadURI)
	}
	if f := screenCommon(req, lim); f != fine {
		return f
	}
	if req.CSeq().MethodName != req.Method { // RFC 3261 §8.1.1.5
		return bad(verdict.CSeqMismatch)
	}
	// RFC 3261 §8.1.1.7. Without the cookie it would be a transaction of RFC 2543, which we don't match.
	branch, _ := req.Via().Params.Get("branch")
	if len(branch) <= len(BranchCookie) || !strings.HasPrefix(branch, BranchCookie) || !isToken(branch) {
		return bad(verdict.MissingHeader)
	}
	if tag, _ := req.From().Params.Get("tag"); tag == "" { // RFC 3261 §8.1.1.3
		return bad(verdict.MissingHeader)
	}
	return screenContacts(req, string(req.Method), lim)
}

func screenResponse(res *sip.Response, lim *Limits) finding {
	if f := screenCommon(res, lim); f != fine {
		return f
	}
	if res.StatusCode < 100 || res.StatusCode > 699 {
		return bad(verdict.BadNumber)
	}
	vias := 0
	for _, h := range res.Headers() {
		if _, ok := h.(*sip.ViaHeader); ok {
			vias++
		}
	}
	if vias != 1 { // RFC 3261 §8.1.3.3: it went astray
		return bad(verdict.StrayResponse)
	}
	return screenContacts(res, "", lim)
}

// screenCommon judges what requests and responses have in common.
func screenCommon(msg sip.Message, lim *Limits) finding {
	via, from, to, id := msg.Via(), msg.From(), msg.To(), msg.CallID()
	if via == nil || from == nil || to == nil || id == nil || msg.CSeq() == nil { // RFC 3261 §8.1.1
		return bad(verdict.MissingHeader)
	}
	if !strings.EqualFold(via.ProtocolName, "SIP") || via.ProtocolVersion != "2.0" {
		return bad(verdict.BadVersion)
	}
	branch, _ := via.Params.Get("branch")
	if len(*id) > lim.MaxToken || len(branch) > lim.MaxToken {
		return bad(verdict.HeaderTooLong)
	}
	for _, params := range []sip.HeaderParams{from.Params, to.Params} {
		if tag, ok := params.Get("tag"); ok && len(tag) > lim.MaxToken {
			return bad(verdict.HeaderTooLong)
		} else if ok && !isToken(tag) {
			return bad(verdict.BadHeader)
		}
	}
	for _, uri := range []*sip.Uri{&from.Address, &to.Address} {
		if f := screenAddress(uri, lim); f != fine {
			return f
		}
	}
	if len(msg.Body()) > 0 && len(msg.GetHeaders("content-type")) == 0 { // RFC 3261 §20.15
		return bad(verdict.BadBody)
	}
	return screenHeaders(msg, lim)
}

// screenAddress judges the URI of From or To. The rooms behind understand these three schemes.
func screenAddress(uri *sip.Uri, lim *Limits) finding {
	switch {
	case uri.Scheme != "sip" && uri.Scheme != "sips" && uri.Scheme != "tel", len(uri.UriParams) > lim.MaxURIParams:
		return bad(verdict.BadURI)
	case len(uri.Headers) > 0: // RFC 3261 §19.1.1, table 1
		return bad(verdict.EmbeddedHeaders)
	}
	return fine
}

// screenHeaders goes once over the others.
func screenHeaders(msg sip.Message, lim *Limits) finding {
	vias, routes := 0, 0
	for _, h := range list(msg) {
		var route *sip.Uri
		switch h := h.(type) {
		case *sip.ViaHeader:
			vias++
		case *sip.RouteHeader:
			route = &h.Address
		case *sip.RecordRouteHeader:
			route = &h.Address
		default:
			if f := screenValue(h.Name(), h); f != fine {
				return f
			}
		}
		if route != nil {
			routes++
			if route.Scheme != "sip" && route.Scheme != "sips" || len(route.UriParams) > lim.MaxURIParams {
				return bad(verdict.BadURI)
			}
			if len(route.Headers) > 0 {
				return bad(verdict.EmbeddedHeaders)
			}
		}
	}
	if vias > lim.MaxVias || routes > lim.MaxRoutes {
		return bad(verdict.TooManyHeaders)
	}
	return fine
}

// maxDelta is the largest delta-seconds (RFC 3261 §20.19).
const maxDelta = 1<<32 - 1

// screenValue judges the headers that hold numbers.
func screenValue(name string, h sip.Header) finding {
	switch name {
	case "Expires", "Min-Expires", "Min-SE", "Retry-After", "Session-Expires", "RSeq":
		value := h.Value()
		// delta-seconds, then perhaps parameters or a comment.
		if _, err := parseNumber(value[:skip(value, 0, clDigit)], maxDelta); err != nil {
			return bad(verdict.BadNumber)
		}
		if rest := value[skip(value, 0, clDigit):]; rest != "" && strings.IndexByte(" \t;(", rest[0]) < 0 {
			return bad(verdict.BadNumber)
		}
	case "Date":
		// RFC 3261 §20.17: SIP-date is always GMT, as "Sat, 13 Nov 2010 23:29:00 GMT".
		if value := h.Value(); len(value) != 29 || value[25:] != " GMT" {
			return bad(verdict.BadHeader)
		}
	}
	return fine
}

// screenContacts judges Contact, by the request's method; of a response the method is "".
func screenContacts(msg sip.Message, method string, lim *Limits) finding {
	n, wild := 0, 0
	redirects := false
	if res, ok := msg.(*sip.Response); ok {
		redirects = res.IsRedirection()
	}
	for _, h := range list(msg) {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		n++
		if c.Address.Wildcard {
			wild++
			continue
		}
		switch {
		case c.Address.Scheme != "sip" && c.Address.Scheme != "sips" && !redirects:
			return bad(verdict.BadURI)
		case len(c.Address.Headers) > 0 && !redirects: // RFC 3261 §19.1.1, table 1 allows more than we do
			return bad(verdict.EmbeddedHeaders)
		case len(c.Address.UriParams) > lim.MaxURIParams:
			return bad(verdict.BadURI)
		case !validContactParams(c.Params):
			return bad(verdict.BadNumber)
		}
	}
	return contactCount(method, n, wild, lim)
}

func contactCount(method string, n, wild int, lim *Limits) finding {
	switch {
	case n > lim.MaxContacts:
		return bad(verdict.TooManyHeaders)
	case wild > 0 && (method != string(sip.REGISTER) || n > 1): // RFC 3261 §10.2.2
		return bad(verdict.BadHeader)
	}
	switch sip.RequestMethod(method) {
	case sip.INVITE, sip.SUBSCRIBE, sip.REFER: // RFC 3261 §8.1.1.8: exactly one in what makes a dialog
		switch {
		case n == 0:
			return bad(verdict.MissingHeader)
		case n > 1:
			return bad(verdict.DuplicateHeader)
		}
	}
	return fine
}

// validContactParams checks expires and q (RFC 3261 §25.1: delta-seconds and qvalue).
func validContactParams(params sip.HeaderParams) bool {
	if v, ok := params.Get("expires"); ok {
		if _, err := parseNumber(v, maxDelta); err != nil {
			return false
		}
	}
	v, ok := params.Get("q")
	return !ok || validQ(v)
}

// validQ checks ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ).
func validQ(s string) bool {
	whole, part, dot := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(part) > 3 || dot && part != "" && !all(part, clDigit) {
		return false
	}
	return whole == "0" || strings.Trim(part, "0") == ""
}
