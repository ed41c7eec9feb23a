package siptest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ring takes a new call and does with it what the answer policy says.
func (p *Phone) ring(s *serverTx) {
	p.mu.Lock()
	a := p.answer
	p.mu.Unlock()
	m, err := newMedia(p.cfg)
	if err != nil {
		p.fault("incoming call: %v", err)
		s.respond(500, nil)
		return
	}
	c := newCall(p, dialogOfCallee(s.req, s.toTag), s.f, m)
	c.incoming, c.invite, c.server, c.lastCSeq = true, s.req, s, s.req.CSeq()
	c.mute = a.mode == modeSilent
	p.keep(c)
	if len(s.req.Body) > 0 && !c.mute {
		if c.answer, err = m.answer(s.req.Body); err != nil {
			c.refuseOffer(s, err)
			return
		}
	}
	select {
	case p.incoming <- c:
	default: // nobody looks
	}
	p.tx.spawn(func() { c.follow(a) })
}

// refuseOffer answers an offer that can't be read with 400 and one that is not wanted with 488.
func (c *Call) refuseOffer(s *serverTx, err error) {
	code := 488
	if !errors.Is(err, errUnwanted) {
		code = 400
		c.p.fault("offer: %v", err)
	}
	s.respond(code, nil)
	c.settle(Result{code, phrase(code)}, nil, nil)
	c.finish(EndRefused)
}

// follow does what the policy says; it ends early if the caller gives up.
func (c *Call) follow(a Answer) {
	if a.mode == modeSilent || a.mode == modeManual {
		return
	}
	if a.mode != modeRefuse || a.delay > 0 {
		if err := c.Ring(); err != nil {
			return
		}
	}
	wait := time.NewTimer(a.delay)
	defer wait.Stop()
	if a.mode == modeRing {
		wait.Stop()
	}
	select {
	case <-wait.C:
	case <-c.done:
		return
	case <-c.p.ctx.Done():
		return
	}
	var err error
	if a.mode == modeRefuse {
		err = c.refuse(a.code, a.moved)
	} else {
		err = c.Accept()
	}
	if err != nil && c.Ended() == "" {
		c.p.fault("answering a call: %v", err)
	}
}

// Ring sends 180.
func (c *Call) Ring() error {
	if !c.incoming {
		return fmt.Errorf("ringing: %w", ErrOver)
	}
	return c.server.respond(180, nil, c.contact(), c.p.allow())
}

// Accept answers an incoming call with 200.
func (c *Call) Accept() error {
	if !c.incoming {
		return fmt.Errorf("accepting: %w", ErrOver)
	}
	return c.accept(c.server, c.answer)
}

// accept answers an INVITE or re-INVITE with 200 and watches for its ACK. Without an answer the 200 makes an offer.
func (c *Call) accept(s *serverTx, answer []byte) error {
	body := answer
	if body == nil {
		body = c.media.offer()
	}
	c.mu.Lock()
	if c.isOver {
		c.mu.Unlock()
		return fmt.Errorf("accepting: %w", ErrOver)
	}
	c.theirs, c.offered = s, answer == nil
	// Under the lock, so that what answers the 200 finds the call up.
	err := s.respond(200, body, c.contact(), c.p.allow(), field{"Content-Type", "application/sdp"})
	if err == nil {
		c.upLocked()
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.settle(Result{200, phrase(200)}, nil, nil)
	c.p.tx.spawn(func() { c.watchAck(s) })
	return nil
}

// watchAck hangs up a call whose 2xx nobody acknowledges (RFC 3261 §13.3.1.4).
func (c *Call) watchAck(s *serverTx) {
	wait := time.NewTimer(64 * c.p.cfg.T1)
	defer wait.Stop()
	select {
	case <-s.acked:
	case <-c.done:
	case <-c.p.ctx.Done():
	case <-wait.C:
		c.p.fault("200 to INVITE was never acknowledged")
		s.ack() // so that BYE does not wait for it
		ctx, cancel := context.WithTimeout(c.p.ctx, soon)
		defer cancel()
		c.bye(ctx)
	}
}

// Refuse answers an incoming call with a final code that is no success.
func (c *Call) Refuse(code int) error { return c.refuse(code, "") }

func (c *Call) refuse(code int, moved string) error {
	if !c.incoming || code < 300 || code > 699 {
		return fmt.Errorf("refusing with %d: %w", code, ErrOver)
	}
	var fields []field
	if moved != "" {
		fields = append(fields, field{"Contact", "<" + c.p.targetURI(moved) + ">"})
	}
	if err := c.server.respond(code, nil, fields...); err != nil {
		return err
	}
	c.settle(Result{code, phrase(code)}, nil, nil)
	c.finish(EndRefused)
	return nil
}

// cancelled takes a CANCEL (RFC 3261 §9.2).
func (p *Phone) cancelled(s *serverTx) {
	invite := p.tx.find(s.req)
	if invite == nil {
		s.respond(481, nil)
		return
	}
	c := p.callOf(invite.req.CallID(), invite.toTag)
	if c != nil && c.mute {
		return
	}
	s.respond(200, nil)
	if !invite.cancel() {
		return
	}
	if err := invite.respond(487, nil); err != nil || c == nil {
		return
	}
	c.settle(Result{487, phrase(487)}, nil, nil)
	c.finish(EndCancelled)
}

// gotAck takes an ACK: by its transaction for a refusal, by its dialog for a 2xx (RFC 3261 §17.1.1.3, §13.3.1.4).
func (p *Phone) gotAck(m *Message) {
	if s := p.tx.find(m); s != nil {
		s.mu.Lock()
		code := s.code
		s.mu.Unlock()
		if code >= 300 {
			s.ack()
			return
		}
	}
	c := p.callOf(m.CallID(), m.ToTag())
	if c == nil {
		p.fault("ACK that belongs to no call")
		return
	}
	c.mu.Lock()
	s, offered := c.theirs, c.offered
	if s == nil || s.req.CSeq() != m.CSeq() {
		c.mu.Unlock()
		return
	}
	c.offered = false
	c.mu.Unlock()
	if offered {
		if err := c.media.accept(m.Body); err != nil {
			p.fault("answer in ACK: %v", err)
		}
	}
	s.ack()
}
