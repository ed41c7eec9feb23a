package border

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// learn takes the exchange's verdict about the sender of a request from the response to it. A challenge that was not
// answered yet is no failure. Over UDP only a nonce that came back proves where a request came from; learn reports whether this request's sender is proved.
func (b *Border) learn(f *transport.Flow, res *sip.Response) (verified bool) {
	value, ok := sipmsg.Header(res, corelink.HeaderVerdict)
	if !ok {
		return f.Reliable()
	}
	v, err := corelink.ParseVerdict(value)
	if err != nil {
		b.log.Error("verdict of the exchange can't be read", "error", err)
		return f.Reliable()
	}
	verified = f.Reliable() || v.NonceKnown
	if v.NonceKnown {
		f.MarkVerified()
	}
	r := b.realms[b.realmOf(f)]
	switch v.Outcome {
	case corelink.OutcomeBadCredentials:
		r.offence(f, verified, verdict.BadCredentials, v.AOR, "")
	case corelink.OutcomeUnknownUser:
		r.offence(f, verified, verdict.UnknownUser, v.AOR, "")
	case corelink.OutcomeOK:
		f.MarkTrusted()
	}
	return verified
}

// private adds what the exchange is told about the origin of a request (package corelink).
func (b *Border) private(req *sip.Request, realm, trunk string, f *transport.Flow, trace string) {
	for _, h := range b.privateHeaders(realm, trunk, f, trace) {
		req.AppendHeader(h)
	}
}

func (b *Border) privateHeaders(realm, trunk string, f *transport.Flow, trace string) []sip.Header {
	out := []sip.Header{
		sip.NewHeader(corelink.HeaderRealm, realm),
		sip.NewHeader(corelink.HeaderFlow, f.ID()),
	}
	if trunk != "" {
		out = append(out, sip.NewHeader(corelink.HeaderTrunk, trunk))
	}
	if trace != "" {
		out = append(out, sip.NewHeader(corelink.HeaderTrace, trace))
	}
	return out
}
