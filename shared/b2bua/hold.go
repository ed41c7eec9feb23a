package b2bua

import (
	"slices"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sdp"
	"brickhouse/shared/transaction"
)

// Music on hold: while one side holds the other, a service of ours (Plan.Hold) is what that one hears.
//
//	x: re-INVITE, held ──► y: re-INVITE with the service's offer ──► y's answer goes to the service, x is answered "inactive" by us
//	x: re-INVITE, or any other offer that is carried across ──► y, as ever; once both agree the service is closed
//	y: re-INVITE or UPDATE with an offer ──► answered by the service
//
// Where y can't hear the service, the hold is carried across as it came. A leg that changes hands, and a call that ends, ends it too.

// music is a service that one side hears while the other holds it.
type music struct {
	by, held *leg
	base     []byte // held's description as by has it, from before
	local    Local
}

// holds answers a re-INVITE of x by which it holds y, and has y hear music. It reports false where that is not for us; then nothing has been done.
func (c *Call) holds(x, y *leg, s *transaction.Server, offer []byte) bool {
	if c.plan.Hold == nil || c.plan.Media != nil || c.transfer != nil || c.joint != nil || c.changing {
		return false
	}
	base := y.theirs
	if c.music != nil {
		base = c.music.base
	}
	answer, ok := inactive(offer, base)
	if !ok {
		return false
	}
	if m := c.music; m != nil {
		if m.by != x { // the one who is held holds, too: nobody is left to hear anything
			return false
		}
		c.heldBy(x, s, offer, answer)
		return true
	}
	m := &music{by: x, held: y, base: base, local: c.plan.Hold(y.via(y.dlg))}
	ours, err := m.local.Offer()
	if err != nil {
		c.log.Info("nothing is played to who is held", "side", y.side, "error", err)
		c.contain("Local.Close", m.local.Close)
		return false
	}
	x.server, c.changing, c.music = s, true, m
	c.reinvite(y, ours, func(theirs []byte, code int) {
		c.changing = false
		if c.ended || !x.up() {
			return
		}
		if theirs != nil {
			err = m.local.Accept(theirs)
		}
		if theirs != nil && err == nil {
			c.heldBy(x, s, offer, answer)
			return
		}
		c.log.Info("nothing is played to who is held", "side", y.side, "code", code, "error", err)
		c.unhold()
		x.server = nil
		c.reinviteAcross(x, y, s, offer, offer)
	})
	return true
}

// heldBy tells x that it holds.
func (c *Call) heldBy(x *leg, s *transaction.Server, offer, answer []byte) {
	x.dlg.Refresh(s.Request())
	x.theirs, x.mine, x.asked = offer, answer, false
	out := c.response(x, s, sip.StatusOK, nil)
	setSDP(out, answer)
	c.accept(x, s, out)
}

// hears reports whether an offer of l's is for the service that it hears.
func (c *Call) hears(l *leg, offer []byte) bool {
	return c.music != nil && c.music.held == l && len(offer) > 0
}

// unhold ends the service: both sides have agreed on something else, or one of them is gone.
func (c *Call) unhold() {
	if m := c.music; m != nil {
		c.music = nil
		c.contain("Local.Close", m.local.Close)
	}
}

// inactive answers an offer that holds: with the far side's description, and nobody sends (RFC 3264 §6.1). It reports false where the offer
// holds nobody, or that description is no answer to it.
func inactive(offer, base []byte) ([]byte, bool) {
	o, err := sdp.Parse(offer)
	if err != nil {
		return nil, false
	}
	b, err := sdp.Parse(base)
	if err != nil || len(b.Media) != len(o.Media) {
		return nil, false
	}
	held := false
	for i := range o.Media {
		m := &o.Media[i]
		switch {
		case m.Port == 0:
			b.Media[i].Port = 0
			continue
		case m.Type != b.Media[i].Type || m.Direction.Receives() && !m.Conn.IsUnspecified() || b.Media[i].Port == 0:
			return nil, false
		}
		if held = true; !narrow(&b.Media[i], m.Formats) {
			return nil, false
		}
		b.Media[i].Direction = sdp.Inactive
	}
	b.Origin.Version++
	return b.Bytes(), held
}

// narrow takes formats out of a description that were not offered. It reports whether any is left.
func narrow(m *sdp.Media, offered []string) bool {
	gone := func(format string) bool { return !slices.Contains(offered, format) }
	m.Formats = slices.DeleteFunc(m.Formats, gone)
	m.RTPMaps = slices.DeleteFunc(m.RTPMaps, func(r sdp.RTPMap) bool { return gone(r.Format) })
	m.FMTPs = slices.DeleteFunc(m.FMTPs, func(f sdp.FMTP) bool { return gone(f.Format) })
	return len(m.Formats) > 0
}
