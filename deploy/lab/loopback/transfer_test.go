package loopback

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"brickhouse/shared/siptest"
)

// progress waits until a phone was told so of its transfer. What rings in between may be told or not.
func progress(t testing.TB, c *siptest.Call, want ...int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the transferor to be told %v", want), func() string {
		got := slices.DeleteFunc(c.Progress(), func(code int) bool { return code/10 == 18 })
		if !slices.Equal(got, want) {
			return fmt.Sprint(got)
		}
		return ""
	})
}

// refers wants a REFER to be answered with a code.
func refers(t testing.TB, c *siptest.Call, code int, target string, lines ...string) {
	t.Helper()
	r, err := c.Refer(within(t, patience), target, lines...)
	if err != nil || r.Code != code {
		t.Fatalf("REFER to %s: %s, %v; want %d", target, r, err, code)
	}
}

// gone wants a call to be ended by the far side.
func gone(t testing.TB, c *siptest.Call) {
	t.Helper()
	await(t, c.Done(), "the transferor to be let go")
	if end := c.Ended(); end != siptest.EndBye {
		t.Errorf("the transferor's call ended with %s", end)
	}
}

// blind has the caller or the callee put the other through to a third phone.
func blind(by, rest, target place, byCaller bool) func(s *site, x []string) {
	return func(s *site, x []string) {
		a, b, c := s.register(s.config(by, x[0])), s.register(s.config(rest, x[1])), s.register(s.config(target, x[2]))
		p := pair{}
		if byCaller {
			p = connect(s.t, a, b, x[1])
		} else {
			p = connect(s.t, b, a, x[0])
			p = pair{p.b, p.a, p.pb, p.pa, p.hb, p.ha}
		}
		p.talk(s.t)
		refers(s.t, p.a, 202, x[2])
		in := incoming(s.t, c)
		await(s.t, in.Answered(), "the target to be connected")
		progress(s.t, p.a, 100, 200)
		gone(s.t, p.a)
		now := pair{p.b, in, b, c, p.hb, toneOf(c)}
		now.talk(s.t)
		if got := in.Request().Header("From"); !strings.Contains(got, x[1]) || strings.Contains(got, x[0]) {
			s.t.Errorf("the target is called by %s", got)
		}
		now.hangup(s.t, byCaller)
		r := s.recorded(x[1], map[bool]int{true: 1, false: 2}[byCaller])
		if r.Transferor != x[0] || r.Transferee != x[1] || r.Dialled != x[2] || r.Disposition != "answered" || r.Reason != "normal-clearing" {
			s.t.Errorf("record of the new call %+v", r)
		}
	}
}

// attended has a phone with two calls join their far sides. at is where the phones stand: who transfers, who is transferred,
// who was asked.
func attended(at [3]place) func(s *site, x []string) {
	return func(s *site, x []string) {
		a, b, c := s.register(s.config(at[0], x[0])), s.register(s.config(at[1], x[1])), s.register(s.config(at[2], x[2]))
		first := connect(s.t, b, a, x[0])
		first.talk(s.t)
		if err := first.b.Hold(within(s.t, patience)); err != nil {
			s.t.Fatal(err)
		}
		second := connect(s.t, a, c, x[2])
		second.talk(s.t)
		if r, err := first.b.ReferToCall(within(s.t, patience), second.a); err != nil || r.Code != 202 {
			s.t.Fatalf("REFER: %s, %v", r, err)
		}
		progress(s.t, first.b, 100, 200)
		gone(s.t, first.b)
		gone(s.t, second.a)
		now := pair{first.a, second.b, b, c, first.ha, second.hb}
		now.talk(s.t)
		now.hangup(s.t, true)
		r := s.recorded(x[0], 1) // the call of the consultation goes on, with another caller
		if r.Transferor != x[0] || r.Transferee != x[1] || r.TransferOf != s.recorded(x[1], 1).Trace || r.TransferOf == r.Trace {
			s.t.Errorf("record of the call that goes on %+v", r)
		}
		if r := s.recorded(x[1], 1); r.Reason != "transferred" {
			s.t.Errorf("record of the call that ended %+v", r)
		}
	}
}

// failing has transfers come to nothing: the transferor hears why, and its call goes on.
func failing(s *site, x []string) {
	busy := s.config(remote, x[2])
	busy.Answer = siptest.RefuseWith(486)
	a, b, _ := s.register(s.config(remote, x[0])), s.register(s.config(insideUDP, x[1])), s.register(busy)
	p := connect(s.t, a, b, x[1])
	refers(s.t, p.a, 202, x[2])
	progress(s.t, p.a, 100, 486)
	p.talk(s.t)
	refers(s.t, p.a, 403, "0900123") // what the dialplan refuses the transferor
	refers(s.t, p.a, 480, x[3])      // not registered
	refers(s.t, p.a, 404, "sip:1@elsewhere.example")
	refers(s.t, p.a, 404, "sip:x@"+domain+"?Replaces=nothing%3Bto-tag%3D1%3Bfrom-tag%3D2")
	refers(s.t, p.a, 202, x[2]) // again: the number tells the second from the first
	progress(s.t, p.a, 100, 486, 100, 486)
	p.talk(s.t)
	p.hangup(s.t, true)
}

// unheard has a phone that wants to hear nothing of its transfer (RFC 4488).
func unheard(s *site, x []string) {
	a, b := s.register(s.config(remote, x[0])), s.register(s.config(remote, x[1]))
	p := connect(s.t, a, b, x[1])
	refers(s.t, p.a, 200, "*44", "Refer-Sub: false", "Require: norefersub")
	gone(s.t, p.a)
	hears(s.t, b, p.b, 1004)
	if got := p.a.Progress(); len(got) > 0 {
		s.t.Errorf("the transferor was told %v", got)
	}
	if err := p.b.Hangup(within(s.t, patience)); err != nil {
		s.t.Error(err)
	}
}

// taken has a second phone of an extension take over the call of the first, and nobody else's (RFC 3891).
func taken(s *site, x []string) {
	a, b := s.register(s.config(remote, x[0])), s.register(s.config(insideUDP, x[1]))
	second, other := s.register(s.config(remoteCM, x[0])), s.register(s.config(remote, x[2]))
	p := connect(s.t, a, b, x[1])
	p.talk(s.t)
	replaces := siptest.WithHeader("Replaces", p.a.Replaces())
	fails(s.t, other, x[1], 403, replaces)
	fails(s.t, second, x[1], 481, siptest.WithHeader("Replaces", "x"+p.a.Replaces()))
	p.talk(s.t)
	call, err := second.Call(within(s.t, patience), x[1], replaces, siptest.WithHeader("Require", "replaces"))
	if err != nil {
		s.t.Fatal(err)
	}
	gone(s.t, p.a)
	now := pair{call, p.b, second, b, p.ha, p.hb}
	now.talk(s.t)
	now.hangup(s.t, false)
}

// TestTransfer transfers calls by phones outside and inside.
func TestTransfer(t *testing.T) {
	t.Parallel()
	tell(t, open(t, nil), 1500, []story{
		{"blind by the caller outside", blind(remote, insideUDP, remoteCM, true)},
		{"blind by the callee outside", blind(remoteCM, remote, insideTCP, false)},
		{"blind inside", blind(insideTCP, remote, insideUDP, true)},
		{"attended outside", attended([3]place{remote, insideUDP, remoteCM})},
		{"attended inside", attended([3]place{insideUDP, remote, remote})},
		{"failing", failing},
		{"unheard", unheard},
		{"taken", taken},
	})
}

// TestTransferRefused: where the border's realm may not transfer, calls go on as if nobody had asked.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.Refer = "refuse" })
	s.extension("1551", "1552", "1553")
	a, b, c := s.register(s.config(remote, "1551")), s.register(s.config(insideUDP, "1552")), s.register(s.config(insideUDP, "1553"))
	p := connect(t, a, b, "1552")
	refers(t, p.a, 403, "1553")
	fails(t, c, "1551", 481, siptest.WithHeader("Replaces", p.a.Replaces())) // names that hold outside only
	fails(t, a, "1552", 403, siptest.WithHeader("Replaces", p.a.Replaces()))
	s.awaitMetric("sbc", "refused_total", "transfer-refused", 2)
	p.talk(t)
	refers(t, p.b, 202, "1553") // inside they may
	await(t, incoming(t, c).Answered(), "the target to be connected")
	gone(t, p.b)
	if err := p.a.Hangup(within(t, patience)); err != nil {
		t.Error(err)
	}
}

// TestTransferTrunk: a call from a carrier is transferred out again by a phone that may call there, and by the carrier only to
// what it may call, where it may transfer at all.
func TestTransferTrunk(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp", func(o *options) { o.PeerRefer = "pass" })
	gw, out := s.gateway(60, siptest.UDP, nil), s.gateway(61, siptest.UDP, nil)
	gw.SetAnswer(siptest.RefuseWith(503)) // so that calls out go to the other one
	a, b := s.register(s.config(remote, "1801")), s.register(s.config(insideUDP, "1802"))
	p := connect(t, gw.Phone, a, "4930123401")
	p.talk(t)
	refers(t, p.a, 404, "0123456") // a trunk may not call through a trunk
	refers(t, p.b, 202, "0123456")
	in := incoming(t, out.Phone)
	await(t, in.Answered(), "the carrier to be connected")
	gone(t, p.b)
	now := pair{p.a, in, gw.Phone, out.Phone, p.ha, toneOf(out.Phone)}
	now.talk(t)
	now.hangup(t, false)
	if r := s.recorded("4989555", 2); r.Transferor != "1801" || r.Transferee != "4989555" || r.Direction != "outbound" || r.Trunk != "carrier" || r.Dialled != "0123456" {
		t.Errorf("record %+v", r)
	}

	p = connect(t, gw.Phone, a, "4930123401")
	refers(t, p.a, 202, "4930123402")
	in = incoming(t, b)
	await(t, in.Answered(), "the other extension to be connected")
	gone(t, p.a)
	now = pair{p.b, in, a, b, p.hb, toneOf(b)}
	now.talk(t)
	now.hangup(t, true)
	if r := s.recorded("1801", 2); r.Transferor != "trunk carrier" || r.Transferee != "1801" || r.Dialled != "4930123402" || r.Callee != "1802" {
		t.Errorf("record %+v", r)
	}
}
