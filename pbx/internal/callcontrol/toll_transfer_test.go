package callcontrol

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// TestTransferCaps: a transfer to a carrier is decided by the rights, and counts against the caps, of who transfers.
func TestTransferCaps(t *testing.T) {
	r := tollRig(t, map[string]dialplan.Class{
		"world": class(func(c *dialplan.Class) { c.Countries = []string{dialplan.AnyCountry} }),
		"once":  class(func(c *dialplan.Class) { c.PerDay = 1 }),
	})
	p := r.extension("1001")
	r.classify("1001", "once")
	r.classify("1009", "world") // the caller's rights are not asked
	_, _, s := r.talk("1001", p)
	refer := transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:0033123456789@pbx.test>")
	p.Do(s.Flow(), refer, 403)
	again := func(to string, code int) {
		t.Helper()
		refer.Seq++
		refer.Lines = []string{"Refer-To: <sip:" + to + "@pbx.test>"}
		p.Do(s.Flow(), refer, code)
	}
	again("030123456", 202)
	told(t, p, "100")
	r.border.Answer(r.border.Next(sip.INVITE), 486, "")
	told(t, p, "486")
	again("030123457", 403)
	p.Do(s.Flow(), transactiontest.Ask{Method: sip.BYE, URI: refer.URI, From: refer.From, To: refer.To, CallID: refer.CallID, Seq: 99}, 200)
	r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
	all := r.ended(4)
	for dialled, want := range map[string]verdict.Reason{"0033123456789": verdict.CountryDenied, "030123457": verdict.DayCap} {
		if rec := all[dialled]; rec.Reason != want || rec.Causer != "1001" || rec.Class != "once" || rec.Denied == "" {
			t.Errorf("record %+v, want %s", rec, want)
		}
	}
	if rec := all["030123456"]; rec.Causer != "1001" || rec.Country != "DE" || rec.Code != 486 {
		t.Errorf("record %+v", rec)
	}
	if a, _, err := r.control.Account(t.Context(), "1001"); err != nil || a.Used.Day != 1 || a.Used.Concurrent != 0 || a.Blocked == nil || a.Why != verdict.DayCap {
		t.Errorf("1001: %+v, %v", a, err)
	}
	if a, _, err := r.control.Account(t.Context(), "1009"); err != nil || a.Used.Day != 0 || a.Denied != 0 {
		t.Errorf("1009: %+v, %v", a, err)
	}
}
