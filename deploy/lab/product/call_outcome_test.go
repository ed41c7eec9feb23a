package product

import (
	"testing"
)

// TestCallsThatNobodyTakes ends calls in every way but the usual one.
func TestCallsThatNobodyTakes(t *testing.T) {
	c := assemble(t, Options{Ring: "5s"})
	for _, pair := range [][2]phone{{c.outL, c.inB}, {c.outB, c.inL}, {c.inL, c.outB}, {c.inB, c.outL}, {c.outB, c.outL}, {c.inL, c.inB}} {
		from, to := pair[0], pair[1]
		t.Logf("%s gives up calling %s", from.number, to.number)
		from.Call(to.number)
		from.WaitRinging()
		to.WaitIncoming()
		from.Hangup()
		t.Logf("%s: %s", to.number, to.WaitClosed())

		from.Call(to.number)
		to.Reject()
		t.Logf("%s is refused by %s: %s", from.number, to.number, from.WaitClosed())
		to.WaitClosed()
	}
	for _, from := range c.phones() {
		from.Call("7777")
		t.Logf("%s calls nobody: %s", from.number, from.WaitClosed())
	}
	for _, pair := range [][2]phone{{c.outL, c.inB}, {c.inL, c.outB}} {
		from, to := pair[0], pair[1]
		from.Call(to.number)
		to.WaitIncoming()
		t.Logf("%s is not answered by %s: %s", from.number, to.number, from.WaitClosed())
		t.Logf("%s: %s", to.number, to.WaitClosed())
	}
	talk(t, c.outL, c.inB) // and all is well
	hangup(c.outL, c.inB)
}

// TestServicesWithPrograms calls the echo and the tone of the exchange.
func TestServicesWithPrograms(t *testing.T) {
	c := assemble(t, Options{})
	for _, p := range c.phones() {
		p.Call("*43")
		p.WaitEstablished()
		p.hears(t, p.sings)
		p.Hangup()
		p.Call("*44")
		p.WaitEstablished()
		r := p.Hears(1004)
		t.Logf("%s hears %.1f Hz at %.1f dBm0", p.number, r.Frequency, r.Level)
		p.Hangup()
	}
}
