package rules

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
)

// view is a message while rules work on it: a copy that shares only headers nobody writes to.
type view struct {
	req  *sip.Request
	from *sip.FromHeader
	to   *sip.ToHeader
	Hosts
	crossing []string // headers that a change made and that cross for that
	err      error
}

func newView(in *sip.Request, hosts Hosts) *view {
	v := &view{req: sip.NewRequest(in.Method, *in.Recipient.Clone()), Hosts: hosts}
	for _, h := range in.Headers() {
		switch h := h.(type) {
		case *sip.FromHeader:
			v.from = &sip.FromHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: slices.Clone(h.Params)}
			v.req.AppendHeader(v.from)
		case *sip.ToHeader:
			v.to = &sip.ToHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: slices.Clone(h.Params)}
			v.req.AppendHeader(v.to)
		case *sip.ContentLengthHeader:
		default:
			v.req.AppendHeader(h)
		}
	}
	v.req.SetBody(in.Body())
	return v
}

// open gives every address the host of the other side and a user part that can be carried across, and leaves out what is no
// address at all.
func (v *view) open() {
	called := user(&v.req.Recipient)
	if called == "" {
		v.err = ErrNumber
	}
	v.req.Recipient = address(called, v.Called)
	if caller := user(&v.from.Address); caller == "" || caller == topology.Anonymous {
		v.anonymous()
	} else {
		v.from.Address = address(caller, v.Caller)
		v.from.DisplayName = sipmsg.CleanDisplayName(v.from.DisplayName)
	}
	to := user(&v.to.Address)
	if to == "" {
		to = called
	}
	v.to.DisplayName, v.to.Address = "", address(to, v.Called)
	for _, name := range []string{"P-Asserted-Identity", "P-Preferred-Identity", "Diversion", "History-Info"} {
		host := v.Called
		if strings.HasPrefix(name, "P-") {
			host = v.Caller
		}
		v.each(name, func(n sipmsg.NameAddr) (sipmsg.NameAddr, bool) {
			u := user(&n.URI)
			n.Display = sipmsg.CleanDisplayName(n.Display)
			n.URI = sip.Uri{Scheme: "sip", User: u, Host: host, UriParams: n.URI.UriParams, Headers: n.URI.Headers}
			if name != "History-Info" {
				n.URI.UriParams, n.URI.Headers = nil, nil
			}
			return n, u != ""
		})
	}
	v.remove("Remote-Party-ID") // a draft of long ago; a change may make one
}

// Shown where a caller wants to be anonymous (RFC 3323 §4.1.1.3).
const anonymousHost = "anonymous.invalid"

func (v *view) anonymous() {
	v.from.DisplayName, v.from.Address = "Anonymous", address(topology.Anonymous, anonymousHost)
}

func (v *view) isAnonymous() bool { return v.from.Address.Host == anonymousHost }

func (v *view) values(name string) []string {
	values := sipmsg.Headers(v.req, name)
	return values[:min(len(values), maxIdentities)]
}

func (v *view) remove(name string) { sipmsg.Remove(v.req, name) }

// set puts values in the place of a header's; those that can't stand there are left out.
func (v *view) set(name string, values []string) {
	v.remove(name)
	for _, value := range values {
		if len(value) <= maxValue {
			_ = sipmsg.Add(v.req, name, value) // what it refuses is not in the message
		}
	}
}

// each makes each address in a header anew; what is none is left out.
func (v *view) each(name string, change func(sipmsg.NameAddr) (sipmsg.NameAddr, bool)) {
	old := v.values(name)
	if len(old) == 0 {
		return
	}
	var out []string
	for _, value := range old {
		n, err := sipmsg.ParseNameAddr(value)
		if err != nil {
			continue
		}
		if n, ok := change(n); ok {
			out = append(out, n.String())
		}
	}
	v.set(name, out)
}

// The numbers of a message, by the names that the configuration has for them.
var headerOf = map[string]string{
	"p-asserted-identity": "P-Asserted-Identity", "p-preferred-identity": "P-Preferred-Identity",
	"diversion": "Diversion", "history-info": "History-Info",
}

func (v *view) numbered() []string {
	return []string{"request", "from", "to", "p-asserted-identity", "p-preferred-identity", "diversion", "history-info"}
}

// eachNumber changes the numbers of one name. An anonymous caller has none.
func (v *view) eachNumber(name string, change func(string) string) {
	switch name {
	case "request":
		v.req.Recipient.User = change(v.req.Recipient.User)
	case "from":
		if !v.isAnonymous() {
			v.from.Address.User = change(v.from.Address.User)
		}
	case "to":
		v.to.Address.User = change(v.to.Address.User)
	default:
		v.each(headerOf[name], func(n sipmsg.NameAddr) (sipmsg.NameAddr, bool) {
			if n.URI.Host == anonymousHost {
				return n, true
			}
			n.URI.User = change(n.URI.User)
			return n, topologyUser(n.URI.User) != ""
		})
	}
}

// number returns the first number of one name.
func (v *view) number(name string) string {
	switch name {
	case "request":
		return v.req.Recipient.User
	case "from":
		return v.from.Address.User
	case "to":
		return v.to.Address.User
	}
	for _, value := range v.values(headerOf[name]) {
		if n, err := sipmsg.ParseNameAddr(value); err == nil {
			return user(&n.URI)
		}
	}
	return ""
}

// userPhone tells that user parts are numbers.
func (v *view) userPhone() {
	mark := func(u *sip.Uri) {
		if number(u.User) && !u.UriParams.Has("user") {
			u.UriParams = append(u.UriParams, sip.HeaderKV{K: "user", V: "phone"})
		}
	}
	mark(&v.req.Recipient)
	mark(&v.from.Address)
	mark(&v.to.Address)
	for _, name := range []string{"P-Asserted-Identity", "P-Preferred-Identity"} {
		v.each(name, func(n sipmsg.NameAddr) (sipmsg.NameAddr, bool) {
			mark(&n.URI)
			return n, true
		})
	}
}

// made returns the headers that cross because they were made here.
func (v *view) made() []sip.Header {
	var out []sip.Header
	for _, h := range v.req.Headers() {
		name := sipmsg.Canonical(h.Name())
		own := slices.ContainsFunc(identities, func(i string) bool { return strings.EqualFold(i, name) })
		if (own || slices.Contains(v.crossing, name)) && !sanitize.Ruled(name) {
			out = append(out, h)
		}
	}
	return out
}
