package siptest

import (
	"context"
	"fmt"
)

// Change is what a re-INVITE asks for.
type Change struct {
	Direction Direction // default: as it is
	Rekey     bool      // with new SRTP keys
	Move      bool      // media on new ports of ours
}

// ReInvite sends a re-INVITE with a new offer and waits for its answer. A refusal leaves the call as it was and is no error.
// The context must outlast the answer: a re-INVITE can't be taken back.
func (c *Call) ReInvite(ctx context.Context, change Change) (Result, error) {
	c.mu.Lock()
	if !c.isUp || c.isOver || c.mine {
		c.mu.Unlock()
		return Result{}, fmt.Errorf("re-INVITE: %w", ErrOver)
	}
	c.mine = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.mine = false
		c.mu.Unlock()
	}()
	if change.Direction != "" {
		old := c.media.setWant(change.Direction)
		r, err := c.reinvite(ctx, change)
		if err != nil || !r.OK() {
			c.media.setWant(old)
		}
		return r, err
	}
	return c.reinvite(ctx, change)
}

func (c *Call) reinvite(ctx context.Context, change Change) (Result, error) {
	if change.Rekey {
		c.media.rekey()
	}
	if change.Move {
		if err := c.media.move(); err != nil {
			return Result{}, fmt.Errorf("re-INVITE: %w", err)
		}
	}
	f, err := c.flow(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("re-INVITE: %w", err)
	}
	c.mu.Lock()
	d := c.dialog.request("INVITE")
	c.mu.Unlock()
	d.fields = append(d.fields, c.contact(), c.p.allow())
	d.add("Content-Type", "application/sdp").body = c.media.offer()
	m, err := c.p.do(ctx, f, d, c.nextCSeq)
	if err != nil || !m.result().OK() {
		if err == nil {
			return m.result(), nil
		}
		return Result{}, err
	}
	c.mu.Lock()
	if t := address(m.Header("Contact")); t != "" { // target refresh, RFC 3261 §12.2.1.2
		c.dialog.target = t
	}
	c.mu.Unlock()
	err = c.media.accept(m.Body)
	if sent := c.acknowledge(d, m.CSeq(), nil); err == nil {
		err = sent
	}
	if err != nil {
		c.p.fault("200 to re-INVITE: %v", err)
	}
	return m.result(), err
}

// Hold asks the other side not to be heard and falls silent.
func (c *Call) Hold(ctx context.Context) error { return c.turn(ctx, SendOnly) }

// Resume ends a hold.
func (c *Call) Resume(ctx context.Context) error { return c.turn(ctx, SendRecv) }

func (c *Call) turn(ctx context.Context, d Direction) error {
	r, err := c.ReInvite(ctx, Change{Direction: d})
	if err == nil && !r.OK() {
		err = &RefusedError{Method: "INVITE", Result: r}
	}
	return err
}

// reinvited takes a re-INVITE.
func (p *Phone) reinvited(s *serverTx) {
	m := s.req
	c := p.callOf(m.CallID(), m.ToTag())
	if c == nil {
		s.respond(481, nil)
		return
	}
	c.mu.Lock()
	up, mine, old := c.isUp && !c.isOver, c.mine, m.CSeq() <= c.lastCSeq
	if up && !mine && !old {
		c.lastCSeq = m.CSeq()
		c.invites = append(c.invites, m)
		if t := address(m.Header("Contact")); t != "" {
			c.dialog.target = t
		}
	}
	c.mu.Unlock()
	switch {
	case !up:
		s.respond(481, nil)
	case old: // RFC 3261 §12.2.2
		p.fault("re-INVITE with CSeq %d out of order", m.CSeq())
		s.respond(500, nil)
	case mine: // RFC 3261 §14.2
		s.respond(491, nil)
	default:
		c.agree(s)
	}
}

// agree answers a re-INVITE with what the media can agree to.
func (c *Call) agree(s *serverTx) {
	var answer []byte
	if len(s.req.Body) > 0 {
		var err error
		if answer, err = c.media.answer(s.req.Body); err != nil {
			c.p.fault("re-INVITE: %v", err)
			s.respond(488, nil)
			return
		}
	}
	if err := c.accept(s, answer); err != nil {
		c.p.fault("answering re-INVITE: %v", err)
	}
}
