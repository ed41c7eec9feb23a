package callcontrol

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/b2bua"
)

// Who is held hears the exchange; when the call is taken back, the two talk again.
func TestHoldMusic(t *testing.T) {
	r := newRig(t, func(c *Config, _ *b2bua.Config) { c.HoldMusic = true })
	p := r.extension("1001")
	asked, res, _ := r.talk("1001", p)
	hold := asked.Sent.Within(res, sip.INVITE)
	hold.Body = strings.Replace(offer, "1 1 IN", "1 2 IN", 1) + "a=sendonly\r\n"
	held := r.caller.Ask(r.flow, hold)
	s := p.Next(sip.INVITE)
	if body := string(s.Request().Body()); !strings.Contains(body, "m=audio 12") || !strings.Contains(body, "a=sendonly") {
		t.Errorf("who is held is offered\n%s", body)
	}
	p.Answer(s, 200, offer+"a=recvonly\r\n")
	p.NextAck()
	answer := held.Response(200)
	if body := string(answer.Body()); !strings.Contains(body, "a=inactive") || strings.Contains(body, "m=audio 12") {
		t.Errorf("who holds is answered\n%s", body)
	}
	r.caller.Ask(r.flow, hold.Within(answer, sip.ACK))
	resume := hold.Within(answer, sip.INVITE)
	resume.Body = strings.Replace(offer, "1 1 IN", "1 3 IN", 1)
	back := r.caller.Ask(r.flow, resume)
	s = p.Next(sip.INVITE)
	if string(s.Request().Body()) != resume.Body {
		t.Errorf("taken back with\n%s", s.Request().Body())
	}
	p.Answer(s, 200, offer)
	p.NextAck()
	res = back.Response(200)
	r.caller.Ask(r.flow, resume.Within(res, sip.ACK))
	r.caller.Do(r.flow, resume.Within(res, sip.BYE), 200)
	hungUp(p)
	r.over()
}
