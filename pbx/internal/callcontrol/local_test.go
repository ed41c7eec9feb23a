package callcontrol

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/cdr"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// TestLocal calls the exchange itself: echo and tone, held and resumed.
func TestLocal(t *testing.T) {
	for _, number := range []string{"*43", "*44"} {
		r := newRig(t, nil)
		asked, v := r.dial(number, nil)
		if !v.OK() {
			t.Fatal(v)
		}
		res := asked.Response(200)
		if !strings.Contains(string(res.Body()), "PCMA") {
			t.Errorf("answer %q", res.Body())
		}
		r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
		r.row(store.CallUp)
		hold := asked.Sent.Within(res, sip.INVITE)
		hold.Body = strings.Replace(offer, "1 1 IN", "1 2 IN", 1) + "a=sendonly\r\n"
		held := r.caller.Do(r.flow, hold, 200)
		if !strings.Contains(string(held.Body()), "a=recvonly") || mediaLine(held) != mediaLine(res) {
			t.Errorf("answer to hold: %q, before: %q", held.Body(), res.Body())
		}
		r.caller.Ask(r.flow, hold.Within(held, sip.ACK))
		bad := hold.Within(held, sip.INVITE)
		bad.Body = strings.Replace(offer, "RTP/AVP 8", "RTP/AVP 96", 1)
		r.caller.Do(r.flow, bad, 488)
		r.caller.Do(r.flow, bad.Within(held, sip.BYE), 200)
		if rec := r.over(); rec.Disposition != cdr.Answered || rec.Callee != number {
			t.Errorf("record %+v", rec)
		}
	}
}

// mediaLine is the line of a description that has the port.
func mediaLine(msg sip.Message) string {
	_, rest, _ := strings.Cut(string(msg.Body()), "m=")
	line, _, _ := strings.Cut(rest, "\r\n")
	return line
}

// A caller that makes no offer gets one, and answers in its ACK; later it may ask for it again.
func TestLocalOffers(t *testing.T) {
	for _, number := range []string{"*43", "*44"} {
		r := newRig(t, nil)
		asked, v := r.dial(number, func(a *transactiontest.Ask) { a.Body = "" })
		if !v.OK() {
			t.Fatal(v)
		}
		res := asked.Response(200)
		if body := string(res.Body()); !strings.Contains(body, "RTP/AVP 0 8 101") || !strings.Contains(body, "a=sendrecv") {
			t.Errorf("offer: %q", body)
		}
		ack := asked.Sent.Within(res, sip.ACK)
		ack.Body = offer
		r.caller.Ask(r.flow, ack)
		again := asked.Sent.Within(res, sip.INVITE)
		again.Body = ""
		second := r.caller.Do(r.flow, again, 200)
		if string(second.Body()) != string(res.Body()) {
			t.Errorf("offered again: %q", second.Body())
		}
		bad := again.Within(second, sip.ACK)
		bad.Body = strings.Replace(offer, "RTP/AVP 8", "RTP/AVP 96", 1)
		r.caller.Ask(r.flow, bad)
		if rec := r.over(); rec.Disposition != cdr.Answered || rec.Reason != verdict.NoCommonMedia {
			t.Errorf("record %+v", rec)
		}
	}
}

func TestLocalRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"nonsense": "hello", "no codec in common": strings.Replace(offer, "8", "96", 1),
	} {
		r := newRig(t, nil)
		asked, v := r.dial("*43", func(a *transactiontest.Ask) { a.Body = body })
		if !v.OK() {
			t.Fatal(v)
		}
		if ev := asked.Event(); ev.Response == nil || ev.Response.StatusCode/100 != 4 {
			t.Errorf("%s: %+v", name, ev)
		}
		if rec := r.over(); rec.Disposition != cdr.Failed {
			t.Errorf("%s: record %+v", name, rec)
		}
	}
}

func TestPressedKey(t *testing.T) {
	for _, c := range []struct {
		typ, body string
		want      byte
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5'}, {"Application/DTMF-Relay;x=y", "duration= 160\nsignal = *\n", '*'},
		{"application/dtmf", "#", '#'}, {"application/dtmf", " 9\r\n", '9'}, {"application/dtmf-relay", "Signal=11", '#'}, {"application/dtmf", "b", 'B'},
		{"application/dtmf-relay", "5", 0}, {"application/dtmf", "", 0}, {"application/dtmf", "12", 0}, {"application/dtmf", "x", 0},
		{"text/plain", "5", 0}, {"application/dtmf", strings.Repeat(" ", 300) + "5", 0},
	} {
		if got, ok := pressedKey(c.typ, []byte(c.body)); got != c.want || ok != (c.want != 0) {
			t.Errorf("%s %q: %q", c.typ, c.body, got)
		}
	}
}

func FuzzPressedKey(f *testing.F) {
	f.Add("application/dtmf-relay", []byte("Signal=5\r\nDuration=160"))
	f.Fuzz(func(t *testing.T, typ string, body []byte) {
		if k, ok := pressedKey(typ, body); ok && !strings.ContainsRune("0123456789*#ABCD", rune(k)) {
			t.Errorf("%q", k)
		}
	})
}
