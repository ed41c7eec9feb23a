package product

import (
	"regexp"
	"strings"
	"testing"
)

// TestKeysTransfersAndTexts presses keys within calls, which cross the border as RTP events (RFC 4733), puts the other party through
// to a third phone, and sends texts.
func TestKeysTransfersAndTexts(t *testing.T) {
	c := assemble(t, Options{})
	for _, call := range []struct {
		from, to, third phone
		key             string
	}{{c.outL, c.inB, c.outB, "5"}, {c.inL, c.outB, c.inB, "7"}} {
		talk(t, call.from, call.to)
		call.from.Press(call.key)
		call.to.Proc().WaitLine(regexp.MustCompile(`received event: '`+call.key+`' \(end=1\)`), waits)
		call.from.Transfer("sip:" + call.third.number + "@" + Domain)
		c.told(t, call.from, "REFER", "202 Accepted")
		call.third.Answer()
		call.from.WaitClosed()
		bothHear(t, call.to, call.third)
		hangup(call.to, call.third)
		call.from.Proc().Say("chat sip:" + call.to.number + "@" + Domain + " hello") // MESSAGE
		c.told(t, call.from, "MESSAGE", "200 OK")
		if !strings.Contains(call.to.Trace(), "\r\n\r\nhello") {
			t.Errorf("%s got no text", call.to.number)
		}
	}
	c.nothingLeaks(t)
}

// told waits until a phone got an answer to a method.
func (c *cast) told(t *testing.T, p phone, method, answer string) {
	t.Helper()
	re := regexp.MustCompile(`SIP/2\.0 ` + answer + `\r?\n(?:[^\r\n]+\r?\n)*?CSeq: \d+ ` + method + `\r?\n`)
	until(t, waits, p.number+" to be told "+answer+" to "+method, func() string {
		if !re.MatchString(p.Trace()) {
			return "not yet"
		}
		return ""
	})
}
