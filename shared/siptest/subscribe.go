package siptest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Subscription is a watch on somebody (RFC 6665). Its methods may be called from several goroutines.
type Subscription struct {
	p     *Phone
	event string

	dialog  dialog     // Phone.mu guards all below
	notes   []*Message // NOTIFYs, in order
	refuses int        // code for the next NOTIFYs; 0: 200
}

// Subscribe asks to be told of an event of target, answering challenges. A refusal is a *RefusedError. lines are further header
// lines.
func (p *Phone) Subscribe(ctx context.Context, target, event string, expires time.Duration, lines ...string) (*Subscription, error) {
	uri := p.targetURI(target)
	s := &Subscription{p: p, event: event, dialog: dialog{
		callID: token(), localTag: token(), local: "<" + p.AOR() + ">", remote: "<" + uri + ">", target: uri,
	}}
	p.mu.Lock()
	if p.subs == nil {
		p.subs = map[string]*Subscription{}
	}
	p.subs[s.dialog.callID+" "+s.dialog.localTag] = s // a NOTIFY may overtake the 200
	p.mu.Unlock()
	return s, s.ask(ctx, expires, lines)
}

// Renew asks for more time, within the subscription. 0 ends it.
func (s *Subscription) Renew(ctx context.Context, expires time.Duration) error {
	return s.ask(ctx, expires, nil)
}

func (s *Subscription) ask(ctx context.Context, expires time.Duration, lines []string) error {
	p := s.p
	p.mu.Lock()
	d := s.dialog.request("SUBSCRIBE")
	hop := s.dialog.hop()
	p.mu.Unlock()
	f, err := p.flowTo(ctx, hop)
	if err != nil {
		return fmt.Errorf("%s watching: %w", p.cfg.Name, err)
	}
	d.add("Event", s.event).add("Expires", strconv.Itoa(int(expires.Seconds()))).add("Contact", "<"+p.contactURI(f.local)+">")
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		d.add(name, strings.TrimSpace(value))
	}
	m, err := p.do(ctx, f, d, func() uint32 {
		p.mu.Lock()
		defer p.mu.Unlock()
		s.dialog.cseq++
		return s.dialog.cseq
	})
	if err != nil {
		return err
	}
	if err := refused(m); err != nil {
		return err
	}
	if m.Header("Contact") == "" || m.Header("Expires") == "" {
		p.fault("%d to SUBSCRIBE without Contact or Expires", m.Code)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.dialog.establish(m)
	return nil
}

// Notes are the NOTIFYs that came in.
func (s *Subscription) Notes() []*Message {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return append([]*Message(nil), s.notes...)
}

// Refuse has later NOTIFYs answered with a code.
func (s *Subscription) Refuse(code int) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.refuses = code
}

// Publish tells what the phone's user does (RFC 3903). match is the entity tag of what was published before, or empty. It returns
// the answer, with the new tag in SIP-ETag.
func (p *Phone) Publish(ctx context.Context, body, match string, expires time.Duration) (*Message, error) {
	uri := p.AOR()
	f, err := p.flowTo(ctx, uri)
	if err != nil {
		return nil, err
	}
	d := &draft{start: "PUBLISH " + uri + " SIP/2.0"}
	d.add("Max-Forwards", "70").add("From", "<"+uri+">;tag="+token()).add("To", "<"+uri+">").add("Call-ID", token())
	d.add("Event", "presence").add("Expires", strconv.Itoa(int(expires.Seconds())))
	if match != "" {
		d.add("SIP-If-Match", match)
	}
	if body != "" {
		d.add("Content-Type", "application/pidf+xml").body = []byte(body)
	}
	seq := uint32(0)
	return p.do(ctx, f, d, func() uint32 { seq++; return seq })
}

// watched takes a NOTIFY of a subscription. It reports whether it is one.
func (p *Phone) watched(s *serverTx) bool {
	m := s.req
	p.mu.Lock()
	sub := p.subs[m.CallID()+" "+m.ToTag()]
	code := 200
	if sub != nil {
		sub.notes = append(sub.notes, m)
		if sub.refuses != 0 {
			code = sub.refuses
		}
	}
	p.mu.Unlock()
	if sub == nil {
		return false
	}
	event, _, _ := strings.Cut(m.Header("Event"), ";")
	want, _, _ := strings.Cut(sub.event, ";")
	if event != want || m.Header("Contact") == "" || m.Header("Subscription-State") == "" {
		p.fault("NOTIFY of %q without what it needs", event)
	}
	s.respond(code, nil)
	return true
}
