package rules

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
)

// sets are rules with all that they can do, both ways, for a carrier that is trusted and for one that is not.
func sets(t testing.TB) []*Set {
	dir := `{numbers: {country: "49", bare: national, user_phone: true}, identity: {own: ["+4930"], number: "+49301", assert: p-asserted-identity}, redirection: both, changes: [
  {number: request, match: "^(.*)5(.*)$", replace: "$2$1"}, {number: from, match: "(.)", replace: "$1$1"}, {number: diversion, match: "6", replace: ";"},
  {number: history-info, match: "7", replace: ">"}, {number: p-asserted-identity, match: "8", replace: "\"<"}, {header: X-A, match: "^(.)(.*)$", replace: "$2<$1"},
  {header: Diversion, match: "(reason)", replace: "$1;$1"}, {header: X-B, add: "$1"}, {header: Subject, set: "a"}, {header: Reason, match: ".", drop: true}]}`
	var out []*Set
	for _, trusted := range []string{"true", "false"} {
		c, err := parsed("trusted: " + trusted + "\nin: " + dir + "\nout: " + dir + "\n")
		if err != nil {
			t.Fatal(err)
		}
		for _, inward := range []bool{true, false} {
			s, err := New(c, inward)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
	}
	return out
}

// FuzzApply takes any INVITE through rules: nothing panics, the message that came stays what it was, and what is made reads back
// strictly, as what it was made to be.
func FuzzApply(f *testing.F) {
	for _, s := range []string{
		"From: \"B\" <sip:0305@a.b>;tag=1\r\nTo: <tel:+49-30>\r\nP-Asserted-Identity: <tel:+49(30)8>, <sip:8@a>\r\nPrivacy: id",
		"From: <sip:a%40b@c>;tag=1\r\nTo: <sip:x@y>\r\nDiversion: \"a\\\"b\" <sip:6@a?Privacy=x>;reason=reason;counter=9",
		"From: sip:7@a;tag=1\r\nTo: sip:a\r\nHistory-Info: <sip:7@a;cause=302?Reason=SIP%3Bcause=1>;index=1;mp=1, <sip:x@y>;index=1.1\r\nX-A: <b\r\nSubject: s",
		"From: <sip:+@a>;tag=1\r\nTo: <sip:00@a>\r\nRemote-Party-ID: x\r\nReason: SIP;cause=200\r\nX-B: b",
	} {
		f.Add("sip:0305@a.b;user=phone", s)
	}
	all := sets(f)
	f.Fuzz(func(t *testing.T, uri, headers string) {
		data := "INVITE " + uri + " SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n" + headers + "\r\n\r\n"
		msg, err := sipmsg.Parse([]byte(data))
		if err != nil {
			return
		}
		req, ok := msg.(*sip.Request)
		if !ok || !sipmsg.Screen(req, sipmsg.DefaultLimits()).OK() && (req.From() == nil || req.To() == nil || req.Via() == nil) {
			return
		}
		before := sipmsg.Bytes(req)
		for _, s := range all {
			res, err := s.Apply(req, hosts, true)
			if err == nil {
				checkMade(t, s, res)
			}
		}
		if !bytes.Equal(before, sipmsg.Bytes(req)) {
			t.Fatalf("the message itself was changed: %q", data)
		}
	})
}

func checkMade(t *testing.T, s *Set, res Result) {
	out := sip.NewRequest(sip.INVITE, res.Request.Recipient)
	for _, h := range []sip.Header{res.Request.From(), res.Request.To(), res.Request.Via(), res.Request.CallID(), res.Request.CSeq()} {
		out.AppendHeader(sip.HeaderClone(h))
	}
	for _, h := range res.Headers {
		out.AppendHeader(sip.HeaderClone(h))
	}
	data := sipmsg.Bytes(out)
	msg, err := sipmsg.Parse(data)
	if err != nil {
		t.Fatalf("what was made can't be read: %v\n%q", err, data)
	}
	back := msg.(*sip.Request)
	if again := sipmsg.Bytes(back); !bytes.Equal(again, data) {
		t.Fatalf("what was made reads otherwise:\n%q\n%q", data, again)
	}
	for name, u := range map[string]sip.Uri{"request": back.Recipient, "From": back.From().Address, "To": back.To().Address} {
		if _, err := topology.User(u); err != nil || u.Host != hosts.Called && u.Host != hosts.Caller && u.Host != anonymousHost {
			t.Fatalf("%s is %v: %v", name, u.String(), err)
		}
	}
	if len(back.Headers()) > len(out.Headers())+1 || strings.Count(string(data), "\r\n") > 64 {
		t.Fatalf("headers came from nowhere:\n%q", data)
	}
	if _, told := sipmsg.Header(back, "P-Asserted-Identity"); told && !s.inward && !s.trusted && back.From().Address.Host == anonymousHost && !changedSender(res) {
		t.Fatalf("an anonymous caller is named:\n%q", data)
	}
}

// changedSender reports whether a change, and not the caller, made the sender anonymous.
func changedSender(res Result) bool {
	for _, s := range res.Steps {
		if s.Field == "From" && strings.HasPrefix(s.Rule, "changes") {
			return true
		}
	}
	return false
}
