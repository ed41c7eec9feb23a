package sanitize

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// Realm is what holds for the messages of one realm: the tables of this package with what the configuration widens or
// narrows in them. It is a constant.
type Realm struct {
	name    string
	methods []sip.RequestMethod
	outward Policy // the way from the exchange to this realm
	limits  Limits
	form    sipmsg.Limits
	drop    map[string]bool
	in, out []rule // what the configuration adds, towards the exchange and from it
}

// NewRealm makes what holds for realm ("access", "peer" or "core"). m has passed Check.
func NewRealm(realm string, m Messages) *Realm {
	m.Limits = m.Limits.withDefaults()
	r := &Realm{name: realm, methods: methods[realm], outward: Outward, limits: m.Limits, form: m.Limits.form(), drop: map[string]bool{}}
	if realm == realmPeer {
		r.outward = ToTrunk
	}
	if len(m.Methods) > 0 {
		r.methods = nil
		for _, one := range methods[realm] { // in the table's order, which is Allow's
			if slices.Contains(m.Methods, string(one)) {
				r.methods = append(r.methods, one)
			}
		}
	}
	for _, name := range m.DropHeaders {
		r.drop[sipmsg.Canonical(name)] = true
	}
	for _, p := range m.PassHeaders {
		one := p.rule()
		if p.Way != wayOut {
			r.in = append(r.in, one)
		}
		if p.Way != wayIn {
			r.out = append(r.out, one)
		}
	}
	return r
}

// Sizes returns the largest datagram, and the largest message on a stream, in bytes.
func (r *Realm) Sizes() (datagram, message int) { return r.form.MaxDatagram, r.form.MaxMessage }

// Raw screens the bytes of one message before the parser sees them. It does not allocate.
func (r *Realm) Raw(data []byte, datagram bool) verdict.Verdict {
	return sipmsg.ScreenRaw(data, datagram, r.form)
}

// Message screens a parsed message that came from the realm: its form by RFC 3261, then whether the realm may send this
// method, extension and body. A response is dropped or passed, never rejected.
func (r *Realm) Message(msg sip.Message) verdict.Verdict {
	if v := sipmsg.Screen(msg, r.form); !v.OK() {
		return v
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		return r.response(msg)
	}
	if !slices.Contains(r.methods, req.Method) {
		return verdict.Rejected(405, verdict.MethodNotAllowed) // RFC 3261 §8.2.1
	}
	// RFC 3261 §16.3 step 3, which RFC 7332 §4 demands of a B2BUA too. ACK can't be answered and ends here anyway.
	if hops := req.MaxForwards(); hops != nil && hops.Val() == 0 {
		return verdict.Rejected(483, verdict.TooManyHops)
	}
	if len(unsupported(r.name, req)) > 0 {
		return verdict.Rejected(420, verdict.ExtensionRequired)
	}
	return r.body(req)
}

// response judges what only a response can do wrong at the border.
func (r *Realm) response(msg sip.Message) verdict.Verdict {
	if len(msg.Body()) > int(r.limits.Body) {
		return verdict.Dropped(verdict.Oversize)
	}
	if mediaType(msg) == typeSDP && !r.limits.description(msg.Body()) {
		return verdict.Dropped(verdict.BodyLimits)
	}
	return verdict.Passed
}

// Allow is the value of the Allow header that the realm sees.
func (r *Realm) Allow() string {
	names := make([]string, 0, len(r.methods))
	for _, m := range r.methods {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// In puts into dst the headers of src, which came from the realm, that may go to the exchange. See Copy.
func (r *Realm) In(dst, src sip.Message) { r.cross(dst, src, Inward, r.in) }

// Out puts into dst the headers of src, which came from the exchange, that may go to the realm. See Copy.
func (r *Realm) Out(dst, src sip.Message) { r.cross(dst, src, r.outward, r.out) }

func (r *Realm) cross(dst, src sip.Message, p Policy, more []rule) {
	method, code, ok := kind(src)
	if !ok {
		return
	}
	for i := range rules {
		if one := &rules[i]; !r.drop[one.name] && one.fits(p, method, code) {
			one.copy(dst, src)
		}
	}
	for i := range more {
		if one := &more[i]; one.fits(anyWay, method, code) {
			one.copy(dst, src)
		}
	}
}
