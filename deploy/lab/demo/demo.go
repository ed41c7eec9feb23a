package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"brickhouse/shared/siptest"
	"brickhouse/shared/siptest/ladder"
	"brickhouse/shared/tone"
)

// The tones that the phones send, in Hz, and how loud, in dBm0.
const (
	remoteTone = 440
	insideTone = 1000
	toneLevel  = -10
	// levelSlack is how far the heard level may be off, in dB: G.711 and the measurement, nothing more.
	levelSlack = 2.0
)

// step is how long one step may take.
const step = 20 * time.Second

// demo is the demonstration while it runs.
type demo struct {
	options
	out            io.Writer
	remote, inside *siptest.Phone
	call, other    *siptest.Call
}

// show runs all steps in order and stops at the first that does not show what it should.
func (d *demo) show(ctx context.Context) error {
	if err := d.open(); err != nil {
		return err
	}
	defer d.remote.Close()
	defer d.inside.Close()
	d.liftOldBan(ctx)
	fmt.Fprintf(d.out, "\n  Brickhouse at work: border %s, exchange %s\n\n", d.border, d.exchange)
	for _, s := range []func(context.Context) error{
		d.registerRemote, d.registerInside, d.telephone, d.listen, d.hangUp, d.ladder, d.hidden, d.attack, d.why, d.unharmed,
	} {
		if err := s(ctx); err != nil {
			return err
		}
	}
	d.tidy(ctx)
	return nil
}

// open makes both phones.
func (d *demo) open() error {
	r, i := d.phones[0], d.phones[1]
	var err error
	d.remote, err = siptest.NewPhone(siptest.Config{Name: "remote phone " + r.Number, User: r.Number, Password: r.Password, Domain: r.Realm,
		Transport: siptest.TLS, Server: d.border, TLS: d.trust.config(), SRTP: []siptest.Suite{siptest.AESGCM, siptest.AESCM},
		Tone: remoteTone, Level: toneLevel})
	if err != nil {
		return fmt.Errorf("opening the remote phone: %w", err)
	}
	d.inside, err = siptest.NewPhone(siptest.Config{Name: "inside phone " + i.Number, User: i.Number, Password: i.Password, Domain: i.Realm,
		Server: d.exchange, Tone: insideTone, Level: toneLevel, Answer: siptest.AcceptAfter(300 * time.Millisecond)})
	if err != nil {
		d.remote.Close()
		return fmt.Errorf("opening the inside phone: %w", err)
	}
	return nil
}

func (d *demo) registerRemote(ctx context.Context) error {
	what := fmt.Sprintf("%s registers over TLS through the border", d.remote.Name())
	return d.register(ctx, d.remote, what)
}

func (d *demo) registerInside(ctx context.Context) error {
	what := fmt.Sprintf("%s registers over UDP at the exchange", d.inside.Name())
	return d.register(ctx, d.inside, what)
}

// register registers a phone, again and again while the programs are still starting.
func (d *demo) register(ctx context.Context, p *siptest.Phone, what string) error {
	until := time.Now().Add(d.wait)
	for {
		start := time.Now()
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := p.Register(try, 5*time.Minute)
		cancel()
		if err == nil {
			d.seen(what, fmt.Sprintf("%.0f ms", float64(time.Since(start).Microseconds())/1000))
			return nil
		}
		if !starting(err) || time.Now().After(until) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// starting reports whether an error may go away when border and exchange are up.
func starting(err error) bool {
	var no *siptest.RefusedError
	if errors.As(err, &no) {
		return no.Code == 408 || no.Code == 480 || no.Code/100 == 5
	}
	return errors.Is(err, siptest.ErrNoConnection) || errors.Is(err, siptest.ErrConnection) || errors.Is(err, siptest.ErrTimeout) ||
		errors.Is(err, context.DeadlineExceeded)
}

// telephone has the remote phone call the inside phone.
func (d *demo) telephone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	start := time.Now()
	what := fmt.Sprintf("%s calls %s", d.phones[0].Number, d.phones[1].Number)
	var err error
	if d.call, err = d.remote.Call(ctx, d.phones[1].Number); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	select {
	case d.other = <-d.inside.Incoming():
	case <-ctx.Done():
		return fmt.Errorf("%s: answered, but not by %s", what, d.inside.Name())
	}
	outside, inside := d.call.Stats(), d.other.Stats()
	if outside.Suite == "" || inside.Suite != "" {
		return fmt.Errorf("%s: sound is %q outside and %q inside, want encrypted outside and plain inside", what, outside.Suite, inside.Suite)
	}
	d.seen(what+", who answers", fmt.Sprintf("%.0f ms", float64(time.Since(start).Microseconds())/1000))
	d.note("sound: SRTP %s outside, RTP %s inside", outside.Suite, inside.Codec)
	return nil
}

// listen measures what both sides hear.
func (d *demo) listen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	for _, l := range []struct {
		call     *siptest.Call
		from, to string
		hz       float64
	}{
		{d.other, d.phones[0].Number, d.phones[1].Number, remoteTone},
		{d.call, d.phones[1].Number, d.phones[0].Number, insideTone},
	} {
		what := fmt.Sprintf("%s sends %4.0f Hz at %.0f dBm0, %s hears", l.from, l.hz, float64(toneLevel), l.to)
		heard, err := l.call.AwaitTone(ctx, l.hz)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := loudEnough(heard); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		d.seen(what, fmt.Sprintf("%.1f Hz at %.1f dBm0", heard.Frequency, heard.Level))
	}
	select { // long enough for the counters to mean something
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	return d.clean()
}

// loudEnough holds a level against what was sent.
func loudEnough(r tone.Result) error {
	if r.Level < toneLevel-levelSlack || r.Level > toneLevel+levelSlack {
		return fmt.Errorf("%.1f dBm0 were heard, %d were sent", r.Level, toneLevel)
	}
	return nil
}

// clean wants no packet that did not belong to the call.
func (d *demo) clean() error {
	for _, c := range []struct {
		who  string
		call *siptest.Call
	}{{d.remote.Name(), d.call}, {d.inside.Name(), d.other}} {
		s := c.call.Stats()
		if bad := s.AuthFailures + s.RTCPFailures + s.Foreign + s.Malformed + s.WrongPayload; bad > 0 {
			return fmt.Errorf("%s received %d packets that do not belong to the call: %+v", c.who, bad, s)
		}
		d.note("%s: %d packets sent, %d received, %d lost", c.who, s.Sent, s.Received, s.Lost)
	}
	return nil
}

func (d *demo) hangUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	if err := d.call.Hangup(ctx); err != nil {
		return fmt.Errorf("hanging up: %w", err)
	}
	select {
	case <-d.other.Done():
	case <-ctx.Done():
		return fmt.Errorf("%s did not learn that the call is over", d.inside.Name())
	}
	for _, p := range []*siptest.Phone{d.remote, d.inside} {
		if f := p.Faults(); len(f) > 0 {
			return fmt.Errorf("%s found a fault: %s", p.Name(), f[0])
		}
	}
	d.seen(fmt.Sprintf("%s hangs up, the call ends on both sides", d.phones[0].Number), "")
	return nil
}

// ladder draws the call as the two phones saw it.
func (d *demo) ladder(context.Context) error {
	remote, inside := d.remote.Column(), d.inside.Column()
	remote.Messages = ladder.OfCall(remote.Messages, d.call.ID())
	inside.Messages = ladder.OfCall(inside.Messages, d.other.ID())
	fmt.Fprintln(d.out)
	err := ladder.Print(d.out, []ladder.Column{remote, {Name: "border", Addrs: d.known(d.remote, d.border)},
		{Name: "exchange", Addrs: d.known(d.inside, d.exchange)}, inside}, ladder.Options{Width: 98, Unicode: d.unicode})
	fmt.Fprintf(d.out, "\n  (Border and exchange talk over mutual TLS; what they say there no phone sees.)\n\n")
	return err
}

// known are the addresses that a phone's server has: the one it was given and those that it was heard from.
func (d *demo) known(p *siptest.Phone, server string) []string {
	out := []string{server}
	for _, m := range p.Ladder() {
		out = append(out, m.Remote.String())
	}
	return out
}

// hidden wants that nothing of the inside was seen outside.
func (d *demo) hidden(context.Context) error {
	secrets := append([]string{"Brickhouse-", d.inside.Addr().String()}, d.known(d.inside, d.exchange)...)
	for _, m := range ladder.Received(d.remote.Ladder()) {
		for _, s := range secrets {
			if strings.Contains(strings.ToLower(m.Text), strings.ToLower(s)) {
				return fmt.Errorf("%q of the inside is seen outside, in %q", s, m.FirstLine)
			}
		}
	}
	d.seen("nothing that the remote phone received names an address or header of the inside", "")
	return nil
}

// tidy removes both bindings, so that real phones find none of ours.
func (d *demo) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, p := range []*siptest.Phone{d.remote, d.inside} {
		if err := p.Unregister(ctx); err != nil {
			d.note("%s is still registered: %v", p.Name(), err)
		}
	}
}

// seenWidth is where the results of what was seen begin.
const seenWidth = 66

// seen prints what was seen and a result.
func (d *demo) seen(what, result string) {
	mark, dots := "[ok]", "."
	if d.unicode {
		mark, dots = "✓", "·"
	}
	line := "  " + mark + " " + what
	if result != "" {
		line += " "
		if n := seenWidth - utf8.RuneCountInString(line); n > 0 {
			line += strings.Repeat(dots, n)
		}
		line += " " + result
	}
	fmt.Fprintln(d.out, line)
}

// note prints something that is good to know.
func (d *demo) note(format string, args ...any) {
	fmt.Fprintf(d.out, "       "+format+"\n", args...)
}
