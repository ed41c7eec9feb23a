package border

import (
	"errors"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// resolveTimeout bounds the look-up of a gateway's name.
const resolveTimeout = 3 * time.Second

// invite starts a call: from outside to the exchange, or from the exchange to a phone or a trunk.
func (b *Border) invite(from realmName, s *transaction.Server) verdict.Verdict {
	if from == core {
		return b.inviteOut(s)
	}
	if !b.gate(from, s) {
		return verdict.Passed // with an answer
	}
	return b.inviteIn(from, s)
}

// inviteIn calls the exchange on behalf of a remote phone or a trunk.
func (b *Border) inviteIn(from realmName, s *transaction.Server) verdict.Verdict {
	req, realm, trunk := s.Request(), corelink.RealmAccess, ""
	if from == peer {
		realm = corelink.RealmPeer
		trunk, _ = b.carrier(s.Flow(), req)
		if t, ok := b.carriers.Trunk(trunk); ok && !t.Enabled() {
			return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkDisabled)
		}
	}
	call := func(more ...sip.Header) verdict.Verdict { return b.callIn(from, s, realm, trunk, more) }
	if value, ok := sipmsg.Header(req, "Replaces"); ok {
		return b.replacing(from, s, value, func(replaces sip.Header) verdict.Verdict { return call(replaces) })
	}
	return call()
}

// callIn begins a call to the exchange, with these headers beside the sender's own.
func (b *Border) callIn(from realmName, s *transaction.Server, realm, trunk string, more []sip.Header) (v verdict.Verdict) {
	release := b.admit(s, b.callerPlaces(from, trunk, s)...) // before any work that costs
	if release == nil {
		return verdict.Passed // with an answer
	}
	defer unless(&v, release)
	req, exchange := s.Request(), b.core.current()
	party, err := b.fromOutside(from, trunk, req)
	if err != nil {
		return verdict.Rejected(sip.StatusAddressIncomplete, verdict.BadURI)
	}
	if exchange == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	trace := b.engine.TraceOf(req) // it may be a call of ours that comes back
	if trace == "" {
		trace = sipmsg.NewTag()
	}
	plan := b.plan(trace, party.caller.URI.User, party.called.User)
	plan.Policy, plan.End = b.policies[from], func(e b2bua.Ending) {
		release()
		if trunk != "" {
			b.metrics.trunk(trunk, "in", e.Reason)
		}
	}
	plan.Info.From, plan.Info.To = string(from)+trunk, string(core)
	plan.ReferTo = b.referTo(from, b2bua.A)
	plan.Groups = [][]b2bua.Target{{{
		Name: "exchange", Flow: exchange, Policy: b.inner(from),
		URI: party.called, From: party.caller, To: party.callee,
		Headers: slices.Concat(party.headers, more, b.privateHeaders(realm, trunk, s.Flow(), trace)),
	}}}
	flow := s.Flow()
	plan.Learn = func(res *sip.Response) { b.learn(flow, res) }
	if _, ok := sipmsg.Header(req, "Proxy-Authorization"); !ok && from == access {
		// The exchange will ask who this is. Until it is told, a stranger's call takes no port and no key.
		plan.Media = withheld{}
		return b.begin(s, plan)
	}
	return b.start(s, plan, b.endpoint(from, flow), b.endpoint(core, exchange))
}

// inviteOut calls a phone or a trunk on behalf of the exchange.
func (b *Border) inviteOut(s *transaction.Server) verdict.Verdict {
	req := s.Request()
	trace, _ := sipmsg.Header(req, corelink.HeaderTrace)
	if trunk, ok := sipmsg.Header(req, corelink.HeaderTrunk); ok {
		return b.inviteTrunk(s, trunk, trace)
	}
	bound, ok := b.cache.Get(req.Recipient.User, b.now())
	if !ok {
		return verdict.Rejected(430, verdict.NotRegistered) // RFC 5626 §11.6: Flow Failed
	}
	callee, _ := topology.User(req.To().Address)
	caller := topology.Caller(req.From(), b.cfg.Domain)
	plan := b.plan(trace, caller.URI.User, callee)
	plan.Policy = b.policies[core]
	plan.Info.From, plan.Info.To = string(core), string(access)
	plan.ReferTo = b.referTo(access, b2bua.B)
	plan.Groups = [][]b2bua.Target{{{
		Name: bound.AOR, Flow: bound.Flow, Policy: b.policies[access],
		URI: bound.Contact, From: caller, To: topology.Callee(callee, b.cfg.Domain),
	}}}
	if b.cfg.Access.Redirect == "pass" {
		plan.Moved = b.moved
	}
	return b.start(s, plan, b.endpoint(core, s.Flow()), b.endpoint(access, bound.Flow))
}

// plan is what every call of the border has.
func (b *Border) plan(trace, caller, callee string) b2bua.Plan {
	return b2bua.Plan{
		ID: sipmsg.NewTag(), Ring: b.cfg.Limits.Ring,
		Info: b2bua.Info{Trace: trace, Caller: caller, Callee: callee},
	}
}

// start opens the media of a call and hands it to the engine.
func (b *Border) start(s *transaction.Server, plan b2bua.Plan, sideA, sideB anchor.Endpoint) verdict.Verdict {
	id := plan.ID
	session := b.anchor.Open(id, sideA, sideB, anchor.Events{OnFault: func(why verdict.Reason) { b.engine.End(id, why) }})
	plan.Media, plan.Measure = media{session}, func() []b2bua.MediaSide { return measured(session.Stats()) }
	end := plan.End
	plan.End = func(e b2bua.Ending) {
		b.metrics.quality.observe([2]string{sideA.Realm.Name, sideB.Realm.Name}, session.Stats())
		if end != nil {
			end(e)
		}
	}
	plan.Answer = func(b2bua.Target) { session.Established() }
	v := b.begin(s, plan)
	if !v.OK() {
		session.Close()
	}
	return v
}

// begin hands a call to the engine.
func (b *Border) begin(s *transaction.Server, plan b2bua.Plan) verdict.Verdict {
	end := plan.End
	plan.End = func(e b2bua.Ending) {
		b.metrics.ended.Inc(e.Reason)
		if end != nil {
			end(e)
		}
	}
	plan.Emergency = b.emergency(s.Request())
	if _, err := b.engine.Start(s, plan); err != nil {
		return refusal(err)
	}
	return verdict.Passed
}

// unless gives a call's places back if it has not begun.
func unless(v *verdict.Verdict, release func()) {
	if !v.OK() {
		release()
	}
}

// withheld is the media of a call whose caller has not said who it is: its offer does not go inside, and nothing that the
// exchange says comes back.
type withheld struct{}

var errWithheld = &b2bua.Refusal{Code: sip.StatusForbidden, Reason: verdict.NotAllowed}

func (withheld) Offer(from b2bua.Side, _ []byte) ([]byte, error) {
	if from == b2bua.A {
		return nil, nil
	}
	return nil, errWithheld // the exchange saw no offer, so that its answer is one
}

func (withheld) Answer(b2bua.Side, []byte) ([]byte, error) { return nil, errWithheld }

func (withheld) Close() {}

// refusal is the verdict on a call that can't start.
func refusal(err error) verdict.Verdict {
	switch {
	case errors.Is(err, b2bua.ErrTooMany):
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	case errors.Is(err, b2bua.ErrClosed):
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Shutdown)
	case errors.Is(err, b2bua.ErrMerged):
		return verdict.Rejected(sip.StatusLoopDetected, verdict.LoopDetected)
	}
	return verdict.Rejected(sip.StatusBadRequest, verdict.MissingHeader)
}

// endpoint is one side's media: bound where the realm says, or where the signalling came to.
func (b *Border) endpoint(r realmName, f *transport.Flow) anchor.Endpoint {
	e := anchor.Endpoint{Realm: b.media[r]}
	if f != nil {
		e.Local, e.Remote, e.SecureHop = f.Local().Addr().Unmap(), f.Remote().Addr().Unmap(), f.Secure()
		e.DTLS = r == access && b.cfg.Access.Keys.of(f.Network()) == "dtls"
	}
	return e
}

// legPolicies say how the border looks on each side, and what passes. The legs to the exchange differ by whose call it is.
func (b *Border) legPolicies() map[realmName]*b2bua.LegPolicy {
	a, p := b.realms[access].rules, b.realms[peer].rules
	return map[realmName]*b2bua.LegPolicy{
		access:     {Contact: contactURI, Pass: a.Out, Allow: a.Allow()},
		peer:       {Contact: contactURI, Pass: unlessFirst(p.Out), Allow: p.Allow(), Flow: b.peerFlow},
		core:       b.corePolicy(a.In),
		coreOfPeer: b.corePolicy(unlessFirst(p.In)),
	}
}

// coreOfPeer names the policy of a leg to the exchange whose call comes from a carrier or goes to one.
const coreOfPeer realmName = "core of peer"

// inner is the policy of the leg to the exchange, in a call that the realm has the other leg of.
func (b *Border) inner(outer realmName) *b2bua.LegPolicy {
	if outer == peer {
		return b.policies[coreOfPeer]
	}
	return b.policies[core]
}

func (b *Border) corePolicy(pass func(dst, src sip.Message)) *b2bua.LegPolicy {
	return &b2bua.LegPolicy{
		Contact: contactURI, Pass: pass, Allow: b.realms[core].rules.Allow(),
		Flow:  func(*dialog.Dialog, *transport.Flow) *transport.Flow { return b.core.current() },
		Roams: func(_, now *transport.Flow) bool { return b.realmOf(now) == core },
	}
}

// contactURI is our Contact on a flow: an address and nothing else.
func contactURI(f *transport.Flow) sip.Uri {
	host, port := f.ViaHost()
	u := sip.Uri{Scheme: "sip", Host: host, Port: port}
	if n := f.Network(); n != transport.UDP {
		u.UriParams = sip.HeaderParams{{K: "transport", V: n.Param()}}
	}
	return u
}
