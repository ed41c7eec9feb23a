package border

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/rules"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/dialog"
)

// parties is who calls whom in a new call, as the other side sees them, and what else its first INVITE says.
type parties struct {
	called  sip.Uri
	caller  dialog.Party
	callee  dialog.Party
	headers []sip.Header
}

// trunkRules are the rules of one trunk, for calls from it and to it.
type trunkRules struct{ in, out *rules.Set }

func compileRules(c rules.Config) (trunkRules, error) {
	in, err := rules.New(c, true)
	if err != nil {
		return trunkRules{}, err
	}
	out, err := rules.New(c, false)
	return trunkRules{in, out}, err
}

// fromPhone is a call of a remote phone, for the exchange. Its other headers cross by the leg's policy.
func (b *Border) fromPhone(req *sip.Request) (parties, error) {
	number, err := topology.User(req.Recipient)
	if err != nil {
		return parties{}, err
	}
	return parties{
		called: topology.Address(number, b.cfg.Domain), caller: topology.Caller(req.From(), b.cfg.Domain), callee: topology.Callee(number, b.cfg.Domain),
	}, nil
}

// fromOutside is a call of a remote phone or of a carrier.
func (b *Border) fromOutside(from realmName, trunk string, req *sip.Request) (parties, error) {
	if from == access {
		return b.fromPhone(req)
	}
	return b.fromTrunk(trunk, b.calledAt(trunk, req))
}

var errTrunkGone = errors.New("no such trunk")

// fromTrunk is a carrier's call, for the exchange.
func (b *Border) fromTrunk(trunk string, req *sip.Request) (parties, error) {
	set, ok := b.trunks.Load().rules[trunk]
	if !ok { // a reload has just taken it away
		return parties{}, errTrunkGone
	}
	res, err := set.in.Apply(req, inside(b.cfg.Domain), false)
	if err != nil {
		return parties{}, err
	}
	return ruled(res, b.realms[peer].rules.In), nil
}

// toTrunk is a call of the exchange, for a carrier.
func (b *Border) toTrunk(trunk string, req *sip.Request) (parties, error) {
	set, ok := b.trunks.Load().rules[trunk]
	if !ok {
		return parties{}, errTrunkGone
	}
	res, err := set.out.Apply(req, outside(req), false)
	if err != nil {
		return parties{}, err
	}
	return ruled(res, b.realms[peer].rules.Out), nil
}

// inside are the hosts of addresses on the exchange's side.
func inside(domain string) rules.Hosts { return rules.Hosts{Called: domain, Caller: domain} }

// outside are the hosts of addresses on a carrier's side: those that the exchange knows the carrier and us by.
func outside(req *sip.Request) rules.Hosts {
	return rules.Hosts{Called: req.Recipient.Host, Caller: req.From().Address.Host}
}

// ruled takes from what the rules made what crosses.
func ruled(res rules.Result, cross func(dst, src sip.Message)) parties {
	dst := sip.NewRequest(sip.INVITE, sip.Uri{})
	cross(dst, res.Request)
	from, to := res.Request.From(), res.Request.To()
	return parties{
		called:  res.Request.Recipient,
		caller:  dialog.Party{Display: from.DisplayName, URI: from.Address},
		callee:  dialog.Party{URI: to.Address},
		headers: append(dst.Headers(), res.Headers...),
	}
}

// unlessFirst is what passes to and from trunks by policy: everything but the first INVITE, which rules have a say in.
func unlessFirst(pass func(dst, src sip.Message)) func(dst, src sip.Message) {
	return func(dst, src sip.Message) {
		if req := isRequest(src); req != nil && req.Method == sip.INVITE && !inDialog(req) {
			return
		}
		pass(dst, src)
	}
}
