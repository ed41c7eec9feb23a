package registrar

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
)

// invite sends an INVITE for another number through Check, as the exchange does.
func (p *phone) invite(lines ...string) Result {
	p.Helper()
	req := p.request("INVITE", "sip:1002@example.com", lines...)
	p.credentials(req)
	r := p.auth.Check(p.Context(), req, p.origin, p.now)
	if r.OK() != (r.Response == nil) {
		p.Fatalf("number %q and response %v", r.Number, r.Response)
	}
	if r.Response != nil {
		p.check(r.Response)
		p.learn(r.Response)
	}
	return r
}

func code(r Result) int {
	if r.Response == nil {
		return 0
	}
	return int(r.Response.StatusCode)
}

func TestChallengeFollowsTheAccount(t *testing.T) {
	for number, want := range map[string]string{
		"1001": "SHA-256 MD5", "1002": "MD5", "1003": "SHA-256", "nobody": "SHA-256",
	} {
		p := newWorld(t).phone(number)
		for method, name := range map[string]string{"REGISTER": "WWW-Authenticate", "INVITE": "Proxy-Authenticate"} {
			r := p.auth.Check(t.Context(), p.request(method, "sip:example.com"), p.origin, p.now)
			var got []string
			for _, v := range sipmsg.Headers(r.Response, name) {
				c, err := digest.ParseChallenge(v)
				if err != nil || c.Realm != realm || !c.Auth || c.AuthInt || c.Stale {
					t.Errorf("%s: %s, %v", number, v, err)
				}
				got = append(got, string(c.Algorithm))
			}
			if strings.Join(got, " ") != want || r.OK() || r.Verdict.Outcome != corelink.OutcomeChallenge || r.Verdict.NonceKnown {
				t.Errorf("%s %s: %v, %+v; want %s", method, number, got, r.Verdict, want)
			}
			if want := map[string]int{"REGISTER": 401, "INVITE": 407}[method]; code(r) != want {
				t.Errorf("%s is answered with %d", method, code(r))
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name    string
		number  string
		change  func(*phone) // between challenge and answer
		code    int          // 0: let through
		outcome corelink.Outcome
		known   bool
	}{
		{"right", "1001", nil, 0, corelink.OutcomeOK, true},
		{"right with MD5", "1002", nil, 0, corelink.OutcomeOK, true},
		{"wrong password", "1001", func(p *phone) { p.password = "x" }, 407, corelink.OutcomeBadCredentials, true},
		{"unknown user", "1008", nil, 407, corelink.OutcomeUnknownUser, true},
		{"account without a secret", "1009", nil, 407, corelink.OutcomeBadCredentials, true},
		{"nonce of another flow, right", "1001", func(p *phone) { p.origin.Binding = "x" }, 407, corelink.OutcomeStale, false},
		{"nonce of another flow, wrong", "1001", func(p *phone) { p.origin.Binding, p.password = "x", "x" }, 407, corelink.OutcomeBadCredentials, false},
		{"invented nonce", "1001", func(p *phone) {
			p.challenges = []string{`Digest realm="example.com", nonce="x", algorithm=SHA-256, qop="auth"`}
		}, 407, corelink.OutcomeStale, false},
		{"old nonce, right", "1001", func(p *phone) { p.now = p.now.Add(6 * time.Minute) }, 407, corelink.OutcomeStale, false},
		{"old nonce, wrong", "1001", func(p *phone) { p.now = p.now.Add(6 * time.Minute); p.password = "x" }, 407, corelink.OutcomeBadCredentials, false},
		{"says it is another", "1001", func(p *phone) { p.from = "1002" }, 403, corelink.OutcomeRefused, true},
		{"another's name in credentials", "1001", func(p *phone) { p.user = "1002" }, 407, corelink.OutcomeBadCredentials, true},
		{"algorithm that is off", "1002", func(p *phone) {
			p.challenges[0] = strings.Replace(p.challenges[0], "MD5", "SHA-256", 1)
		}, 407, corelink.OutcomeBadCredentials, true},
		{"another realm", "1001", func(p *phone) {
			p.challenges = []string{`Digest realm="other", nonce="x", algorithm=SHA-256, qop="auth"`}
		}, 407, corelink.OutcomeChallenge, false},
		{"without qop", "1002", func(p *phone) { p.noQOP = true }, 407, corelink.OutcomeChallenge, true},
		{"without qop, wrong", "1002", func(p *phone) { p.noQOP, p.password = true, "x" }, 407, corelink.OutcomeBadCredentials, true},
		{"without qop, allowed", "1004", func(p *phone) { p.noQOP = true }, 0, corelink.OutcomeOK, true},
		{"secrets away", "1001", func(p *phone) { p.accounts.away = errAway }, 503, corelink.OutcomeNone, false},
		{"secrets away, unknown user", "1008", func(p *phone) { p.accounts.away = errAway }, 407, corelink.OutcomeUnknownUser, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newWorld(t).phone(tt.number)
			if r := p.invite(); code(r) != 407 || r.Verdict.Outcome != corelink.OutcomeChallenge {
				t.Fatalf("first answer %d, %+v", code(r), r.Verdict)
			}
			if tt.change != nil {
				tt.change(p)
			}
			r := p.invite()
			if code(r) != tt.code || r.Verdict.Outcome != tt.outcome || r.Verdict.NonceKnown != tt.known {
				t.Errorf("answer %d, %+v; want %d, %s, known %v", code(r), r.Verdict, tt.code, tt.outcome, tt.known)
			}
			if tt.code == 0 && (r.Number != tt.number || r.Verdict.AOR != tt.number+"@"+realm) {
				t.Errorf("it is %q, %+v", r.Number, r.Verdict)
			}
			if tt.outcome == corelink.OutcomeStale {
				if !strings.Contains(p.challenges[0], "stale=true") {
					t.Errorf("no stale in %s", p.challenges[0])
				}
				if r := p.invite(); !r.OK() {
					t.Errorf("the new nonce is refused: %d, %+v", code(r), r.Verdict)
				}
			}
		})
	}
}

func TestReplay(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.invite()
	req := p.request("INVITE", "sip:1002@example.com")
	p.credentials(req)
	if r := p.auth.Check(t.Context(), req, p.origin, p.now); !r.OK() {
		t.Fatalf("%d", code(r))
	}
	r := p.auth.Check(t.Context(), req, p.origin, p.now)
	if r.OK() || r.Verdict.Outcome != corelink.OutcomeStale || !strings.Contains(sipmsg.Headers(r.Response, "Proxy-Authenticate")[0], "stale=true") {
		t.Errorf("a replay: %+v", r)
	}
	if r := p.invite(); !r.OK() { // the next count of the same nonce
		t.Errorf("count 2: %d", code(r))
	}
	// What was made for one target does not serve another, nor another method.
	q := p.request("INVITE", "sip:1002@example.com")
	p.credentials(q)
	q.Recipient.User = "1003"
	if r := p.auth.Check(t.Context(), q, p.origin, p.now); code(r) != 400 || r.Verdict.Outcome != corelink.OutcomeRefused {
		t.Errorf("another target: %d, %+v", code(r), r.Verdict)
	}
	q = p.request("INVITE", "sip:1002@example.com")
	p.credentials(q)
	q.Method = sip.MESSAGE
	if r := p.auth.Check(t.Context(), q, p.origin, p.now); r.Verdict.Outcome != corelink.OutcomeBadCredentials {
		t.Errorf("another method: %+v", r.Verdict)
	}
	// Inside a dialog the target is a contact that is rewritten on the way.
	q = p.request("BYE", "sip:opaque@border.invalid", "To: <sip:1002@example.com>;tag=b")
	p.credentials(q)
	q.Recipient.Host = "10.0.0.9"
	if r := p.auth.Check(t.Context(), q, p.origin, p.now); !r.OK() {
		t.Errorf("in a dialog: %d, %+v", code(r), r.Verdict)
	}
}

func TestNoQOPWorksOnce(t *testing.T) {
	p := newWorld(t).phone("1004")
	p.noQOP = true
	p.invite()
	req := p.request("INVITE", "sip:1002@example.com")
	p.credentials(req)
	for i, want := range []corelink.Outcome{corelink.OutcomeOK, corelink.OutcomeStale} {
		if r := p.auth.Check(t.Context(), req, p.origin, p.now); r.Verdict.Outcome != want {
			t.Errorf("use %d: %+v", i+1, r.Verdict)
		}
	}
}

func TestBadRequests(t *testing.T) {
	p := newWorld(t).phone("1001")
	for _, tt := range []struct {
		line    string
		code    int
		outcome corelink.Outcome
	}{
		{`Proxy-Authorization: Digest username="1001`, 400, corelink.OutcomeNone},
		{`Proxy-Authorization: Digest x=y`, 400, corelink.OutcomeNone},
		{`Proxy-Authorization: Digest username="1001", realm="example.com", nonce="n", uri="sip:x", response="00000000000000000000000000000000", userhash=true`, 400, corelink.OutcomeNone},
		{`Proxy-Authorization: Digest username="1001", realm="example.com", nonce="n", uri="sip:x", response="00000000000000000000000000000000", qop=auth-int, nc=00000001, cnonce="c"`, 400, corelink.OutcomeNone},
		{`Proxy-Authorization: Basic MTAwMTp4`, 407, corelink.OutcomeChallenge},
		{`Authorization: Digest username="1001`, 407, corelink.OutcomeChallenge}, // not for us: INVITE is challenged as by a proxy
		{`From: <sip:1001@elsewhere.example>;tag=a`, 403, corelink.OutcomeRefused},
	} {
		r := p.auth.Check(t.Context(), p.request("INVITE", "sip:1002@example.com", tt.line), p.origin, p.now)
		if code(r) != tt.code || r.Verdict.Outcome != tt.outcome {
			t.Errorf("%.60s: %d, %+v; want %d, %q", tt.line, code(r), r.Verdict, tt.code, tt.outcome)
		}
	}
	req := p.request("INVITE", "sip:1002@example.com")
	sipmsg.Remove(req, "From")
	if r := p.auth.Check(t.Context(), req, p.origin, p.now); code(r) != 400 {
		t.Errorf("without From: %d", code(r))
	}
}

// An unknown user, a wrong password and an account without a secret get answers of the same form, byte for byte but for the
// random parts, and the store of secrets is not asked for strangers' names.
func TestNoEnumeration(t *testing.T) {
	form := func(number, pw string) string {
		p := newWorld(t).phone(number)
		p.password = pw
		var out strings.Builder
		for range 3 {
			res, _ := p.send("Contact: <sip:x@10.0.0.1>")
			s := string(sipmsg.Bytes(res))
			for _, c := range p.challenges {
				ch, err := digest.ParseChallenge(c)
				if err != nil {
					t.Fatal(err)
				}
				s = strings.ReplaceAll(s, ch.Nonce, strings.Repeat("N", len(ch.Nonce)))
			}
			tag, _ := sipmsg.Param(res.To().Params, "tag")
			s = strings.ReplaceAll(s, tag, strings.Repeat("T", len(tag)))
			s = strings.ReplaceAll(s, number, "NUMBER")
			fmt.Fprintln(&out, s)
		}
		return out.String()
	}
	known := form("1003", "wrong")
	if unknown := form("2003", "wrong"); unknown != known {
		t.Errorf("known:\n%s\nunknown:\n%s", known, unknown)
	}
	if lost := form("1009", "wrong"); lost != known {
		t.Errorf("known:\n%s\nwithout a secret:\n%s", known, lost)
	}
	w := newWorld(t)
	for i := range 5 {
		p := w.phone(fmt.Sprint(3000 + i))
		p.send()
		p.send()
	}
	if w.accounts.asked != 0 {
		t.Errorf("the secret store was asked %d times for names of nobody", w.accounts.asked)
	}
}

// Names of nobody are challenged like real accounts: each always the same, all orders occur, and a new order changes few.
func TestDecoys(t *testing.T) {
	w := newWorld(t)
	asked := 0
	orders := [][]digest.Algorithm{{digest.MD5}, {digest.SHA256, digest.MD5}, {digest.MD5}}
	w.auth.decoys = decoys{key: []byte("key"), source: func() [][]digest.Algorithm { asked++; return orders }}
	before, seen := map[string]string{}, map[string]int{}
	for i := range 60 {
		name := fmt.Sprint(5000 + i)
		before[name] = fmt.Sprint(w.auth.order(name, epoch))
		if again := fmt.Sprint(w.auth.order(name, epoch.Add(time.Second))); again != before[name] {
			t.Errorf("%s: %s, then %s", name, before[name], again)
		}
		seen[before[name]]++
	}
	if len(seen) != 2 || seen["[MD5]"] < 15 || seen["[SHA-256 MD5]"] < 15 {
		t.Errorf("orders: %v", seen)
	}
	if asked != 1 {
		t.Errorf("strangers had all accounts read %d times", asked)
	}
	orders = append(orders, []digest.Algorithm{digest.SHA256})
	fresh := 0
	for name, was := range before {
		switch now := fmt.Sprint(w.auth.order(name, epoch.Add(2*time.Minute))); {
		case now == "[SHA-256]":
			fresh++
		case now != was:
			t.Errorf("%s: %s, then %s", name, was, now)
		}
	}
	if fresh < 8 || asked != 2 {
		t.Errorf("%d names have the new order, %d times asked", fresh, asked)
	}
	orders = nil
	if got := fmt.Sprint(w.auth.order("x", epoch.Add(time.Hour))); got != "[SHA-256]" {
		t.Errorf("without accounts: %s", got)
	}
	if got := fmt.Sprint(w.auth.order("1002", epoch)); got != "[MD5]" {
		t.Errorf("a real account: %s", got)
	}
}

func TestAuthConfig(t *testing.T) {
	good := AuthConfig{Realm: "r", Domains: []string{"d"}, Algorithms: []digest.Algorithm{digest.MD5}}
	for i, change := range []func(*AuthConfig){
		func(c *AuthConfig) { c.Realm = "" }, func(c *AuthConfig) { c.Domains = nil },
		func(c *AuthConfig) { c.Algorithms = nil }, func(c *AuthConfig) { c.Algorithms = []digest.Algorithm{"SHA-1"} },
	} {
		c := good
		change(&c)
		if _, err := NewAuthenticator(c, nil, nil); err == nil {
			t.Errorf("configuration %d is taken", i)
		}
	}
	a, err := NewAuthenticator(good, nil, nil)
	if err != nil || !a.Serves("D") || a.Serves("e") {
		t.Errorf("%v", err)
	}
}
