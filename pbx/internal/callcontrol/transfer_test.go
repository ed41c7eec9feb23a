package callcontrol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// talk has the caller call a number whose phone p is, and returns the call as both have it.
func (r *rig) talk(number string, p *transactiontest.Party) (*transactiontest.Asked, *sip.Response, *transaction.Server) {
	r.t.Helper()
	asked, v := r.dial(number, nil)
	if !v.OK() {
		r.t.Fatal(v)
	}
	s := p.Next(sip.INVITE)
	p.Answer(s, 200, offer)
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	p.NextAck()
	return asked, res, s
}

// told takes a NOTIFY with that code.
func told(t testing.TB, p *transactiontest.Party, code string) {
	t.Helper()
	s := p.Next(sip.NOTIFY)
	if got := string(s.Request().Body()); !strings.HasPrefix(got, "SIP/2.0 "+code) {
		t.Errorf("told %q, not %s", got, code)
	}
	p.Answer(s, 200, "")
}

// ended waits until so many calls have their record, and returns them by what was dialled.
func (r *rig) ended(n int) map[string]cdr.Record {
	r.t.Helper()
	out := map[string]cdr.Record{}
	eventually(r.t, func() string {
		for _, rec := range r.records() {
			out[rec.Dialled] = rec
		}
		if len(out) < n || len(r.store.Calls()) > 0 {
			return "calls are left"
		}
		return ""
	})
	return out
}

// TestTransferRights: the target of a transfer is called with the rights of who transfers, whoever is transferred.
func TestTransferRights(t *testing.T) {
	for name, who := range map[string]Caller{
		"a phone's call":   {Number: "1009", Name: "Nina", Realm: Inside, Trace: "trace-1"},
		"a carrier's call": {Number: "1009", Realm: "peer", Trunk: "carrier", Trace: "trace-1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			p := r.extension("1001")
			r.set(func() { r.who = who })
			number := "1001"
			if who.Trunk != "" {
				number = "4930123"
			}
			_, _, s := r.talk(number, p)
			refer := transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:0900123@pbx.test>")
			p.Do(s.Flow(), refer, 403) // what 1001 may not call
			again := func(to string, code int) {
				t.Helper()
				refer.Seq++
				refer.Lines = []string{"Refer-To: <sip:" + to + ">"}
				p.Do(s.Flow(), refer, code)
			}
			again("030123456@pbx.test", 202) // what 1001 may, and who called may or may not
			told(t, p, "100")
			out := r.border.Next(sip.INVITE)
			req := out.Request()
			if v, _ := sipmsg.Header(req, "Brickhouse-Trunk"); v != "carrier" || req.From().Address.User != who.Number || len(req.Body()) > 0 {
				t.Errorf("the carrier is asked\n%s", sipmsg.Bytes(req))
			}
			if row := r.rowOf("030123456"); row.Caller != who.Number || row.Direction != string(cdr.Outbound) {
				t.Errorf("row %+v", row)
			}
			r.border.Answer(out, 486, "")
			told(t, p, "486")
			p.Do(s.Flow(), transactiontest.Ask{Method: sip.BYE, URI: refer.URI, From: refer.From, To: refer.To, CallID: refer.CallID, Seq: 99}, 200)
			r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
			all := r.ended(3)
			if rec := all["030123456"]; rec.Transferor != "1001" || rec.Transferee != who.Number || rec.Trunk != "carrier" || rec.Code != 486 || rec.Trace != "trace-1" {
				t.Errorf("record %+v", rec)
			}
			if rec := all["0900123"]; rec.Transferor != "1001" || rec.Reason != verdict.NotAllowed {
				t.Errorf("record of what was refused %+v", rec)
			}
			if rec := all[number]; rec.Transferor != "" || rec.Reason != verdict.NormalClearing {
				t.Errorf("record of the first call %+v", rec)
			}
		})
	}
}

// rowOf waits for the row of a number that was dialled.
func (r *rig) rowOf(dialled string) *store.Call {
	r.t.Helper()
	var row *store.Call
	eventually(r.t, func() string {
		for _, c := range r.store.Calls() {
			if c.Dialled == dialled {
				row = c
				return ""
			}
		}
		return "there is no call to " + dialled
	})
	return row
}

// rowIs waits until the row of a number that was dialled has these parties.
func (r *rig) rowIs(dialled, caller, callee string) {
	r.t.Helper()
	eventually(r.t, func() string {
		if row := r.rowOf(dialled); row.Caller != caller || row.Callee != callee {
			return fmt.Sprintf("row %+v, want %s and %s", row, caller, callee)
		}
		return ""
	})
}

// TestTransferByCarrier: a carrier may have called on by us what it may call, and no more.
func TestTransferByCarrier(t *testing.T) {
	r := newRig(t, func(c *Config, _ *b2bua.Config) { c.Serves = func(host string) bool { return host == "pbx.test" } })
	p, second := r.extension("1001"), r.extension("1002")
	r.set(func() { r.who = Caller{Number: "49555", Realm: "peer", Trunk: "carrier", Trace: "trace-1"} })
	asked, res, s := r.talk("4930123", p)
	refer := asked.Sent.Within(res, sip.REFER)
	for to, code := range map[string]int{"030123456@pbx.test": 404, "1002@pbx.test": 404, "4930999@elsewhere.test": 404} {
		refer.Seq++
		refer.Lines = []string{"Refer-To: <sip:" + to + ">"}
		r.caller.Do(r.flow, refer, code)
	}
	r.border.Quiet()
	second.Quiet()
	p.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE), 200)
	r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
}

// TestTransferByNobody: an extension that was deleted in the middle of its call transfers no more.
func TestTransferByNobody(t *testing.T) {
	r := newRig(t, nil)
	p := r.extension("1001")
	_, _, s := r.talk("1001", p)
	if _, _, err := r.store.DeleteExtension(t.Context(), "1001"); err != nil {
		t.Fatal(err)
	}
	refer := transactiontest.Back(s.Request(), s.Tag(), sip.REFER, "Refer-To: <sip:030123456@pbx.test>")
	p.Do(s.Flow(), refer, 403)
	r.border.Quiet()
	refer.Method, refer.Lines, refer.Seq = sip.BYE, nil, 2
	p.Do(s.Flow(), refer, 200)
	r.caller.Answer(r.caller.Next(sip.BYE), 200, "")
}

func TestDialled(t *testing.T) {
	for in, want := range map[string]string{"1001": "1001", "1001;phone-context=x": "1001", "*43%23": "*43#", "%23%23": "##", "": ""} {
		if got := Dialled(in); got != want {
			t.Errorf("Dialled(%q) = %q, want %q", in, got, want)
		}
	}
}
