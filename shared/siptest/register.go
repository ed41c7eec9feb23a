package siptest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Register makes a binding of the address of record to this phone for a time, answering challenges (RFC 3261 §10.2). A refusal
// is a *RefusedError. The binding is not renewed by itself: call Register again.
func (p *Phone) Register(ctx context.Context, expires time.Duration) error {
	m, err := p.register(ctx, expires)
	if err != nil {
		return err
	}
	if err := refused(m); err != nil {
		return err
	}
	if expires > 0 && !p.bound(m) {
		return fmt.Errorf("registering %s: the 200 does not list our contact, but %q", p.cfg.Name, m.list("Contact"))
	}
	return nil
}

// Unregister removes this phone's binding.
func (p *Phone) Unregister(ctx context.Context) error { return p.Register(ctx, 0) }

// register sends a REGISTER and returns its final response.
func (p *Phone) register(ctx context.Context, expires time.Duration) (*Message, error) {
	f, err := p.flowTo(ctx, "sip:"+p.cfg.Domain)
	if err != nil {
		return nil, err
	}
	contact := p.contactURI(f.local)
	aor := "<" + p.AOR() + ">"
	d := &draft{start: "REGISTER sip:" + p.cfg.Domain + " SIP/2.0"}
	d.add("Max-Forwards", "70").add("From", aor+";tag="+token()).add("To", aor).add("Call-ID", p.regID).
		add("Contact", "<"+contact+">").add("Expires", strconv.Itoa(int(expires.Seconds())))
	p.mu.Lock()
	p.regContact = contact
	p.mu.Unlock()
	return p.do(ctx, f, d, func() uint32 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.regSeq++
		return p.regSeq
	})
}

// bound reports whether a 200 lists the contact that we registered: that is how a phone learns for how long it is bound
// (RFC 3261 §10.2.4), so whoever rewrites it on the way must write it back.
func (p *Phone) bound(m *Message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range m.list("Contact") {
		if uri := address(c); hostPort(uri) == hostPort(p.regContact) && strings.HasPrefix(uri, "sip:"+p.cfg.User+"@") {
			return true
		}
	}
	return false
}
