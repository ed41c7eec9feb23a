package sanitize

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// configured reads the messages of a realm as a file has them.
func configured(t *testing.T, realm, text string) *Realm {
	t.Helper()
	m, err := messages(realm, text)
	if err != nil {
		t.Fatalf("%s:\n%v", text, err)
	}
	return NewRealm(realm, m)
}

func messages(realm, text string) (Messages, error) {
	m := DefaultMessages()
	f, err := conffile.Parse("f", []byte(text), &m)
	if err != nil {
		return m, err
	}
	if fs := m.Check("", realm); len(fs) > 0 {
		for i := range fs {
			fs[i].Key = strings.TrimPrefix(fs[i].Key, ".")
			fs[i].Line = f.Line(fs[i].Key)
		}
		return m, conffile.Faults(fs)
	}
	return m, nil
}

func TestMethodsOfARealm(t *testing.T) {
	r := configured(t, "access", "methods: [BYE, CANCEL, ACK, INVITE]")
	if r.Allow() != "INVITE, ACK, CANCEL, BYE" {
		t.Errorf("Allow: %s", r.Allow())
	}
	if v := r.Message(request(t, "INFO", "", "")); v != verdict.Rejected(405, verdict.MethodNotAllowed) {
		t.Errorf("INFO: %v", v)
	}
	if v := r.Message(request(t, "INVITE", "", "")); !v.OK() {
		t.Errorf("INVITE: %v", v)
	}
	if res := r.Refusal(request(t, "INFO", "", ""), verdict.Rejected(405, verdict.MethodNotAllowed)); res.GetHeader("Allow").Value() != r.Allow() {
		t.Errorf("the refusal says %v", res.GetHeader("Allow"))
	}
}

const passing = `
pass_headers:
  - {name: x-account, max_length: 12, params: [Kind]}
  - {name: X-Line, form: number, way: in}
  - {name: Alert-Info, form: address, way: out, params: [info]}
  - {name: X-Note, form: text, methods: [BYE]}
drop_headers: [reason]
`

func TestConfiguredHeaders(t *testing.T) {
	r := configured(t, "access", passing)
	for _, c := range []struct{ start, header, in, out string }{
		{"INVITE", "X-Account: a-1", "X-Account: a-1", "X-Account: a-1"},
		{"200 INVITE", "X-Account: a-1", "X-Account: a-1", "X-Account: a-1"},
		{"INVITE", "X-ACCOUNT: a;kind=b;c=d", "X-Account: a;kind=b", "X-Account: a;kind=b"},
		{"INVITE", "X-Account: a-123456789012", "", ""},
		{"INVITE", "X-Account: a b", "", ""},
		{"BYE", "X-Account: a-1", "", ""},
		{"INVITE", "X-Line: 4", "X-Line: 4", ""},
		{"INVITE", "X-Line: 4a", "", ""},
		{"INVITE", "X-Line: -4", "", ""},
		{"INVITE", `Alert-Info: <http://a.b/c>;info="x";y=z`, "", "Alert-Info: <http://a.b/c>;info=x"},
		{"INVITE", "Alert-Info: <sip:a@b.c?Route=d>", "", ""},
		{"INVITE", "Alert-Info: nothing", "", ""},
		{"BYE", "X-Note: some, words", "X-Note: some, words", "X-Note: some, words"},
		{"BYE", "X-Note: \xc3\xa9", "", ""},
		{"INVITE", "X-Note: some", "", ""},
		{"BYE", "Reason: SIP;cause=200", "", ""},
		{"INVITE", "X-Other: 1", "", ""},
	} {
		for _, way := range []struct {
			pass func(dst, src sip.Message)
			want string
		}{{r.In, c.in}, {r.Out, c.out}} {
			dst := sip.NewResponse(200, "OK")
			way.pass(dst, crossing(t, c.start, c.header+"\r\n", ""))
			if got := only(dst); got != way.want {
				t.Errorf("%s, %s: %q, want %q", c.start, c.header, got, way.want)
			}
		}
	}
}

func TestLimitsOfARealm(t *testing.T) {
	r := configured(t, "peer", "limits: {vias: 2, routes: 1, sdp_lines: 8, sdp_media: 1, sdp_attributes: 8, body: 300, uri: 30, headers: 12, line: 200, datagram: 1000}")
	for name, c := range map[string]struct{ extra, body, want string }{
		"fine":        {"", "", "pass"},
		"Via":         {strings.Repeat("v: SIP/2.0/UDP a.b;branch=z9hG4bKa\r\n", 2), "", "reject 400: too-many-headers"},
		"one line":    {"v: SIP/2.0/UDP a.b;branch=z9hG4bKa, SIP/2.0/UDP a.b;branch=z9hG4bKa\r\n", "", "reject 400: too-many-headers"},
		"Route":       {"Route: <sip:a.b;lr>,<sip:a.b;lr>\r\n", "", "reject 400: too-many-headers"},
		"headers":     {strings.Repeat("X-A: 1\r\n", 12), "", "reject 400: too-many-headers"},
		"line":        {"X-A: " + strings.Repeat("x", 200) + "\r\n", "", "reject 400: header-too-long"},
		"datagram":    {sdpType, strings.Repeat("x", 1000), "reject 513: oversize"},
		"body":        {sdpType, strings.Repeat("x", 301), "reject 413: oversize"},
		"lines":       {sdpType, strings.Repeat("v=0\r\n", 9), "reject 413: body-limits"},
		"media":       {sdpType, strings.Repeat("m=audio 0 RTP/AVP 0\r\n", 2), "reject 413: body-limits"},
		"attributes":  {sdpType, strings.Repeat("a=x\n", 9), "reject 413: body-limits"},
		"at the most": {sdpType, strings.Repeat("a=x\n", 8), "pass"},
	} {
		if v := r.judge(t, c.extra, c.body); v.String() != c.want {
			t.Errorf("%s: %v, want %s", name, v, c.want)
		}
	}
	res := answer(t, 200, "INVITE", sdpType, strings.Repeat("a=x\r\n", 9))
	if v := r.Message(res); v != verdict.Dropped(verdict.BodyLimits) {
		t.Errorf("response: %v", v)
	}
}

// judge takes an INVITE through both screens.
func (r *Realm) judge(t *testing.T, extra, body string) verdict.Verdict {
	t.Helper()
	text := invite(extra, body)
	if v := r.Raw([]byte(text), true); !v.OK() {
		return v
	}
	return r.Message(mustParse(t, text))
}

func TestMessagesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"methods: [INVITE, BYE, ACK]":                          "methods: has INVITE without CANCEL",
		"methods: [invite]":                                    `methods[0]: "invite" is not served`,
		"drop_headers: [Via]":                                  `drop_headers[0]: "Via" can't be dropped`,
		"drop_headers: [Authorization]":                        "can't be dropped",
		"pass_headers: [{name: Route}]":                        "Route never passes as it is",
		"pass_headers: [{name: p-asserted-identity}]":          "P-Asserted-Identity never passes",
		"pass_headers: [{name: Brickhouse-X}]":                 "Brickhouse-X never passes",
		"pass_headers: [{name: content-x}]":                    "never passes",
		"pass_headers: [{name: r}]":                            "Refer-To never passes",
		"pass_headers: [{name: Proxy-Authorization}]":          "passes already",
		"pass_headers: [{name: 'a b'}]":                        "is no name of a header",
		"pass_headers: [{name: X-A}, {name: x-a}]":             "stands twice",
		"pass_headers: [{name: X-A, form: word}]":              "use one of token",
		"pass_headers: [{name: X-A, max_length: 5000}]":        "from 1 to 1024",
		"pass_headers: [{name: X-A, form: text, params: [a]}]": "can't pass here",
		"pass_headers: [{name: X-A, methods: [SING]}]":         "is not served",
		"limits: {vias: 0}":                                    "limits.vias: 0 is not from 1 to 256",
		"limits: {sdp_lines: 10000}":                           "is not from 8 to 512",
	} {
		_, err := messages("access", text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// No outlaw can be let through, however it is spelled.
func TestReservedHeadersCannotPass(t *testing.T) {
	for _, name := range written {
		if _, err := messages("access", "pass_headers: [{name: '"+strings.ToUpper(name)+"'}]"); err == nil {
			t.Errorf("%s may pass", name)
		}
	}
}
