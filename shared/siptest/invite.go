package siptest

import (
	"context"
	"fmt"
)

// InviteOption changes an outgoing INVITE.
type InviteOption func(*inviteOptions)

type inviteOptions struct {
	fields  []field
	change  func(string) string
	noOffer bool
	from    string
	to      string
}

// WithHeader adds a header field, for instance one that a stranger invented.
func WithHeader(name, value string) InviteOption {
	return func(o *inviteOptions) { o.fields = append(o.fields, field{name, value}) }
}

// WithSDP changes the offer before it is sent, after the phone has taken note of what it would have offered.
func WithSDP(change func(sdp string) string) InviteOption {
	return func(o *inviteOptions) { o.change = change }
}

// WithoutOffer sends the INVITE without a session description: the 2xx brings the offer, the ACK the answer.
func WithoutOffer() InviteOption { return func(o *inviteOptions) { o.noOffer = true } }

// WithFrom calls with another URI in From than the own address of record.
func WithFrom(uri string) InviteOption { return func(o *inviteOptions) { o.from = uri } }

// WithTo calls with another URI in To than in the start line, as a carrier does that calls a registered contact.
func WithTo(uri string) InviteOption { return func(o *inviteOptions) { o.to = uri } }

// Call calls a target — a number, user@host or a URI — and waits for the final answer. A refusal is a *RefusedError; the Call
// is returned with it. If the context ends first, the call is cancelled.
func (p *Phone) Call(ctx context.Context, target string, opts ...InviteOption) (*Call, error) {
	c, err := p.Invite(ctx, target, opts...)
	if err != nil {
		return nil, err
	}
	r, err := c.Wait(ctx)
	if err != nil {
		err = fmt.Errorf("%s calling %s: %w", p.cfg.Name, target, err)
		if ctx.Err() != nil {
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), soon)
			defer cancel()
			c.Hangup(bye) // what comes of it shows in the call
		}
		return c, err
	}
	if !r.OK() {
		return c, &RefusedError{Method: "INVITE", Result: r, Response: c.Response()}
	}
	return c, nil
}

// Invite begins a call and returns at once: see Wait, Cancel, Hangup. The context is used only to connect.
func (p *Phone) Invite(ctx context.Context, target string, opts ...InviteOption) (*Call, error) {
	o := inviteOptions{from: p.AOR()}
	for _, opt := range opts {
		opt(&o)
	}
	uri := p.targetURI(target)
	if o.to == "" {
		o.to = uri
	}
	f, err := p.flowTo(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("%s calling %s: %w", p.cfg.Name, target, err)
	}
	m, err := newMedia(p.cfg)
	if err != nil {
		return nil, fmt.Errorf("%s calling %s: %w", p.cfg.Name, target, err)
	}
	c := newCall(p, dialog{callID: token(), localTag: token(), local: "<" + o.from + ">", remote: "<" + o.to + ">", target: uri}, f, m)
	p.keep(c)
	d := c.dialog.request("INVITE")
	d.fields = append(d.fields, c.contact(), p.allow())
	d.fields = append(d.fields, o.fields...)
	if !o.noOffer {
		sdp := m.offer()
		if o.change != nil {
			sdp = []byte(o.change(string(sdp)))
		}
		d.add("Content-Type", "application/sdp").body = sdp
	}
	if !p.tx.spawn(func() { c.run(d, !o.noOffer) }) {
		c.finish(EndClosed)
		return nil, errClosed
	}
	return c, nil
}

// contact is our Contact for this call's flow.
func (c *Call) contact() field { return field{"Contact", "<" + c.p.contactURI(c.f.local) + ">"} }

// run sends the INVITE, answers challenges, and ends when the call is up or will not be.
func (c *Call) run(d *draft, offered bool) {
	var a attempts
	for {
		m, err := c.attempt(d, offered)
		if err != nil {
			c.settle(Result{}, nil, err)
			c.finish(EndFailed)
			return
		}
		if !c.isCancelled() && c.p.again(m, &a) {
			continue
		}
		if m.result().OK() {
			c.established(d, m, offered)
			return
		}
		c.settle(m.result(), m, nil)
		if c.isCancelled() {
			c.finish(EndCancelled)
		} else {
			c.finish(EndRefused)
		}
		return
	}
}

func (c *Call) isCancelled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancelIt
}

// attempt sends the INVITE once and returns its final response.
func (c *Call) attempt(d *draft, offered bool) (*Message, error) {
	if c.isCancelled() {
		return nil, fmt.Errorf("%w: %s", ErrOver, EndCancelled)
	}
	tx, err := c.p.launch(c.f, d, c.nextCSeq())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.pending = tx
	late := c.cancelIt // Cancel was called before there was anything to cancel
	c.mu.Unlock()
	if late {
		c.p.tx.spawn(func() {
			ctx, cancel := context.WithTimeout(c.p.ctx, soon)
			defer cancel()
			if err := c.sendCancel(ctx, tx); err != nil {
				c.p.fault("%v", err)
			}
		})
	}
	for {
		m, err := tx.next(c.p.ctx)
		if err != nil || m.Code >= 200 {
			return m, err
		}
		c.provisional(m, offered)
	}
}

// provisional notes a 1xx; a session description in it is the answer to our offer (early media).
func (c *Call) provisional(m *Message, offered bool) {
	c.mu.Lock()
	c.early = append(c.early, m.result())
	c.mu.Unlock()
	if offered && len(m.Body) > 0 {
		if err := c.media.accept(m.Body); err != nil {
			c.p.fault("%d with session description: %v", m.Code, err)
		}
	}
}

// established takes a 2xx: the dialog stands, the ACK goes out, the sound begins.
func (c *Call) established(d *draft, m *Message, offered bool) {
	c.mu.Lock()
	c.dialog.establish(m)
	c.mu.Unlock()
	var answer []byte
	var err error
	if offered {
		err = c.media.accept(m.Body)
	} else {
		answer, err = c.media.answer(m.Body)
	}
	if sent := c.acknowledge(d, m.CSeq(), answer); err == nil {
		err = sent
	}
	if err != nil {
		c.p.fault("200 to INVITE: %v", err)
	}
	c.settle(m.result(), m, err)
	if err != nil || c.isCancelled() {
		ctx, cancel := context.WithTimeout(c.p.ctx, soon)
		defer cancel()
		c.bye(ctx)
	}
}

// acknowledge sends the ACK to a 2xx and keeps it for repeated ones. It carries the credentials of the INVITE
// (RFC 3261 §13.2.2.4).
func (c *Call) acknowledge(invite *draft, cseq uint32, body []byte) error {
	f, err := c.flow(c.p.ctx)
	if err != nil {
		c.up() // it must be hung up
		return err
	}
	c.mu.Lock()
	d := c.dialog.request("ACK")
	c.mu.Unlock()
	raw := c.p.finishAck(f, d, invite, cseq, body)
	c.mu.Lock()
	defer c.mu.Unlock() // so that what answers the ACK finds the call up, and no BYE overtakes it
	c.acks[cseq] = raw
	err = f.send(raw)
	c.upLocked()
	return err
}

func (p *Phone) finishAck(f *flow, d, invite *draft, cseq uint32, body []byte) []byte {
	d.add("CSeq", fmt.Sprintf("%d ACK", cseq))
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		if v := invite.get(name); v != "" {
			d.add(name, v)
		}
	}
	if body != nil {
		d.add("Content-Type", "application/sdp").body = body
	}
	p.dress(f, d)
	return d.bytes()
}

// stray takes a response that no transaction waits for. A 2xx to an INVITE is acknowledged again; one from another branch of a
// fork is acknowledged and hung up (RFC 3261 §13.2.2.4).
func (p *Phone) stray(f *flow, m *Message) {
	c := p.callOf(m.CallID(), m.FromTag())
	if c == nil || m.Method != "INVITE" || !m.result().OK() {
		p.fault("response %d to %s that belongs to nothing", m.Code, m.Method)
		return
	}
	c.mu.Lock()
	tag, ack, other := c.dialog.remoteTag, c.acks[m.CSeq()], c.dialog
	tx := c.pending
	c.mu.Unlock()
	switch {
	case tag == "" || tx == nil: // our own goroutine is about to acknowledge
	case tag == m.ToTag() && ack != nil:
		f.send(ack)
	case tag != m.ToTag():
		other.establish(m)
		p.tx.spawn(func() { p.dropFork(f, other, tx.sent, m.CSeq()) })
	}
}

// dropFork ends a second dialog of a forked INVITE.
func (p *Phone) dropFork(f *flow, d dialog, invite *draft, cseq uint32) {
	if err := f.send(p.finishAck(f, d.request("ACK"), invite, cseq, nil)); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	if _, err := p.do(ctx, f, d.request("BYE"), func() uint32 { d.cseq++; return d.cseq }); err != nil {
		p.fault("hanging up a second answer: %v", err)
	}
}

// Cancel cancels a call that this phone made and that has no final answer yet, and waits for that answer. If the other side
// answered first, the call is hung up.
func (c *Call) Cancel(ctx context.Context) error {
	c.mu.Lock()
	tx := c.pending
	c.cancelIt = true
	c.mu.Unlock()
	if c.incoming {
		return fmt.Errorf("CANCEL: the call came in: %w", ErrOver)
	}
	if tx != nil {
		if err := c.sendCancel(ctx, tx); err != nil {
			return err
		}
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cancelling: %w", ctx.Err())
	}
}

// sendCancel sends the CANCEL as soon as a provisional response allows it (RFC 3261 §9.1).
func (c *Call) sendCancel(ctx context.Context, tx *clientTx) error {
	select {
	case <-tx.provisional:
	case <-tx.final:
		return nil
	case <-tx.dead:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cancelling: no provisional response: %w", ctx.Err())
	}
	d := tx.sent.follower("CANCEL", tx.sent.get("To"))
	cancel, err := tx.t.send(tx.f, d)
	if err != nil {
		return fmt.Errorf("CANCEL: %w", err)
	}
	m, err := cancel.wait(ctx)
	if err != nil {
		return fmt.Errorf("CANCEL: %w", err)
	}
	return refused(m)
}
