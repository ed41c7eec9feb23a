package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/corelink"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
)

// Origin is where a request came from.
type Origin struct {
	Binding   string         // what its nonces are bound to: the flow's name, or what the border put into Brickhouse-Flow
	Outside   bool           // through the border
	Interface string         //
	Network   string         // "udp", "tcp", "tls"
	Remote    netip.AddrPort // who sent it to us: the phone, or the border
	FlowID    string         // to send requests back to it
}

// Accounts is what the authenticator must know about accounts.
type Accounts interface {
	// HA1 returns the stored hash, and false when the account has none for that algorithm. It should answer from
	// memory: how long it takes can be seen from outside. The error is that of a secret store that is away.
	HA1(ctx context.Context, number string, alg digest.Algorithm) (string, bool, error)
	// Extension returns the account of that number.
	Extension(number string) (*store.Extension, bool)
}

// AuthConfig is how requests are authenticated.
type AuthConfig struct {
	Realm      string                               // of the digest: what the HA1s were made with
	Domains    []string                             // host parts that are ours, in From and in a REGISTER
	Algorithms []digest.Algorithm                   // for accounts that name none; at least one
	Decoys     func() (orders [][]digest.Algorithm) // orders of all accounts, for names that are none; asked once a minute. nil: Algorithms
	DecoyKey   []byte                               // secret that chooses among Decoys; keep it over restarts
	Log        *slog.Logger                         // nil: silent
}

// Authenticator finds out who sent a request. All methods may be called from any goroutine.
type Authenticator struct {
	cfg      AuthConfig
	accounts Accounts
	nonces   *digest.Nonces
	decoys   decoys
}

var errAuthConfig = errors.New("authentication")

// NewAuthenticator returns an Authenticator. The error names what the configuration lacks.
func NewAuthenticator(cfg AuthConfig, accounts Accounts, nonces *digest.Nonces) (*Authenticator, error) {
	if cfg.Realm == "" || len(cfg.Domains) == 0 || len(cfg.Algorithms) == 0 {
		return nil, fmt.Errorf("%w: realm, domains and algorithms must not be empty", errAuthConfig)
	}
	for _, a := range cfg.Algorithms {
		if a.HexLen() == 0 {
			return nil, fmt.Errorf("%w: unknown algorithm %q", errAuthConfig, a)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Authenticator{
		cfg: cfg, accounts: accounts, nonces: nonces, decoys: decoys{source: cfg.Decoys, key: cfg.DecoyKey},
	}, nil
}

// Result is what was found out about the sender of a request.
type Result struct {
	Number   string           // who it is; empty unless OK
	Response *sip.Response    // the answer, unless OK
	Verdict  corelink.Verdict // for the border; its Outcome is OutcomeNone when there is nothing to tell
}

// OK reports whether the sender is who From says.
func (r Result) OK() bool { return r.Number != "" }

// Serves reports whether host is one of the domains that are ours.
func (a *Authenticator) Serves(host string) bool {
	return slices.ContainsFunc(a.cfg.Domains, func(d string) bool { return strings.EqualFold(d, host) })
}

// Check authenticates a request: REGISTER as its registrar (401), others as a proxy would (407), since the answer to
// those must not be mistaken for one of the callee (RFC 3261 §22.2, §22.3). ACK and CANCEL can't be challenged
// (RFC 3261 §22.1): don't ask about them.
func (a *Authenticator) Check(ctx context.Context, req *sip.Request, o Origin, now time.Time) Result {
	from := req.From()
	if from == nil {
		return refuse(req, 400, corelink.Verdict{})
	}
	user := from.Address.User
	seen := corelink.Verdict{AOR: user + "@" + a.cfg.Realm}
	if !a.Serves(from.Address.Host) {
		seen.Outcome = corelink.OutcomeRefused
		if req.Method == sip.REGISTER {
			return refuse(req, 404, seen)
		}
		return refuse(req, 403, seen)
	}
	c, err := a.credentials(req)
	if err != nil { // malformed, or an option that we never offered
		return refuse(req, 400, corelink.Verdict{})
	}
	if c == nil {
		seen.Outcome = corelink.OutcomeChallenge
		return a.challenge(req, user, seen, o, now)
	}
	return a.judge(ctx, req, c, o, now)
}

// credentials returns those for our realm, or nil when there are none. The error is for credentials that can't be read.
func (a *Authenticator) credentials(req *sip.Request) (*digest.Credentials, error) {
	name := "Proxy-Authorization"
	if req.Method == sip.REGISTER {
		name = "Authorization"
	}
	var bad error
	for _, v := range sipmsg.Headers(req, name) {
		c, err := digest.ParseCredentials(v)
		switch {
		case err == nil && c.Realm == a.cfg.Realm:
			return c, nil
		case err != nil && !errors.Is(err, digest.ErrScheme):
			bad = err
		}
	}
	return nil, bad
}

// judge weighs credentials for our realm. Known and unknown users take the same steps to the same answer.
func (a *Authenticator) judge(ctx context.Context, req *sip.Request, c *digest.Credentials, o Origin, now time.Time) Result {
	seen := corelink.Verdict{AOR: c.Username + "@" + a.cfg.Realm}
	nonce := a.nonces.Check(c.Nonce, o.Binding, now)
	seen.NonceKnown = nonce == digest.NonceFresh
	ha1, ext, err := a.secret(ctx, c, now)
	if err != nil {
		a.cfg.Log.Error("secret store can't be read", "error", err)
		res := refuse(req, 503, corelink.Verdict{})
		set(res.Response, "Retry-After", retryAfter)
		return res
	}
	right := c.Verify(ha1, req.Method.String())
	switch {
	case ext == nil:
		seen.Outcome = corelink.OutcomeUnknownUser
	case !right:
		seen.Outcome = corelink.OutcomeBadCredentials
	case !c.QOP && !ext.LegacyDigest:
		seen.Outcome = corelink.OutcomeChallenge // right, but replayable: it must use the qop that we offer
	case nonce != digest.NonceFresh || !a.nonces.Use(c.Nonce, o.Binding, c.NC, now):
		seen.Outcome = corelink.OutcomeStale // RFC 7616 §3.3: only for a response that is right
	case c.Username != req.From().Address.User:
		// The sender is known and says that it is another (CVE-2025-47779): for every method, From is who authenticated.
		seen.Outcome = corelink.OutcomeRefused
		return refuse(req, 403, seen)
	case !a.sameTarget(req, c.URI):
		seen.Outcome = corelink.OutcomeRefused // RFC 7616 §3.4.6: the response was made for another request
		return refuse(req, 400, seen)
	default:
		seen.Outcome = corelink.OutcomeOK
		return Result{Number: ext.Number, Verdict: seen}
	}
	return a.failed(req, c.Username, seen, o, now)
}

// failed answers credentials that were not taken. A slow-down of an account that is being tried belongs here, and
// nowhere else.
func (a *Authenticator) failed(req *sip.Request, user string, seen corelink.Verdict, o Origin, now time.Time) Result {
	return a.challenge(req, user, seen, o, now)
}

// noHA1 is the secret of nobody: 64 digits that are no hash.
const noHA1 = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

// secret returns the account and its HA1. For an account that does not exist, or that does not take the algorithm, the
// HA1 is one that verifies nothing, at the same cost.
func (a *Authenticator) secret(ctx context.Context, c *digest.Credentials, now time.Time) (ha1 string, ext *store.Extension, err error) {
	none := noHA1[:c.Algorithm.HexLen()]
	ext, known := a.accounts.Extension(c.Username)
	if !known {
		return none, nil, nil
	}
	if !slices.Contains(a.order(c.Username, now), c.Algorithm) { // an algorithm that the account turned off stays off
		return none, ext, nil
	}
	ha1, ok, err := a.accounts.HA1(ctx, c.Username, c.Algorithm)
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return none, ext, nil
	}
	return ha1, ext, nil
}

// order is in which order, and for which algorithms, a user is challenged (RFC 8760 §2.3).
func (a *Authenticator) order(user string, now time.Time) []digest.Algorithm {
	if ext, ok := a.accounts.Extension(user); ok {
		if len(ext.Algorithms) > 0 {
			return ext.Algorithms
		}
		return a.cfg.Algorithms
	}
	if o := a.decoys.order(user, now); len(o) > 0 {
		return o
	}
	return a.cfg.Algorithms
}

// challenge asks for credentials, once for each algorithm.
func (a *Authenticator) challenge(req *sip.Request, user string, seen corelink.Verdict, o Origin, now time.Time) Result {
	nonce, err := a.nonces.Issue(o.Binding, now)
	if err != nil {
		a.cfg.Log.Error("can't challenge", "error", err)
		return refuse(req, 500, corelink.Verdict{})
	}
	code, name := 407, "Proxy-Authenticate"
	if req.Method == sip.REGISTER {
		code, name = 401, "WWW-Authenticate"
	}
	res := sipmsg.Response(req, code, "", "")
	for _, alg := range a.order(user, now) {
		c := digest.Challenge{Realm: a.cfg.Realm, Nonce: nonce, Algorithm: alg, Auth: true, Stale: seen.Outcome == corelink.OutcomeStale}
		add(res, name, c.String())
	}
	return Result{Response: res, Verdict: seen}
}

// sameTarget compares the credentials' uri with the Request-URI: user and host, for those are what a captured response
// must not be moved to. Parameters may be changed on the way, and inside a dialog the target is.
func (a *Authenticator) sameTarget(req *sip.Request, uri string) bool {
	if to := req.To(); to != nil {
		if tag, ok := sipmsg.Param(to.Params, "tag"); ok && tag != "" {
			return true
		}
	}
	u, err := sipmsg.ParseURI(uri)
	if err != nil {
		return false
	}
	r := req.Recipient
	return u.User == r.User && (strings.EqualFold(u.Host, r.Host) || a.Serves(u.Host) && a.Serves(r.Host))
}

// retryAfter is the value of Retry-After when something of ours is away, in seconds.
const retryAfter = "5"

// refuse answers with a code and no challenge.
func refuse(req *sip.Request, code int, seen corelink.Verdict) Result {
	return Result{Response: sipmsg.Response(req, code, "", ""), Verdict: seen}
}

// set and add write headers whose values we made ourselves: they can't fail.
func set(res *sip.Response, name, value string) { _ = sipmsg.Set(res, name, value) }
func add(res *sip.Response, name, value string) { _ = sipmsg.Add(res, name, value) }
