package product

import (
	"fmt"
	"strings"
	"testing"
)

// TestCallsThatNobodyTakes ends calls in every way but the usual one. What the caller's prompt says of it differs; what
// it was told, and the call record, do not.
func TestCallsThatNobodyTakes(t *testing.T) {
	c := assemble(t, Options{Ring: "5s"})
	var want []record
	expect := func(from phone, to string, code int, reason, disposition string) {
		want = append(want, record{Caller: from.number, Dialled: to, Code: code, Reason: reason, Disposition: disposition})
	}
	for _, pair := range [][2]phone{{c.outL, c.inB}, {c.outB, c.inL}, {c.inL, c.outB}, {c.inB, c.outL}, {c.outB, c.outL}, {c.inL, c.inB}} {
		from, to := pair[0], pair[1]
		from.Call(to.number)
		from.WaitRinging()
		to.WaitIncoming()
		from.Hangup()
		to.WaitClosed()
		expect(from, to.number, 487, "call-cancelled", "cancelled")

		from.Call(to.number)
		to.Reject()
		from.WaitClosed()
		to.WaitClosed()
		if to.music { // linphone declines, baresip is busy
			expect(from, to.number, 603, "declined", "refused")
		} else {
			expect(from, to.number, 486, "busy", "busy")
		}
	}
	for _, from := range c.phones() {
		from.Call("7777")
		from.WaitClosed()
		expect(from, "7777", 404, "unknown-number", "failed")
	}
	for _, pair := range [][2]phone{{c.outL, c.inB}, {c.inL, c.outB}} {
		from, to := pair[0], pair[1]
		from.Call(to.number)
		to.WaitIncoming()
		from.WaitClosed()
		to.WaitClosed()
		expect(from, to.number, 480, "no-answer", "no-answer")
	}
	talk(t, c.outL, c.inB) // and all is well
	hangup(c.outL, c.inB)
	expect(c.outL, c.inB.number, 200, "normal-clearing", "answered")

	c.inB.Unregister()
	c.outL.Unregister()
	for _, pair := range [][2]phone{{c.outB, c.inB}, {c.inL, c.outL}} {
		from, to := pair[0], pair[1]
		from.Call(to.number)
		from.WaitClosed()
		expect(from, to.number, 480, "not-registered", "failed")
	}
	c.recordsAre(t, want)
	for _, p := range c.phones() {
		for _, w := range want {
			if told := fmt.Sprintf("SIP/2.0 %d ", w.Code); w.Caller == p.number && !strings.Contains(p.Trace(), told) {
				t.Errorf("%s was never told %s", p.number, told)
			}
		}
	}
	c.onlyRefused(t, "sbc")
	c.onlyRefused(t, "pbx")
}

// recordsAre wants exactly these call records, in the order of the calls' ends.
func (p *Product) recordsAre(t *testing.T, want []record) {
	t.Helper()
	var got []record
	until(t, waits, "the call records", func() string {
		if got = p.records(t); len(got) < len(want) {
			return fmt.Sprintf("%d of %d", len(got), len(want))
		}
		return ""
	})
	if len(got) != len(want) {
		t.Fatalf("%d records of %d calls: %+v", len(got), len(want), got)
	}
	for i, r := range got {
		w := want[i]
		if short := (record{Caller: r.Caller, Dialled: r.Dialled, Code: r.Code, Reason: r.Reason, Disposition: r.Disposition}); short != w {
			t.Errorf("record %d: %+v, want %+v", i, short, w)
		}
	}
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
		p.hearsAt(t, 1004, -10)
		p.Hangup()
	}
	c.nothingLeaks(t)
}
