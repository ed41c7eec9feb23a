package border

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/listen"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Times of a registration at a carrier. All of it is over before the exchange's own transaction (timer F).
const (
	registerEach = 8 * time.Second // one gateway's final answer
	registerAll  = 25 * time.Second
)

// contactToken is the user part of the contact that we register at a carrier. It tells nothing, stays the same over restarts, and
// nobody but the carrier and who is on the way to it knows it: whoever calls it is the carrier.
func (b *Border) contactToken(trunk string) string { return b.derive("trunk contact", trunk) }

// registerTrunk passes a REGISTER of the exchange on to a carrier. The exchange answers the challenge, for it has the password;
// the contact is ours.
func (b *Border) registerTrunk(s *transaction.Server) verdict.Verdict {
	name, _ := sipmsg.Header(s.Request(), corelink.HeaderTrunk)
	t, ok := b.carriers.Trunk(name)
	if !ok || !t.Config().Register {
		return verdict.Rejected(sip.StatusNotFound, verdict.TrunkFailed)
	}
	if req := s.Request(); !listen.IsHost(req.Recipient.Host) || req.CSeq() == nil || req.From() == nil || req.To() == nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadURI)
	}
	// Name servers and gateways may take their time, and the core link's reader must not wait for them.
	started := b.workers.Go(func() {
		if v := b.askRegistrar(s, t); !v.OK() {
			b.refuseServer(s, v)
		}
	}, func() { b.refuseServer(s, verdict.Rejected(sip.StatusInternalServerError, verdict.Internal)) })
	if !started {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	}
	return verdict.Passed
}

// askRegistrar tries the trunk's gateways, one after the other, until one answers for the carrier.
func (b *Border) askRegistrar(s *transaction.Server, t *trunk.Trunk) verdict.Verdict {
	ctx, cancel := context.WithTimeout(b.closing, registerAll)
	defer cancel()
	choices, err := t.Choose(ctx)
	if err != nil {
		return trunkRefusal(err)
	}
	for _, c := range choices {
		out := b.realms[peer].towards(c.Hop)
		if out == nil {
			continue
		}
		f, err := b.dialHop(ctx, t, c.Hop, out)
		var res *sip.Response
		if err == nil {
			res, err = b.askOne(ctx, f, b.trunkRegistration(s.Request(), f, t.Config().Name))
		}
		switch {
		case ctx.Err() != nil:
			return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkFailed)
		case err != nil:
			t.Report(c.Hop, trunk.Result{Err: err})
		case res.StatusCode != sip.StatusRequestTimeout && res.StatusCode/100 != 5:
			t.Report(c.Hop, trunk.Result{Code: max(res.StatusCode, sip.StatusOK)})
			b.registered(s, res, t.Config().Name)
			return verdict.Passed
		}
	}
	return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkFailed)
}

// askOne sends a request and waits for its final response.
func (b *Border) askOne(ctx context.Context, f *transport.Flow, req *sip.Request) (*sip.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, registerEach)
	defer cancel()
	events := make(chan transaction.Event, 1)
	_, err := b.tx.Send(f, req, func(ev transaction.Event) {
		if ev.Response != nil && ev.Response.IsProvisional() {
			return
		}
		select {
		case events <- ev:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case ev := <-events:
		if ev.Response == nil {
			return nil, errors.Join(ev.Err, errSilent)
		}
		return ev.Response, nil
	case <-ctx.Done():
		return nil, errSilent
	}
}

// trunkRegistration is the REGISTER that the carrier gets. Start line and account are the exchange's words: its answer to the
// challenge is made for them (RFC 7616 §3.4.6).
func (b *Border) trunkRegistration(in *sip.Request, f *transport.Flow, name string) *sip.Request {
	out := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: in.Recipient.Host, Port: in.Recipient.Port})
	hops, callID := sip.MaxForwardsHeader(dialog.MaxForwards), sip.CallIDHeader(b.derive("trunk registration", in.CallID().Value()))
	tag, _ := in.From().Params.Get("tag")
	address := func(u sip.Uri) sip.Uri { return sip.Uri{Scheme: "sip", User: u.User, Host: u.Host} }
	out.AppendHeader(&hops)
	out.AppendHeader(&sip.FromHeader{Address: address(in.From().Address), Params: sip.HeaderParams{{K: "tag", V: b.derive("tag", tag)[:20]}}})
	out.AppendHeader(&sip.ToHeader{Address: address(in.To().Address)})
	out.AppendHeader(&callID)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: in.CSeq().SeqNo, MethodName: sip.REGISTER})
	contact := contactURI(f)
	contact.User = b.contactToken(name)
	out.AppendHeader(&sip.ContactHeader{Address: contact})
	b.realms[peer].rules.Out(out, in) // credentials, Expires
	out.SetBody(nil)
	return out
}

// registered tells the exchange what the carrier said, and for how long our contact is registered now.
func (b *Border) registered(s *transaction.Server, res *sip.Response, name string) {
	out := sipmsg.Response(s.Request(), res.StatusCode, "", sipmsg.NewTag())
	b.realms[peer].rules.In(out, res)
	if res.IsSuccess() {
		asked, _ := sipmsg.Header(s.Request(), "Expires")
		left, listed := grantedLives(res)[b.contactToken(name)]
		if !listed { // some carriers show none, or one of their own making
			left = time.Duration(seconds(asked, defaultExpires)) * time.Second
			if v, ok := sipmsg.Header(res, "Expires"); ok {
				left = time.Duration(seconds(v, int(left/time.Second))) * time.Second
			}
		}
		sipmsg.RemoveFunc(out, func(h string) bool { return h == "Expires" })
		out.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(left/time.Second))))
	}
	out.SetBody(nil)
	if err := s.Respond(out); err != nil {
		b.log.Debug("answering the registration of a trunk", "trunk", name, "error", err)
	}
}

// calledAt gives a call to our registered contact the number that was called: the contact tells none, To does (RFC 3261 §8.1.1.2).
func (b *Border) calledAt(trunk string, req *sip.Request) *sip.Request {
	if name, ok := b.trunks.Load().who.Registered(req.Recipient.User); !ok || name != trunk {
		return req
	}
	out := req.Clone()
	out.Recipient.User = req.To().Address.User
	return out
}
