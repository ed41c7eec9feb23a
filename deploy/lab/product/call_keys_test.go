package product

import (
	"regexp"
	"testing"
)

// TestKeysAndRequestsThatWeDoNotServe presses keys within calls, which cross the border as RTP events (RFC 4733), and asks for what is
// refused: the call goes on.
func TestKeysAndRequestsThatWeDoNotServe(t *testing.T) {
	c := assemble(t, Options{})
	for _, call := range []struct {
		from, to phone
		key      string
	}{{c.outL, c.inB, "5"}, {c.inL, c.outB, "7"}} {
		talk(t, call.from, call.to)
		call.from.Proc().Say(call.key)
		call.to.Proc().WaitLine(regexp.MustCompile(`received event: '`+call.key+`' \(end=1\)`), waits)
		call.from.Proc().Say("transfer sip:1002@" + Domain) // REFER
		c.told(t, call.from, "REFER", "405 Method Not Allowed")
		bothHear(t, call.from, call.to)
		hangup(call.from, call.to)
		call.from.Proc().Say("chat sip:1002@" + Domain + " hello") // MESSAGE
		c.told(t, call.from, "MESSAGE", "405 Method Not Allowed")
	}
	for _, program := range []string{"sbc", "pbx"} {
		c.onlyRefused(t, program, "method-not-allowed")
		if n := c.refused(t, program)["method-not-allowed"]; n != 2 {
			t.Errorf("%s counts %d refusals", program, n)
		}
	}
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
