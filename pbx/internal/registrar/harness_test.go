package registrar

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/corelink"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/state/memlog"
)

const (
	realm    = "example.com"
	password = "correct horse battery staple"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// accounts are the extensions of the store; all have the same password, but for those in none.
type accounts struct {
	*store.Store
	away  error
	asked int
}

func (a *accounts) HA1(_ context.Context, number string, alg digest.Algorithm) (string, bool, error) {
	a.asked++
	if a.away != nil {
		return "", false, a.away
	}
	if number == "1009" { // an account whose secret was lost
		return "", false, nil
	}
	return digest.HA1(alg, number, realm, password), true, nil
}

type world struct {
	testing.TB
	store    *store.Store
	log      *memlog.Log
	accounts *accounts
	auth     *Authenticator
	reg      *Registrar
	now      time.Time
	cseq     int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	log, err := memlog.NewDisk().Open("solo", store.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), log, store.Options{Flush: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, e := range []*store.Extension{
		{Number: "1001", Algorithms: []digest.Algorithm{digest.SHA256, digest.MD5}},
		{Number: "1002", Algorithms: []digest.Algorithm{digest.MD5}},
		{Number: "1003"},
		{Number: "1004", Algorithms: []digest.Algorithm{digest.MD5}, LegacyDigest: true},
		{Number: "1009"},
	} {
		if _, err := s.PutExtension(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{TB: t, store: s, log: log, accounts: &accounts{Store: s}, now: epoch}
	nonces, err := digest.NewNonces(digest.NonceConfig{Key: make([]byte, 32), Life: 5 * time.Minute, Max: 1000, Rand: rand.Reader}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	w.auth, err = NewAuthenticator(AuthConfig{
		Realm: realm, Domains: []string{realm, "pbx.example.com"}, Algorithms: []digest.Algorithm{digest.SHA256},
	}, w.accounts, nonces)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.MaxContacts = 3
	if w.reg, err = New(cfg, w.auth, s); err != nil {
		t.Fatal(err)
	}
	return w
}

// phone is a user agent's side of registrations.
type phone struct {
	*world
	number, password string
	user             string // in the credentials; empty: number
	from             string // user in From; empty: number
	callID           string
	origin           Origin
	challenges       []string
	nc               uint32
	noQOP            bool
}

func (w *world) phone(number string) *phone {
	return &phone{
		world: w, number: number, password: password, callID: "call-" + number,
		origin: Origin{Binding: "flow-" + number, Network: "udp", Interface: "voice", Remote: netip.MustParseAddrPort("10.0.0.1:5060"), FlowID: "f"},
	}
}

// request builds a request from its own lines; what a line gives is not given twice.
func (p *phone) request(method, uri string, lines ...string) *sip.Request {
	p.Helper()
	p.cseq++
	from := p.from
	if from == "" {
		from = p.number
	}
	head := []string{
		method + " " + uri + " SIP/2.0",
		"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK" + fmt.Sprint(p.cseq),
		"Max-Forwards: 70",
		"From: <sip:" + from + "@example.com>;tag=a",
		"To: <sip:" + p.number + "@example.com>",
		"Call-ID: " + p.callID,
		fmt.Sprintf("CSeq: %d %s", p.cseq, method),
		"Content-Length: 0",
	}
	for _, l := range lines {
		name, _, _ := strings.Cut(l, ":")
		replaced := false
		for i, h := range head {
			if i > 0 && strings.HasPrefix(h, name+":") && name != "Contact" {
				head[i], replaced = l, true
			}
		}
		if !replaced {
			head = append(head, l)
		}
	}
	msg, err := sipmsg.Parse([]byte(strings.Join(head, "\r\n") + "\r\n\r\n"))
	if err != nil {
		p.Fatalf("request: %v\n%s", err, strings.Join(head, "\n"))
	}
	return msg.(*sip.Request)
}

// credentials adds an answer to the last challenge.
func (p *phone) credentials(req *sip.Request) {
	p.Helper()
	if len(p.challenges) == 0 {
		return
	}
	user := p.user
	if user == "" {
		user = p.number
	}
	challenges := p.challenges
	if p.noQOP {
		challenges = []string{strings.Replace(challenges[0], `, qop="auth"`, "", 1)}
	}
	p.nc++
	uri := strings.Trim(sipmsg.NameAddr{URI: req.Recipient}.String(), "<>")
	v, _, err := digest.Answer(challenges, digest.Password(user, p.password), digest.Asked{
		Username: user, Method: string(req.Method), URI: uri, Cnonce: "c", NC: p.nc,
	})
	if err != nil {
		p.Fatal(err)
	}
	name := "Proxy-Authorization"
	if req.Method == sip.REGISTER {
		name = "Authorization"
	}
	if err := sipmsg.Set(req, name, v); err != nil {
		p.Fatal(err)
	}
}

func (p *phone) learn(res *sip.Response) {
	name := "Proxy-Authenticate"
	if res.StatusCode == 401 {
		name = "WWW-Authenticate"
	}
	if c := sipmsg.Headers(res, name); len(c) > 0 {
		p.challenges, p.nc = c, 0
	}
}

// send sends one REGISTER.
func (p *phone) send(lines ...string) (*sip.Response, corelink.Verdict) {
	p.Helper()
	req := p.request("REGISTER", "sip:example.com", lines...)
	p.credentials(req)
	res, v := p.reg.Register(p.Context(), req, p.origin, p.now)
	p.check(res)
	p.learn(res)
	return res, v
}

// register registers as a phone does: once more when it is challenged.
func (p *phone) register(lines ...string) *sip.Response {
	p.Helper()
	res, _ := p.send(lines...)
	if res.StatusCode == 401 {
		res, _ = p.send(lines...)
	}
	return res
}

// check makes sure that a response can be written and read.
func (p *phone) check(res *sip.Response) {
	p.Helper()
	b := sipmsg.Bytes(res)
	if v := sipmsg.ScreenRaw(b, true, sipmsg.DefaultLimits()); !v.OK() {
		p.Fatalf("response is %s:\n%s", v, b)
	}
	if _, err := sipmsg.Parse(b); err != nil {
		p.Fatalf("response can't be read: %v\n%s", err, b)
	}
	if bytes.Contains(b, []byte("Server:")) {
		p.Error("the response names its software")
	}
}

// contacts are the bindings that a 200 tells.
func contacts(res *sip.Response) string {
	return strings.Join(sipmsg.Headers(res, "Contact"), " ")
}

func (p *phone) want(res *sip.Response, code int, bound string) {
	p.Helper()
	if int(res.StatusCode) != code {
		p.Fatalf("answer is %d, want %d:\n%s", res.StatusCode, code, sipmsg.Bytes(res))
	}
	if got := contacts(res); code == 200 && got != bound {
		p.Fatalf("bound: %s\nwant:  %s", got, bound)
	}
}

var errAway = errors.New("store is away")
