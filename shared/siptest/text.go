package siptest

import (
	"context"
	"fmt"
)

// Message sends a text (RFC 3428) and returns what it was answered.
func (p *Phone) Message(ctx context.Context, target, text string) (Result, error) {
	uri := p.targetURI(target)
	f, err := p.flowTo(ctx, uri)
	if err != nil {
		return Result{}, fmt.Errorf("%s writing to %s: %w", p.cfg.Name, target, err)
	}
	d := &draft{start: "MESSAGE " + uri + " SIP/2.0"}
	d.add("Max-Forwards", "70").add("From", "<"+p.AOR()+">;tag="+token()).add("To", "<"+uri+">").add("Call-ID", token())
	d.add("Content-Type", "text/plain;charset=UTF-8").body = []byte(text)
	seq := uint32(0)
	m, err := p.do(ctx, f, d, func() uint32 { seq++; return seq })
	if err != nil {
		return Result{}, err
	}
	return m.result(), nil
}

// Texts are the MESSAGE requests that came in, outside calls.
func (p *Phone) Texts() []*Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*Message(nil), p.texts...)
}

// messaged takes a text.
func (p *Phone) messaged(s *serverTx) {
	p.mu.Lock()
	p.texts = append(p.texts, s.req)
	p.mu.Unlock()
	s.respond(200, nil)
}
