package rules

import (
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
)

// diverted is one diversion of a call: by whom, why, and whether others may know.
type diverted struct {
	display string
	user    string
	reason  string // as Diversion has it (RFC 5806 §4)
	counter int    // how often; 0: once
	private bool
}

// causes are the reasons of Diversion as the causes of History-Info have them (RFC 4458 §2, RFC 7544 §3.3).
var causes = []struct{ reason, cause string }{
	{"unconditional", "302"}, {"user-busy", "486"}, {"no-answer", "408"}, {"deflection", "480"}, {"deflection", "487"},
	{"unavailable", "503"}, {"unknown", "404"},
}

// redirection writes who diverted the call in the form of the other side.
func (s *Set) redirection(v *view) {
	way := s.dir.Redirection
	had := func(name string) bool { return len(v.values(name)) > 0 }
	diversion, history := way == "diversion" || way == "both", way == "history-info" || way == "both"
	if way == "keep" {
		diversion, history = had("Diversion"), had("History-Info")
	}
	list := readDiversion(v.values("Diversion"))
	if len(list) == 0 {
		list = readHistory(v.values("History-Info"))
	}
	v.remove("Diversion")
	v.remove("History-Info")
	hide := !s.inward && !s.trusted
	if diversion && len(list) > 0 {
		v.set("Diversion", writeDiversion(list, v.Called, hide))
	}
	if history && len(list) > 0 {
		v.set("History-Info", writeHistory(list, v.req.Recipient.User, v.Called, hide))
	}
}

// readDiversion reads the values of Diversion: the last diversion comes first (RFC 5806 §4).
func readDiversion(values []string) []diverted {
	var out []diverted
	for _, value := range values {
		n, err := sipmsg.ParseNameAddr(value)
		if err != nil {
			continue
		}
		d := diverted{display: n.Display, user: user(&n.URI), reason: "unknown"}
		if reason, ok := sipmsg.Param(n.Params, "reason"); ok && known(reason) {
			d.reason = strings.ToLower(reason)
		}
		privacy, _ := sipmsg.Param(n.Params, "privacy")
		d.private = strings.EqualFold(privacy, "full") || strings.EqualFold(privacy, "uri")
		if count, ok := sipmsg.Param(n.Params, "counter"); ok {
			if c, err := strconv.Atoi(count); err == nil && c > 1 && c < 100 {
				d.counter = c
			}
		}
		out = append(out, d)
	}
	return out
}

// known reports whether a reason is one of RFC 5806 §4.
func known(reason string) bool {
	return slices.Contains([]string{"unknown", "user-busy", "no-answer", "unavailable", "unconditional", "time-of-day", "do-not-disturb", "deflection", "follow-me", "out-of-service", "away"}, strings.ToLower(reason))
}

// readHistory finds the diversions in the values of History-Info, which are in the order of time: an entry with a cause was
// made because the one before it (or that mp or rc names) diverted (RFC 7544 §3.2).
func readHistory(values []string) []diverted {
	type entry struct {
		n     sipmsg.NameAddr
		index string
	}
	var entries []entry
	for _, value := range values {
		if n, err := sipmsg.ParseNameAddr(value); err == nil {
			index, _ := sipmsg.Param(n.Params, "index")
			entries = append(entries, entry{n, index})
		}
	}
	var out []diverted
	for i, e := range entries {
		cause, ok := sipmsg.Param(e.n.URI.UriParams, "cause")
		if !ok || i == 0 {
			continue
		}
		by := entries[i-1]
		for _, name := range []string{"mp", "rc"} {
			at, _ := sipmsg.Param(e.n.Params, name)
			if j := slices.IndexFunc(entries[:i], func(x entry) bool { return x.index == at && at != "" }); j >= 0 {
				by = entries[j]
				break
			}
		}
		d := diverted{display: by.n.Display, user: user(&by.n.URI), reason: "unknown"}
		for _, c := range causes {
			if c.cause == cause {
				d.reason = c.reason
			}
		}
		privacy, _ := sipmsg.Param(by.n.URI.Headers, "Privacy")
		d.private = privacy != "" && !strings.EqualFold(privacy, "none") || by.n.URI.Host == anonymousHost
		out = append(out, d)
	}
	slices.Reverse(out)
	return out
}

func (d *diverted) uri(host string, hide bool) (string, sip.Uri) {
	if d.private && hide {
		return "", address(topology.Anonymous, anonymousHost)
	}
	return d.display, address(d.user, host)
}

func writeDiversion(list []diverted, host string, hide bool) []string {
	var out []string
	for _, d := range list {
		display, uri := d.uri(host, hide)
		n := sipmsg.NameAddr{Display: display, URI: uri, Params: sip.HeaderParams{{K: "reason", V: d.reason}}}
		if d.counter > 1 {
			n.Params = append(n.Params, sip.HeaderKV{K: "counter", V: strconv.Itoa(d.counter)})
		}
		if d.private {
			n.Params = append(n.Params, sip.HeaderKV{K: "privacy", V: "full"})
		}
		out = append(out, n.String())
	}
	return out
}

// writeHistory writes the entries in the order of time, the one that is called now last (RFC 7544 §3.3).
func writeHistory(list []diverted, called, host string, hide bool) []string {
	var out []string
	index, cause := "1", ""
	entry := func(display string, uri sip.Uri, private bool) {
		params := sip.HeaderParams{{K: "index", V: index}}
		if cause != "" {
			uri.UriParams = append(uri.UriParams, sip.HeaderKV{K: "cause", V: cause})
			params = append(params, sip.HeaderKV{K: "mp", V: index[:len(index)-2]})
		}
		if private && !hide {
			uri.Headers = sip.HeaderParams{{K: "Privacy", V: "history"}} // RFC 7044 §10.1.2
		}
		out = append(out, sipmsg.NameAddr{Display: display, URI: uri, Params: params}.String())
		index += ".1"
	}
	for _, d := range slices.Backward(list) {
		display, uri := d.uri(host, hide)
		entry(display, uri, d.private)
		cause = "404"
		for _, c := range causes {
			if c.reason == d.reason {
				cause = c.cause
				break
			}
		}
	}
	entry("", address(called, host), false)
	return out
}
