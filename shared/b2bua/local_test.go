package b2bua

import (
	"errors"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// echo is a Local.
type echo struct {
	t      *testing.T
	fail   error
	log    []string
	closed int
}

func (e *echo) Answer(offer []byte) ([]byte, error) {
	if e.closed > 0 {
		e.t.Error("used after Close")
	}
	e.log = append(e.log, string(offer))
	if e.fail != nil {
		return nil, e.fail
	}
	return append([]byte("echo "), offer...), nil
}

func (e *echo) Offer() ([]byte, error) {
	e.log = append(e.log, "offers")
	if e.fail != nil {
		return nil, e.fail
	}
	return []byte("tone"), nil
}

func (e *echo) Accept(answer []byte) error {
	e.log = append(e.log, "accepts "+string(answer))
	if answer == nil {
		return errors.New("there is no answer")
	}
	return e.fail
}

func (e *echo) Close() { e.closed++ }

// local makes the next call end here.
func (r *rig) local() *echo {
	e := &echo{t: r.t}
	r.change = func(p *Plan) { p.Local, p.Media, p.Groups = e, nil, nil }
	return e
}

func TestLocal(t *testing.T) {
	both(t, 0, func(r *rig) {
		e := r.local()
		r.a.invite("v1")
		r.a.want("200 INVITE (echo v1)")
		r.state(StateAnswered)
		r.pass(t1)
		r.a.want("200 INVITE (echo v1)")
		r.a.reinvite("v2") // before the ACK
		r.a.want("500 INVITE")
		r.a.inviteSeq = 1
		r.a.ack("")
		r.a.reinvite("v2")
		r.a.want("200 INVITE (echo v2)")
		r.a.ack("")
		r.a.reinvite("")
		r.a.want("200 INVITE (tone)")
		r.a.ack("v4")
		e.fail = &Refusal{Code: 488, Reason: verdict.NoCommonMedia}
		r.a.reinvite("v3")
		r.a.want("488 INVITE")
		r.a.request("INFO")
		r.a.request("OPTIONS")
		r.a.want("200 INFO", "200 OPTIONS")
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.ended(200, verdict.NormalClearing, A)
		if e.closed != 1 || strings.Join(e.log, ", ") != "v1, v2, offers, accepts v4, v3" || r.engine.Len() != 0 {
			t.Errorf("closed %d times, offers %q, %d calls", e.closed, e.log, r.engine.Len())
		}
		if len(r.answered) != 1 || r.answered[0] != "" {
			t.Errorf("answered by %q", r.answered)
		}
	})
}

func TestLocalRefuses(t *testing.T) {
	for err, want := range map[error]string{
		&Refusal{Code: 503, Reason: verdict.PortsExhausted}: "503 INVITE",
		errors.New("whatever"):                              "488 INVITE",
	} {
		both(t, 0, func(r *rig) {
			e := r.local()
			e.fail = err
			r.a.invite("v1")
			r.a.want(want)
			if e.closed != 1 || r.engine.Len() != 0 || len(r.answered) != 0 {
				t.Errorf("closed %d times, %d calls, answered by %q", e.closed, r.engine.Len(), r.answered)
			}
		})
	}
}

// A caller that offers nothing gets an offer, and answers it in its ACK; if it does not, there is no call.
func TestLocalOffers(t *testing.T) {
	both(t, 0, func(r *rig) {
		e := r.local()
		r.a.invite("")
		r.a.want("200 INVITE (tone)")
		r.a.ack("v1")
		r.state(StateAnswered)
		if strings.Join(e.log, ", ") != "offers, accepts v1" {
			t.Errorf("local was told %q", e.log)
		}
		r.a.request("BYE")
		r.a.want("200 BYE")
	})
	for _, answer := range []string{"", "v1"} {
		both(t, 0, func(r *rig) {
			e := r.local()
			r.a.invite("")
			r.a.want("200 INVITE (tone)")
			if answer != "" {
				e.fail = &Refusal{Code: 488, Reason: verdict.BadBody}
			}
			r.a.ack(answer)
			r.a.want("BYE")
			r.ended(200, verdict.BadBody, A)
			r.a.answer("BYE", 200, "")
		})
	}
	both(t, 0, func(r *rig) { // there is none to make
		e := r.local()
		e.fail = &Refusal{Code: 503, Reason: verdict.PortsExhausted}
		r.a.invite("")
		r.a.want("503 INVITE")
	})
}

// We end it: by a command, and for want of an ACK.
func TestLocalEnds(t *testing.T) {
	both(t, 0, func(r *rig) {
		e := r.local()
		r.a.invite("v1")
		r.a.ack("")
		r.a.want("200 INVITE (echo v1)")
		r.engine.Close(0)
		r.pass(0)
		r.a.want("BYE")
		r.ended(200, verdict.Shutdown, A)
		r.a.answer("BYE", 200, "")
		if e.closed != 1 || r.engine.Len() != 0 {
			t.Errorf("closed %d times, %d calls", e.closed, r.engine.Len())
		}
	})
	both(t, 0, func(r *rig) {
		r.local()
		r.a.invite("v1")
		r.a.take()
		r.pass(64*t1 + time.Second)
		r.ended(200, verdict.NoACK, A)
	})
}
