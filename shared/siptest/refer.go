package siptest

import (
	"context"
	"net/url"
	"strconv"
	"strings"
)

// Refer asks that the far side be put through to a target (RFC 3515): a blind transfer. What becomes of it is told in
// Progress. lines are further header lines, as "Refer-Sub: false".
func (c *Call) Refer(ctx context.Context, target string, lines ...string) (Result, error) {
	return c.refer(ctx, c.p.targetURI(target), lines)
}

// ReferToCall asks that the far side be put through to that of another call of this phone: an attended transfer (RFC 5589 §7).
func (c *Call) ReferToCall(ctx context.Context, other *Call, lines ...string) (Result, error) {
	other.mu.Lock()
	target := other.dialog.target
	other.mu.Unlock()
	return c.refer(ctx, target+"?Replaces="+url.QueryEscape(other.Replaces()), lines)
}

// Replaces names this call for another party of the same server (RFC 3891 §3: the tags as the receiver has them).
func (c *Call) Replaces() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dialog.callID + ";to-tag=" + c.dialog.remoteTag + ";from-tag=" + c.dialog.localTag
}

func (c *Call) refer(ctx context.Context, uri string, lines []string) (Result, error) {
	extra := []field{c.contact(), {"Refer-To", "<" + uri + ">"}}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		extra = append(extra, field{name, strings.TrimSpace(value)})
	}
	m, err := c.ask(ctx, "REFER", nil, extra...)
	if err != nil {
		return Result{}, err
	}
	if m.Code/100 == 2 && m.Header("Contact") == "" {
		c.p.fault("%d to REFER without Contact", m.Code)
	}
	return m.result(), nil
}

// Progress are the codes that the far side told of a transfer, in order.
func (c *Call) Progress() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]int(nil), c.progress...)
}

// notified takes a NOTIFY within a call: how far a transfer has come (RFC 3515 §2.4.5).
func (p *Phone) notified(s *serverTx) {
	m := s.req
	c := p.callOf(m.CallID(), m.ToTag())
	if c == nil {
		s.respond(481, nil)
		return
	}
	rest, ok := strings.CutPrefix(string(m.Body), "SIP/2.0 ")
	code, _ := strconv.Atoi(rest[:min(3, len(rest))])
	typ, _, _ := strings.Cut(m.Header("Content-Type"), ";")
	event, _, _ := strings.Cut(m.Header("Event"), ";")
	state, _, _ := strings.Cut(m.Header("Subscription-State"), ";")
	switch {
	case !ok || code < 100 || typ != "message/sipfrag":
		p.fault("NOTIFY with %s %q", typ, m.Body)
	case event != "refer" || (state == "terminated") != (code >= 200) || state != "terminated" && state != "active":
		p.fault("NOTIFY of %q that is %q at %d", event, state, code)
	case m.Header("Contact") == "":
		p.fault("NOTIFY without Contact")
	}
	s.respond(200, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress = append(c.progress, code)
}
