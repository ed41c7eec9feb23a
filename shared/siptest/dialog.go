package siptest

import (
	"slices"
)

// dialog is what the requests of one dialog have in common (RFC 3261 §12).
type dialog struct {
	callID              string
	localTag, remoteTag string
	local, remote       string // From and To values without tags, as name-addr
	target              string // remote target: their Contact's URI
	routes              []string
	cseq                uint32 // last that we sent
}

// withoutTag is a From or To value without its tag.
func withoutTag(value string) string {
	parts := splitParams(value)
	out := parts[0]
	for _, p := range parts[1:] {
		if !hasParam(";"+p, "tag") {
			out += ";" + p
		}
	}
	return out
}

// dialogOfCallee is the dialog that an incoming INVITE makes (RFC 3261 §12.1.1).
func dialogOfCallee(m *Message, tag string) dialog {
	return dialog{callID: m.CallID(), localTag: tag, remoteTag: m.FromTag(), local: withoutTag(m.Header("To")),
		remote: withoutTag(m.Header("From")), target: address(m.Header("Contact")), routes: m.list("Record-Route")}
}

// establish takes what the response to our INVITE says (RFC 3261 §12.1.2).
func (d *dialog) establish(m *Message) {
	d.remoteTag = m.ToTag()
	d.remote = withoutTag(m.Header("To"))
	if c := address(m.Header("Contact")); c != "" {
		d.target = c
	}
	d.routes = m.list("Record-Route")
	slices.Reverse(d.routes)
}

// request begins a request within the dialog; the CSeq is added when it is sent (RFC 3261 §12.2.1.1).
func (d *dialog) request(method string) *draft {
	out := &draft{start: method + " " + d.target + " SIP/2.0"}
	out.add("Max-Forwards", "70").add("From", d.local+";tag="+d.localTag)
	to := d.remote
	if d.remoteTag != "" {
		to += ";tag=" + d.remoteTag
	}
	out.add("To", to).add("Call-ID", d.callID)
	for _, r := range d.routes {
		out.add("Route", r)
	}
	return out
}

// hop is the URI of the next hop: the first route, else the target (RFC 3261 §8.1.2).
func (d *dialog) hop() string {
	if len(d.routes) > 0 {
		return address(d.routes[0])
	}
	return d.target
}
