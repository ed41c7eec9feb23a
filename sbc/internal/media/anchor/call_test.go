package anchor

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// TestTonesBothWays is the anchor's whole work: SRTP outside, RTP inside, each side hears the other, calls in both directions.
func TestTonesBothWays(t *testing.T) {
	lo := uint16(15000)
	for _, suite := range []string{cm, gcm} {
		for _, caller := range []Side{A, B} {
			a := newAnchor(t, lo, nil)
			lo += 200
			ends := [2]Endpoint{outside(), inside()}
			phones := [2]*phone{newPhone(t, "127.0.0.1", suite), newPhone(t, "127.0.0.1", "")}
			// The outside phone is always phones[0]; it is side A if it calls.
			s := a.Open("x", ends[caller], ends[caller.Other()], Events{})
			offer, answer := connect(t, s, phones[caller], phones[caller.Other()])
			talk(t, phones[0], phones[1])
			phones[0].law, phones[1].law = 8, 8
			talk(t, phones[0], phones[1])
			if phones[0].failures+phones[1].failures != 0 {
				t.Errorf("%s: packets did not open", suite)
			}
			waitFor(t, "all counted", func() bool { return s.Stats().Sides[caller].PacketsOut == 30 })
			st := s.Stats()
			if o := st.Sides[caller]; o.Suite != suite || o.PacketsIn != 30 || o.PacketsOut != 30 || !o.Latched || len(o.Dropped) != 0 {
				t.Errorf("%s: outside %+v", suite, o)
			}
			if i := st.Sides[caller.Other()]; i.Suite != "" || i.PacketsIn != 30 || i.BytesIn != 30*172 {
				t.Errorf("%s: inside %+v", suite, i)
			}
			for _, leak := range [][]byte{[]byte("alice"), []byte("mydesk")} {
				if bytes.Contains(offer, leak) || bytes.Contains(answer, leak) {
					t.Errorf("%q crossed the border", leak)
				}
			}
			s.Close()
		}
	}
}

// What is on the wire outside must not hold the tone's μ-law pattern.
func TestWireShowsNoPlainPayload(t *testing.T) {
	a := newAnchor(t, 15800, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	patterns := 0
	for _, w := range in.wire {
		for _, o := range out.wire {
			for at := 12; at+8 <= len(w); at += 8 {
				patterns++
				if bytes.Contains(o[12:], w[at:at+8]) {
					t.Fatal("a plain payload is on the wire outside")
				}
			}
		}
	}
	in.play(1004, 1)
	plain := in.law.Encode(nil, make([]int16, 8))
	for _, o := range out.wire {
		patterns++
		if bytes.Contains(o[12:], plain) {
			t.Fatal("plain silence is on the wire outside")
		}
	}
	if patterns < 1000 {
		t.Error("too little was compared")
	}
}

// An offer in the 2xx and its answer in the ACK are the same calls with the sides exchanged.
func TestDelayedOffer(t *testing.T) {
	a := newAnchor(t, 16000, nil)
	out, in := newPhone(t, "127.0.0.1", cm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	exchangeSDP(t, s, B, in, out)
	talk(t, out, in)
	s.Close()
}

func TestHoldAndResume(t *testing.T) {
	a := newAnchor(t, 16200, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	tx, rx := out.tx, out.rx
	for _, c := range []struct{ by, offered, answered string }{
		{"sendonly", "sendonly", "recvonly"}, {"inactive", "inactive", "inactive"}, {"recvonly", "recvonly", "sendonly"},
	} {
		offer, answer := exchangeSDP(t, s, A, out, in, c.by)
		if got := parse(t, offer).Media[0].Direction.String(); got != c.offered {
			t.Errorf("%s was offered as %s", c.by, got)
		}
		if got := parse(t, answer).Media[0].Direction.String(); got != c.answered {
			t.Errorf("%s was answered as %s", c.by, got)
		}
		if !s.Stats().OnHold {
			t.Errorf("%s is no hold", c.by)
		}
	}
	out.rx = rx // the keys are the same, so the phone goes on with its context
	exchangeSDP(t, s, B, in, out)
	if out.tx != tx {
		t.Fatal("the phone's context changed")
	}
	out.rx = rx
	if s.Stats().OnHold {
		t.Error("still on hold")
	}
	talk(t, out, in)
	if out.failures != 0 {
		t.Errorf("%d packets did not open after the resume", out.failures)
	}
}

// A phone that still holds as RFC 2543 did.
func TestHoldByUnspecifiedAddress(t *testing.T) {
	a := newAnchor(t, 16400, nil)
	out, in := newPhone(t, "127.0.0.1", cm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	held := bytes.ReplaceAll(in.sdp(), []byte("c=IN IP4 127.0.0.1"), []byte("c=IN IP4 0.0.0.0"))
	offer, err := s.Offer(B, held)
	if err != nil {
		t.Fatal(err)
	}
	if got := parse(t, offer).Media[0].Direction.String(); got != "sendonly" {
		t.Errorf("offered as %s", got)
	}
	if _, err := s.Answer(A, out.sdp("recvonly")); err != nil {
		t.Fatal(err)
	}
	out.play(440, 3)
	waitFor(t, "unwanted media counted", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaUnwanted] == 3 })
	in.silent()
	in.play(1004, 2) // music on hold still passes
	out.listen(2)
}

// New keys in a re-offer, from both sides, and another codec; the tones go on.
func TestRekey(t *testing.T) {
	for i, suite := range []string{cm, gcm} {
		a := newAnchor(t, 16600+200*uint16(i), nil)
		out, in := newPhone(t, "127.0.0.1", suite), newPhone(t, "127.0.0.1", "")
		s := a.Open("x", outside(), inside(), Events{})
		_, before := connect(t, s, out, in)
		talk(t, out, in)
		out.newKey()
		_, after := exchangeSDP(t, s, A, out, in)
		if key(t, before) == key(t, after) {
			t.Errorf("%s: our key is the same after the phone changed its own", suite)
		}
		talk(t, out, in)
		_, again := exchangeSDP(t, s, A, out, in)
		if key(t, again) != key(t, after) || !bytes.Equal(again, after) {
			t.Errorf("%s: a re-offer without change changed the answer:\n%s\n%s", suite, after, again)
		}
		out.newKey()
		offer, _ := exchangeSDP(t, s, B, in, out) // the phone changes its key in an answer
		if key(t, offer) != key(t, after) {
			t.Errorf("%s: our key changed in our own re-offer", suite)
		}
		talk(t, out, in)
		s.Close()
	}
}

func key(t *testing.T, body []byte) string {
	t.Helper()
	return parse(t, body).Media[0].Crypto[0].KeyParams
}

// Two phones answer one call one after the other, with different keys and suites; then the first one answers again.
func TestAnswersFromSeveralPhones(t *testing.T) {
	a := newAnchor(t, 17000, nil)
	in := newPhone(t, "127.0.0.1", "")
	first, second := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", cm)
	s := a.Open("x", inside(), outside(), Events{})
	offer, err := s.Offer(A, in.sdp())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*phone{first, second, first} {
		if p.rx == nil {
			p.take(offer)
		}
		answer, err := s.Answer(B, p.sdp())
		if err != nil {
			t.Fatal(err)
		}
		in.take(answer)
		talk(t, p, in)
		if p.failures != 0 {
			t.Fatalf("%d packets did not open: an index was repeated or a context lost", p.failures)
		}
	}
	again, err := s.Answer(B, first.sdp())
	if err != nil {
		t.Fatal(err)
	}
	twice, _ := s.Answer(B, first.sdp())
	if !bytes.Equal(again, twice) {
		t.Error("the same answer gives different ones")
	}
}

func TestIPv6Outside(t *testing.T) {
	a := newAnchor(t, 17200, nil)
	end := outside()
	end.Local = netip.IPv6Loopback()
	out, in := newPhone(t, "::1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", end, inside(), Events{})
	_, answer := connect(t, s, out, in)
	if c := parse(t, answer).Media[0].Conn; c != netip.IPv6Loopback() {
		t.Errorf("the phone is told %v", c)
	}
	talk(t, out, in)
	if _, err := s.Offer(A, newPhone(t, "127.0.0.1", gcm).sdp()); err == nil {
		t.Error("an IPv4 phone on an IPv6 port")
	}
}

// A call that leaves to another outside phone crosses the border twice; the exchange passes SDP from one session to the other.
func TestCallOutAndBackIn(t *testing.T) {
	a := newAnchor(t, 17400, nil)
	alice, bob := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", cm)
	first := a.Open("1", outside(), inside(), Events{})
	second := a.Open("2", inside(), outside(), Events{})
	offer, err := first.Offer(A, alice.sdp())
	if err != nil {
		t.Fatal(err)
	}
	if offer, err = second.Offer(A, offer); err != nil {
		t.Fatal(err)
	}
	bob.take(offer)
	answer, err := second.Answer(B, bob.sdp())
	if err != nil {
		t.Fatal(err)
	}
	if answer, err = first.Answer(B, answer); err != nil {
		t.Fatal(err)
	}
	alice.take(answer)
	talk(t, alice, bob)
}

func TestPortsRunOutAndComeBack(t *testing.T) {
	a := newAnchor(t, 17600, func(c *Config) { c.MaxPort = c.MinPort + 3; c.Drain = time.Millisecond })
	in := newPhone(t, "127.0.0.1", "")
	out := newPhone(t, "127.0.0.1", gcm)
	s := a.Open("1", outside(), inside(), Events{})
	if _, err := s.Offer(A, out.sdp()); err != nil {
		t.Fatal(err)
	}
	full := a.Open("2", outside(), inside(), Events{})
	_, err := full.Offer(A, out.sdp())
	wantError(t, err, 503, verdict.PortsExhausted)
	full.Close()
	s.Close()
	next := a.Open("3", outside(), inside(), Events{})
	waitFor(t, "the ports come back", func() bool { _, err := next.Offer(A, out.sdp()); return err == nil })
	exchangeSDP(t, next, A, out, in)
	talk(t, out, in)
	if a.Sessions() != 1 {
		t.Errorf("%d sessions", a.Sessions())
	}
}

func TestSilenceEndsTheCall(t *testing.T) {
	a := newAnchor(t, 17800, func(c *Config) { c.Silence = 50 * time.Millisecond })
	ended := make(chan struct{}, 9)
	s := a.Open("x", outside(), inside(), Events{OnFault: func(verdict.Reason) { ended <- struct{}{} }})
	connect(t, s, newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", ""))
	s.Established()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the silent call goes on")
	}
	select {
	case <-ended:
		t.Error("it ended twice")
	case <-time.After(200 * time.Millisecond):
	}
	s.Close()
}

// TestSilence holds the rule on a clock of its own.
func TestSilence(t *testing.T) {
	a := newAnchor(t, 17900, func(c *Config) { c.Silence = 0; c.MaxPort = c.MinPort + 99 })
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	defer s.Close()
	now := time.Unix(1000, 0)
	after := func(d time.Duration) bool {
		now = now.Add(d)
		return s.fault(now, &Config{Silence: time.Minute, Handshake: 10 * time.Second, Consent: 30 * time.Second}) != verdict.None
	}
	if after(time.Hour) {
		t.Error("before the offer")
	}
	if _, err := s.Offer(A, out.sdp()); err != nil {
		t.Fatal(err)
	}
	if after(time.Hour) {
		t.Error("before the answer")
	}
	connect(t, s, out, in)
	if after(0) || after(179*time.Second) {
		t.Error("while it rings: less than three times the limit")
	}
	talk(t, out, in)
	if after(time.Hour) || after(179*time.Second) {
		t.Error("media did not begin a new span")
	}
	s.Established()
	exchangeSDP(t, s, A, out, in, "inactive")
	for range 2 {
		if after(time.Hour) {
			t.Error("on hold")
		}
	}
	exchangeSDP(t, s, A, out, in)
	if after(59 * time.Second) {
		t.Error("59 s after the resume")
	}
	if !after(time.Second) {
		t.Error("not after 60 s")
	}
	if after(time.Hour) {
		t.Error("reported twice")
	}
}

// The next gateway takes the place of one that failed after early media: nothing of the first one is left.
func TestReplace(t *testing.T) {
	a := newAnchor(t, 18200, func(c *Config) { c.MaxPort = c.MinPort + 99 })
	in := newPhone(t, "127.0.0.1", "")
	first, second := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", gcm)
	s := a.Open("x", inside(), outside(), Events{})
	before, _ := exchangeSDP(t, s, A, in, first)
	talk(t, first, in)
	if err := s.Replace(B, outside()); err != nil {
		t.Fatal(err)
	}
	first.play(440, 1)
	in.silent()
	in.play(1004, 1)
	first.silent()
	if _, err := s.Answer(B, first.sdp()); err == nil {
		t.Error("the one that was replaced may still answer")
	}
	after, _ := exchangeSDP(t, s, A, in, second)
	if key(t, before) == key(t, after) || len(parse(t, after).Media[0].Crypto) != 2 {
		t.Error("the second one is offered the first one's key")
	}
	talk(t, second, in)
	elsewhere := outside()
	elsewhere.Realm.Bind = netip.MustParseAddr("127.203.11.4")
	if s.Replace(B, elsewhere) == nil {
		t.Error("the ports can't move to another address")
	}
	s.Close()
	if s.Replace(B, outside()) == nil {
		t.Error("a closed session")
	}
}

func TestClosedSession(t *testing.T) {
	a := newAnchor(t, 18000, nil)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	ours, theirs := s.legs[A].ours.Key, s.legs[A].theirs
	s.Close()
	s.Close()
	if ours.Equal(ours) || theirs.Equal(theirs) {
		t.Error("keys were not wiped")
	}
	if st := s.Stats(); st.Sides[A].PacketsIn != 15 || st.Sides[A].Suite != gcm {
		t.Errorf("stats after the end: %+v", st)
	}
	if _, err := s.Offer(A, out.sdp()); err == nil {
		t.Error("an offer on a closed session")
	}
	if _, err := s.Answer(B, in.sdp()); err == nil {
		t.Error("an answer on a closed session")
	}
	a.Close()
	a.Close()
	late := a.Open("late", outside(), inside(), Events{})
	if _, err := late.Offer(A, out.sdp()); err == nil {
		t.Error("an offer on a closed anchor")
	}
	late.Close()
}

func TestAnchorCloseEndsAll(t *testing.T) {
	a := newAnchor(t, 18300, func(c *Config) { c.Drain = time.Hour; c.MaxPort = c.MinPort + 99 })
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	drains, lives := a.Open("1", outside(), inside(), Events{}), a.Open("2", outside(), inside(), Events{})
	connect(t, drains, out, in)
	out.tx = nil
	out.newKey()
	connect(t, lives, out, in)
	drains.Close()
	a.Close()
	if free, used, _ := a.pool.Count(loopback); used != 0 {
		t.Errorf("%d pairs are free, %d in use", free, used)
	}
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func wantError(t testing.TB, err error, code int, why verdict.Reason) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok || e.Code != code || e.Reason != why {
		t.Errorf("got %v, want %d %s", err, code, why)
	}
}
