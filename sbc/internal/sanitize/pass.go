package sanitize

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
)

// maxPassed bounds the value of a header that the configuration lets pass, in bytes.
const maxPassed = 1024

// written are the headers that no configuration lets pass as they are: the border writes them itself; they tell who, where
// or by which way (package rules has what a trunk may see of them); or a reader would act on them in a way that we don't see.
var written = []string{
	"Via", "Route", "Record-Route", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Path", "Service-Route", "Allow",
	"Content-Length", "Content-Disposition", "Content-Encoding", "Content-Language", "MIME-Version", "Authentication-Info", "Proxy-Authentication-Info",
	"Require", "Proxy-Require", "Unsupported", "Accept", "Accept-Encoding", "Allow-Events", "Security-Client", "Security-Server",
	"Security-Verify", "Identity", "Identity-Info", "P-Asserted-Identity", "P-Preferred-Identity", "P-Associated-URI", "Remote-Party-ID",
	"P-Called-Party-ID", "P-Access-Network-Info", "P-Charging-Vector", "P-Visited-Network-ID", "Diversion", "History-Info", "Replaces", "Join",
	"Target-Dialog", "Refer-To", "Referred-By", "Refer-Sub", "RSeq", "RAck", "Session-Expires", "Min-SE", "SIP-ETag", "SIP-If-Match",
	"Info-Package", "Recv-Info", "Flow-Timer", "Accept-Contact", "Reject-Contact", "Request-Disposition", "Reply-To", "In-Reply-To", "Encryption",
}

// reserved reports whether a header may never pass as it is.
func reserved(canonical string) bool {
	return slices.ContainsFunc(written, func(w string) bool { return strings.EqualFold(w, canonical) }) || corelink.IsPrivate(canonical) || strings.HasPrefix(canonical, "Content-")
}

// ruled reports whether a header has a rule of its own.
func ruled(canonical string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.name == canonical })
}

// droppable reports whether the configuration may keep a header from passing.
func droppable(canonical string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.name == canonical && !r.needed })
}

// rule is the row of the table that p stands for.
func (p Pass) rule() rule {
	r := rule{name: sipmsg.Canonical(p.Name), ways: anyWay, codes: allResponses, also: true, remake: p.remake, methods: []sip.RequestMethod{sip.INVITE}}
	if len(p.Methods) > 0 {
		r.methods = nil
		for _, m := range p.Methods {
			r.methods = append(r.methods, sip.RequestMethod(m))
		}
	}
	return r
}

// remake makes a value of the form that p says.
func (p Pass) remake(v string, _ sip.Message) (string, bool) {
	if len(v) > p.MaxLength {
		return "", false
	}
	switch p.Form {
	case formText:
		return v, v != "" && strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r >= 0x7f }) < 0
	case formAddress:
		return p.address(v)
	}
	word, _, _ := strings.Cut(v, ";")
	word = strings.TrimSpace(word)
	if p.Form == formNumber && strings.Trim(word, "0123456789") != "" || !isToken(word) {
		return "", false
	}
	for _, name := range p.Params {
		if value, ok := sipmsg.HeaderParam(v, name); ok && isToken(value) {
			word += ";" + strings.ToLower(name) + "=" + value
		}
	}
	return word, true
}

// address writes a URI anew. One that carries headers would put them into whatever is made of it, and does not pass.
func (p Pass) address(v string) (string, bool) {
	n, err := sipmsg.ParseNameAddr(v)
	if err != nil || len(n.URI.Headers) > 0 {
		return "", false
	}
	out := sipmsg.NameAddr{Display: sipmsg.CleanDisplayName(n.Display), URI: n.URI}
	for _, name := range p.Params {
		if value, ok := sipmsg.Param(n.Params, name); ok && isToken(value) {
			out.Params = append(out.Params, sip.HeaderKV{K: strings.ToLower(name), V: value})
		}
	}
	return out.String(), true
}

// Ruled reports whether a header has a rule of its own in this package's table, by its canonical name.
func Ruled(canonical string) bool { return ruled(canonical) }

// Open reports whether the configuration may make or change a header, by its canonical name.
func Open(canonical string) bool {
	return isToken(canonical) && !reserved(canonical) && (!ruled(canonical) || droppable(canonical))
}
