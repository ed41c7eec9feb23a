package sanitize

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// agent is a name by which a scanner calls itself in User-Agent.
type agent struct {
	name   string // lower case
	inside bool   // it may stand anywhere, being no word that a phone's name holds; else User-Agent begins with it, as a word
}

// agents are scanners and the tools that bots are made of. Most can be told to use another name, and an administrator may have
// reason to use some: their names are a hint.
var agents = []agent{
	{"friendly-scanner", true}, {"sipvicious", true}, {"sundayddr", true}, {"sip-scan", true}, {"sipscan", true},
	{"vaxsipuseragent", true}, {"siparmyknife", true}, {"sipcli", false}, {"sipsak", false}, {"sippts", false},
	{"pplsip", false}, {"iwar", false}, {"smap", false}, {"sivus", false},
}

// Signatures of scanners that show in an address and not in User-Agent.
const (
	signatureAddress = "address-1.1.1.1" // SIPVicious writes From and To as "sipvicious" <sip:100@1.1.1.1>
	signatureProbe   = "nmap-probe"      // nmap's: From <sip:nm@nm>, To <sip:nm2@nm2>
)

// Bounds of what is looked at.
const (
	maxAgent    = 128 // bytes of User-Agent
	maxContacts = 8
)

// Scanner reports whether a request looks like that of a known scanner, and by which signature. It is a hint to be weighed and
// never a reason to refuse: names are easily forged, in either direction. The request need not be well formed.
func Scanner(req *sip.Request) (signature string, ok bool) {
	if v, there := sipmsg.Header(req, "User-Agent"); there {
		if signature, ok = scannerAgent(v); ok {
			return signature, true
		}
	}
	if from := req.From(); from != nil {
		if signature, ok = scannerAddress(from.DisplayName, &from.Address); ok {
			return signature, true
		}
	}
	if to := req.To(); to != nil {
		if signature, ok = scannerAddress(to.DisplayName, &to.Address); ok {
			return signature, true
		}
	}
	for i, h := range req.GetHeaders("Contact") {
		if i == maxContacts {
			break
		}
		if c, typed := h.(*sip.ContactHeader); typed {
			if signature, ok = scannerAddress(c.DisplayName, &c.Address); ok {
				return signature, true
			}
		}
	}
	return "", false
}

// scannerAgent looks for a scanner's name in the value of User-Agent.
func scannerAgent(value string) (signature string, ok bool) {
	value = strings.ToLower(strings.TrimLeft(value[:min(len(value), maxAgent)], " \t\""))
	for _, a := range agents {
		rest, begins := strings.CutPrefix(value, a.name)
		if begins && !continuesWord(rest) || a.inside && strings.Contains(value, a.name) {
			return a.name, true
		}
	}
	return "", false
}

// continuesWord reports whether s goes on with the word before it.
func continuesWord(s string) bool {
	return s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= '0' && s[0] <= '9')
}

// scannerAddress looks at a name and a URI as scanners write them.
func scannerAddress(display string, u *sip.Uri) (signature string, ok bool) {
	switch {
	case u.Host == "1.1.1.1":
		return signatureAddress, true
	case u.User == "nm" && u.Host == "nm", u.User == "nm2" && u.Host == "nm2":
		return signatureProbe, true
	case len(display) <= maxAgent && strings.Contains(strings.ToLower(display), "sipvicious"):
		return "sipvicious", true
	}
	return "", false
}
