package exchange

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
)

// Times of our registrations at carriers.
const (
	linkLook      = time.Second      // how often it is looked for the border while that is away
	firstRetry    = 5 * time.Second  // after a failure; twice as long after each further one,
	lastRetry     = 5 * time.Minute  // up to this
	longestRetry  = time.Hour        // that a carrier may ask for
	leastRefresh  = 15 * time.Second // however short the carrier makes it
	registerTries = 4                // requests of one attempt: plain, with credentials, after "stale", after 423
)

// trunkAccount is an account that we have at a carrier: the client side of RFC 3261 §10.2. The border has the contact and the way to
// the carrier; we have the password.
type trunkAccount struct {
	x       *Exchange
	trunk   Trunk
	auth    func(*sip.Request, *sip.Response) (sip.Header, error)
	callID  string
	tag     string
	seq     uint32
	until   atomic.Int64 // of the registration, Unix time in ns; 0: there is none
	failing bool         // said so already
	expires time.Duration
}

// trunkAccounts are the accounts that the configuration wants to be registered.
func (x *Exchange) trunkAccounts() []*trunkAccount {
	var out []*trunkAccount
	for _, t := range x.cfg.Trunks {
		if t.Register > 0 {
			out = append(out, &trunkAccount{x: x, trunk: t, auth: x.trunkAuth(t), callID: sipmsg.NewCallID(), tag: sipmsg.NewTag(), expires: t.Register})
		}
	}
	return out
}

// registered reports whether the carrier knows us now.
func (a *trunkAccount) registered() bool { return a.x.now().UnixNano() < a.until.Load() }

// run keeps us registered until ctx ends. The registration is left to expire then: we will be back.
func (a *trunkAccount) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		link := a.x.border.Load()
		if link == nil {
			pause(ctx, linkLook)
			continue
		}
		left, wait, err := a.register(ctx, link)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.failed(err)
			pause(ctx, jitter(max(wait, retry)))
			retry = min(2*retry, lastRetry)
		default:
			a.succeeded(left)
			retry = firstRetry
			pause(ctx, jitter(max(left/2, leastRefresh)))
		}
	}
}

func (a *trunkAccount) succeeded(left time.Duration) {
	if !a.registered() {
		a.x.log.Info("registered at the carrier", "trunk", a.trunk.Name, "for", left)
	}
	a.until.Store(a.x.now().Add(left).UnixNano())
	a.failing = false
}

// failed notes that the carrier does not know us any more, or will not for long.
func (a *trunkAccount) failed(err error) {
	if !a.failing {
		a.x.log.Error("can't be registered at the carrier; trying again", "trunk", a.trunk.Name, "error", err)
	}
	a.failing = true
}

// jitter makes a pause up to a tenth shorter: accounts that fail together do not come back together.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/10+1)) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

var (
	errNoAnswer  = errors.New("the border does not answer")
	errOwnWrong  = errors.New("the carrier refuses our credentials")
	errNoTime    = errors.New("the carrier registers us for no time at all")
	errNoPatient = errors.New("the carrier asks again and again")
)

// register registers once. It returns for how long, or how long the carrier wants to be left alone.
func (a *trunkAccount) register(ctx context.Context, link *transport.Flow) (left, wait time.Duration, err error) {
	var credentials sip.Header
	for range registerTries {
		req := a.request(link, credentials)
		asked := req.Clone() // the layer owns the other one
		res, err := a.ask(ctx, link, req)
		if err != nil {
			return 0, 0, err
		}
		switch code := res.StatusCode; {
		case res.IsSuccess():
			if left = headerSeconds(res, "Expires", a.expires); left <= 0 {
				return 0, 0, errNoTime
			}
			return min(left, 2*a.expires), 0, nil
		case code == sip.StatusUnauthorized || code == sip.StatusProxyAuthRequired:
			if credentials != nil && !stale(res) {
				return 0, lastRetry, errOwnWrong // asking on would lock the account
			}
			if credentials, err = a.auth(asked, res); err != nil {
				return 0, 0, err
			}
		case code == sip.StatusIntervalToBrief:
			a.expires = min(max(headerSeconds(res, "Min-Expires", a.expires), a.expires), 24*time.Hour) // RFC 3261 §10.2.8
			credentials = nil
		default:
			return 0, min(headerSeconds(res, "Retry-After", 0), longestRetry), fmt.Errorf("answer %d", code)
		}
	}
	return 0, 0, errNoPatient
}

// request is the next REGISTER. The border puts its own contact in.
func (a *trunkAccount) request(link *transport.Flow, credentials sip.Header) *sip.Request {
	a.seq++
	self := sip.Uri{Scheme: "sip", User: a.trunk.Username, Host: a.trunk.Domain}
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: a.trunk.Domain})
	hops, callID := sip.MaxForwardsHeader(dialog.MaxForwards), sip.CallIDHeader(a.callID)
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: self, Params: sip.HeaderParams{{K: "tag", V: a.tag}}})
	req.AppendHeader(&sip.ToHeader{Address: self})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: a.seq, MethodName: sip.REGISTER})
	req.AppendHeader(&sip.ContactHeader{Address: contact(link)})
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(a.expires/time.Second))))
	req.AppendHeader(sip.NewHeader(corelink.HeaderTrunk, a.trunk.Name))
	if credentials != nil {
		req.AppendHeader(credentials)
	}
	req.SetBody(nil)
	return req
}

// ask sends a request over the core link and waits for its final response.
func (a *trunkAccount) ask(ctx context.Context, link *transport.Flow, req *sip.Request) (*sip.Response, error) {
	answered := make(chan transaction.Event, 1)
	_, err := a.x.tx.Send(link, req, func(ev transaction.Event) {
		if ev.Response != nil && ev.Response.IsProvisional() {
			return
		}
		select {
		case answered <- ev:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case ev := <-answered: // timer F ends it at the latest
		if ev.Response == nil {
			return nil, errors.Join(errNoAnswer, ev.Err)
		}
		return ev.Response, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// headerSeconds reads a header of seconds; what is none counts as other.
func headerSeconds(res *sip.Response, name string, other time.Duration) time.Duration {
	v, ok := sipmsg.Header(res, name)
	n, err := strconv.ParseUint(v, 10, 31)
	if !ok || err != nil {
		return other
	}
	return time.Duration(n) * time.Second
}

// stale reports whether credentials were right but for their nonce (RFC 7616 §3.3).
func stale(res *sip.Response) bool {
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, v := range sipmsg.Headers(res, name) {
			if c, err := digest.ParseChallenge(v); err == nil && c.Stale {
				return true
			}
		}
	}
	return false
}
