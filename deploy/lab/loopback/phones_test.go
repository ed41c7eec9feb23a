package loopback

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// place is where a phone stands and how it speaks.
type place int

const (
	remote   place = iota // TLS, SRTP with AES-GCM
	remoteCM              // TLS, SRTP with AES-CM
	insideUDP
	insideTCP
)

func (p place) String() string {
	return [...]string{"remote", "remoteCM", "insideUDP", "insideTCP"}[p]
}

func (p place) outside() bool { return p <= remoteCM }

// config is a phone of an extension, on an address of its own.
func (s *site) config(p place, number string) siptest.Config {
	host := s.host()
	n, _ := strconv.Atoi(number)
	c := siptest.Config{User: number, Password: password(number), Domain: domain, Bind: s.ip(host),
		Tone: tones[n%len(tones)], UserAgent: "OutsidePhone/" + number}
	switch p {
	case remote, remoteCM:
		c.Transport, c.TLS, c.Server = siptest.TLS, s.tls(), net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort))
		c.SRTP = []siptest.Suite{siptest.AESGCM}
		if p == remoteCM {
			c.SRTP = []siptest.Suite{siptest.AESCM}
		}
		return c
	case insideTCP:
		c.Transport = siptest.TCP
	}
	c.UserAgent = "InsidePhone/" + number
	c.Bind = s.ip(host + 50)
	c.Server = net.JoinHostPort(s.addr(10), strconv.Itoa(udpPort))
	return c
}

// tones are far enough apart to be told apart, and no multiples of each other.
var tones = []float64{440, 523, 620, 740, 880, 1170, 1310, 1490, 1610, 1730}

// host is the last octet of the next phone's address.
func (s *site) host() int { return 100 + int(s.next.Add(1)-1)%50 }

// phone makes a phone that is closed, and asked for faults, at the end of the test.
func (s *site) phone(c siptest.Config) *siptest.Phone {
	t := s.t
	t.Helper()
	var p *siptest.Phone
	bind(t, func() (err error) {
		p, err = siptest.NewPhone(c)
		return err
	})
	t.Cleanup(func() {
		p.Close()
		for _, f := range p.Faults() {
			t.Errorf("%s found fault: %s", p.Name(), f)
		}
		if t.Failed() {
			for _, m := range p.Ladder() {
				t.Logf("%s %s sent=%v\n%s", m.Time.Format("05.000"), p.Name(), m.Sent, m.Text)
			}
		}
	})
	return p
}

// bind does what binds a port, again if it is taken: a socket that was closed lives on for a moment in a program that is just
// being started by another test.
func bind(t testing.TB, open func() error) {
	t.Helper()
	eventually(t, "a port", func() string {
		err := open()
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

// register makes a phone and registers it.
func (s *site) register(c siptest.Config) *siptest.Phone {
	s.t.Helper()
	p := s.phone(c)
	s.renew(p)
	return p
}

// renew registers a phone.
func (s *site) renew(p *siptest.Phone) {
	s.t.Helper()
	if err := p.Register(within(s.t, patience), time.Hour); err != nil {
		s.t.Fatalf("registering %s: %v", p.Name(), err)
	}
}

// pair is a call as both of its sides have it.
type pair struct {
	a, b   *siptest.Call // who called, who was called
	pa, pb *siptest.Phone
	ha, hb float64 // what each sends
}

// connect calls from a to b, who answers, and returns both sides of the call.
func connect(t testing.TB, a, b *siptest.Phone, number string, opts ...siptest.InviteOption) pair {
	t.Helper()
	call, err := a.Call(within(t, patience), number, opts...)
	if err != nil {
		t.Fatal(err)
	}
	in := incoming(t, b)
	await(t, in.Answered(), b.Name()+" to be connected")
	return pair{call, in, a, b, toneOf(a), toneOf(b)}
}

func toneOf(p *siptest.Phone) float64 {
	n, _ := strconv.Atoi(p.Name())
	return tones[n%len(tones)]
}

// incoming takes the next call that rings at a phone.
func incoming(t testing.TB, p *siptest.Phone) *siptest.Call {
	t.Helper()
	select {
	case c := <-p.Incoming():
		return c
	case <-time.After(patience):
		t.Fatalf("no call rings at %s", p.Name())
		return nil
	}
}

func await(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("waited %s for %s", patience, what)
	}
}

// talk wants that each side hears the other's tone as loud as it was sent.
func (p pair) talk(t testing.TB) {
	t.Helper()
	hears(t, p.pa, p.a, p.hb)
	hears(t, p.pb, p.b, p.ha)
}

// hears wants a tone of -10 dBm0 at one phone.
func hears(t testing.TB, p *siptest.Phone, c *siptest.Call, hz float64) {
	t.Helper()
	r, err := c.AwaitTone(within(t, patience), hz)
	if err != nil {
		t.Fatalf("%s: %v; %+v", p.Name(), err, c.Stats())
	}
	if math.Abs(r.Level+10) > 2 {
		// A window that began between two packets holds a gap: once more, over one that does not.
		if r, err = c.AwaitTone(within(t, patience), hz); err != nil || math.Abs(r.Level+10) > 3 {
			t.Errorf("%s hears %v Hz at %.1f dBm0 instead of -10, %v", p.Name(), hz, r.Level, err)
		}
	}
}

// quiet wants that neither side hears anything.
func (p pair) quiet(t testing.TB) {
	t.Helper()
	for _, c := range []*siptest.Call{p.a, p.b} {
		if _, err := c.AwaitSilence(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
}

// hangup ends a call from one side and wants the other to see it.
func (p pair) hangup(t testing.TB, byCaller bool) {
	t.Helper()
	by, other := p.a, p.b
	if !byCaller {
		by, other = p.b, p.a
	}
	if err := by.Hangup(within(t, patience)); err != nil {
		t.Fatalf("hanging up: %v", err)
	}
	await(t, other.Done(), "the other side to see the end")
	if end := other.Ended(); end != siptest.EndBye {
		t.Errorf("the other side's call ended with %s", end)
	}
}

// fails wants a call to be refused with a code.
func fails(t testing.TB, p *siptest.Phone, number string, code int, opts ...siptest.InviteOption) *siptest.RefusedError {
	t.Helper()
	c, err := p.Call(within(t, patience), number, opts...)
	var no *siptest.RefusedError
	if !errors.As(err, &no) {
		if err == nil {
			_ = c.Hangup(within(t, patience))
		}
		t.Fatalf("%s calling %s: %v, not refused with %d", p.Name(), number, err, code)
		return nil
	}
	if no.Code != code {
		t.Errorf("%s calling %s: %s, want %d", p.Name(), number, no.Result, code)
	}
	return no
}

// rings waits until a call has got a provisional response.
func rings(t testing.TB, c *siptest.Call, code int) {
	t.Helper()
	eventually(t, fmt.Sprintf("a %d", code), func() string {
		for _, r := range c.Provisional() {
			if r.Code == code {
				return ""
			}
		}
		if r := c.Result(); r.Code != 0 {
			t.Fatalf("the call ended with %s before it rang", r)
		}
		return fmt.Sprint(c.Provisional())
	})
}

// invite begins a call.
func invite(t testing.TB, p *siptest.Phone, number string, opts ...siptest.InviteOption) *siptest.Call {
	t.Helper()
	c, err := p.Invite(within(t, patience), number, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settled waits for a call's final answer.
func settled(t testing.TB, c *siptest.Call) siptest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := c.Wait(ctx)
	if err != nil {
		t.Fatalf("waiting for the final answer: %v", err)
	}
	return r
}
