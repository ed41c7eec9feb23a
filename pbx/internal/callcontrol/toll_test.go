package callcontrol

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// class is the class of service by default, changed.
func class(change func(*dialplan.Class)) dialplan.Class {
	c := dialplan.NewClass()
	if change != nil {
		change(&c)
	}
	return c
}

// tollRig is a call control in Germany, with these classes of service beside the default one.
func tollRig(t *testing.T, classes map[string]dialplan.Class) *rig {
	t.Helper()
	plan, err := dialplan.Compile(dialplan.File{Home: dialplan.Home{Country: "DE"}, Classes: classes, Rules: []dialplan.Rule{
		{Number: "0.", From: dialplan.FromPhones, Do: "trunk", Trunk: "carrier"},
		{Number: "112", From: dialplan.FromPhones, Do: "trunk", Trunk: "carrier"},
		{Number: "1XXX", From: dialplan.FromPhones, Do: "extension"},
		{Number: "49301001", From: "carrier", Do: "extension", Extension: "1001"},
		{Number: "0.", From: "carrier", Do: "trunk", Trunk: "carrier"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(cfg *Config, _ *b2bua.Config) { cfg.Dialplan = plan })
	r.classify("1009", "default")
	return r
}

// classify gives an extension a class of service.
func (r *rig) classify(number, class string) {
	r.t.Helper()
	if _, err := r.store.PutExtension(r.t.Context(), &store.Extension{Number: number, Class: class}); err != nil {
		r.t.Fatal(err)
	}
}

// TestRights: what a number costs and where it is decides, and the record says so.
func TestRights(t *testing.T) {
	classes := map[string]dialplan.Class{
		"world": class(func(c *dialplan.Class) { c.Countries = []string{dialplan.AnyCountry} }),
		"rich":  class(func(c *dialplan.Class) { c.Premium, c.Satellite = true, true }),
		"none":  class(func(c *dialplan.Class) { c.Concurrent = 0 }),
	}
	for _, c := range []struct {
		class, number string
		want          verdict.Reason
		country, kind string
	}{
		{"default", "030123456", "", "DE", "ordinary"},
		{"default", "0049301234567", "", "DE", "ordinary"},
		{"default", "0033123456789", verdict.CountryDenied, "FR", "ordinary"},
		{"default", "09001234567", verdict.PremiumDenied, "DE", "premium"},
		{"default", "004990012345678", verdict.PremiumDenied, "DE", "premium"},
		{"default", "00881612345678", verdict.SatelliteDenied, "", "satellite"},
		{"world", "0033123456789", "", "FR", "ordinary"},
		{"world", "00881612345678", verdict.SatelliteDenied, "", "satellite"},
		{"rich", "09001234567", "", "DE", "premium"},
		{"none", "030123456", verdict.ConcurrentCap, "DE", "ordinary"},
		{"lost", "030123456", verdict.NotAllowed, "DE", "ordinary"},
	} {
		t.Run(c.class+" "+c.number, func(t *testing.T) {
			r := tollRig(t, classes)
			r.classify("1009", c.class)
			f, err := r.control.Forecast(t.Context(), "1009", c.number)
			if err != nil || f.Reason != c.want || f.Country != c.country || f.Kind != c.kind {
				t.Errorf("forecast %+v, %v", f, err)
			}
			asked, v := r.dial(c.number, nil)
			if v.Reason != c.want {
				t.Fatalf("%+v", v)
			}
			if c.want == "" {
				r.border.Answer(r.border.Next(sip.INVITE), 404, "")
				asked.Response(404)
			} else {
				asked.Response(403)
			}
			rec := r.over()
			if rec.Country != c.country || rec.Kind != c.kind || rec.Class != c.class || (rec.Denied != "") != (c.want != "") {
				t.Errorf("record %+v", rec)
			}
			if c.want != "" && (rec.Disposition != cdr.Refused || rec.Reason != c.want) {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestCapRace: of many INVITEs at once, exactly as many as the cap allows are placed.
func TestCapRace(t *testing.T) {
	const room, callers = 5, 40
	r := tollRig(t, map[string]dialplan.Class{"default": class(func(c *dialplan.Class) { c.Concurrent, c.BlockDenied = room, 0 })})
	for i := range callers {
		a := transactiontest.NewAsk(sip.INVITE, fmt.Sprintf("sip:0301234%02d@pbx.test", i), "sip:1009@pbx.test", "sip:x@pbx.test")
		a.Body = offer
		r.caller.Ask(r.flow, a)
	}
	passed, refused := 0, 0
	for range callers {
		select {
		case v := <-r.started:
			if v.OK() {
				passed++
			} else if v.Reason == verdict.ConcurrentCap {
				refused++
			}
		case <-time.After(transactiontest.Patience):
			t.Fatal("an INVITE does not arrive")
		}
	}
	if passed != room || refused != callers-room {
		t.Errorf("%d passed, %d were refused", passed, refused)
	}
	for range room {
		r.border.Answer(r.border.Next(sip.INVITE), 404, "")
	}
	eventually(t, func() string {
		a, _, err := r.control.Account(t.Context(), "1009")
		if err != nil || a.Used.Concurrent != 0 || a.Used.Day != room {
			return fmt.Sprintf("%+v, %v", a, err)
		}
		return ""
	})
}

// TestBlocked: too many denied calls block an extension for all but emergency calls, until it is unblocked.
func TestBlocked(t *testing.T) {
	r := tollRig(t, map[string]dialplan.Class{"default": class(func(c *dialplan.Class) { c.BlockDenied = 2 })})
	ask := func(number string, want verdict.Reason) {
		t.Helper()
		asked, v := r.dial(number, nil)
		if v.Reason != want {
			t.Fatalf("%s: %+v, want %q", number, v, want)
		}
		if want == "" {
			r.border.Answer(r.border.Next(sip.INVITE), 404, "")
			asked.Response(404)
		}
	}
	ask("0033123456789", verdict.CountryDenied)
	ask("030123456", "")
	ask("09001234567", verdict.PremiumDenied)
	ask("030123456", verdict.ExtensionBlocked)
	a, _, err := r.control.Account(t.Context(), "1009")
	if err != nil || a.Blocked == nil || a.Why != verdict.PremiumDenied {
		t.Errorf("%+v, %v", a, err)
	}
	if f, err := r.control.Forecast(t.Context(), "1009", "030123456"); err != nil || f.Reason != verdict.ExtensionBlocked {
		t.Errorf("%+v, %v", f, err)
	}
	ask("112", "")
	if f, err := r.control.Forecast(t.Context(), "1009", "112"); err != nil || f.Reason != "" || !f.Emergency {
		t.Errorf("%+v, %v", f, err)
	}
	if was, _, err := r.store.Unblock(t.Context(), "1009", time.Now()); !was || err != nil {
		t.Fatalf("%v, %v", was, err)
	}
	ask("030123456", "")
}

// TestRedirectedOut: a phone that redirects to a carrier does so with the rights, and at the cost, of its own extension.
func TestRedirectedOut(t *testing.T) {
	for name, c := range map[string]struct {
		class string
		want  bool
	}{"may": {"world", true}, "may not": {"default", false}} {
		t.Run(name, func(t *testing.T) {
			r := tollRig(t, map[string]dialplan.Class{"world": class(func(c *dialplan.Class) { c.Countries = []string{dialplan.AnyCountry} })})
			phone := r.extension("1001")
			r.classify("1001", c.class)
			r.classify("1009", map[bool]string{true: "default", false: "world"}[c.want]) // the caller's rights are not asked
			asked, v := r.dial("1001", nil)
			if !v.OK() {
				t.Fatal(v)
			}
			phone.Answer(phone.Next(sip.INVITE), 302, "", "Contact: <sip:0033123456789@pbx.test>")
			if c.want {
				s := r.border.Next(sip.INVITE)
				if got := s.Request().Recipient.User; got != "0033123456789" {
					t.Errorf("start line names %s", got)
				}
				r.border.Answer(s, 404, "")
				asked.Response(404)
			} else if ev := asked.Event(); ev.Response == nil || ev.Response.StatusCode < 400 {
				t.Errorf("%+v", ev)
			}
			rec := r.over()
			if rec.Causer != "1001" || rec.Country != "FR" || rec.Class != c.class || (rec.Denied != "") == c.want {
				t.Errorf("record %+v", rec)
			}
			for who, want := range map[string]int{"1001": map[bool]int{true: 1}[c.want], "1009": 0} {
				if a, _, err := r.control.Account(t.Context(), who); err != nil || a.Used.Day != want || a.Used.Concurrent != 0 {
					t.Errorf("%s: %+v, %v", who, a, err)
				}
			}
		})
	}
}

// TestNobodysRights: a carrier's call is not sent on to a carrier, unless an extension causes that.
func TestNobodysRights(t *testing.T) {
	r := tollRig(t, nil)
	r.set(func() { r.who = Caller{Number: "0171", Realm: "peer", Trunk: "carrier"} })
	if _, v := r.dial("030123456", nil); v.Reason != verdict.NotAllowed {
		t.Errorf("%+v", v)
	}
	r.set(func() { r.who.Causer = "1009" })
	asked, v := r.dial("030123456", nil)
	if !v.OK() {
		t.Fatal(v)
	}
	r.border.Answer(r.border.Next(sip.INVITE), 404, "")
	asked.Response(404)
	eventually(t, func() string {
		if a, _, err := r.control.Account(t.Context(), "1009"); err != nil || a.Used.Day != 1 {
			return fmt.Sprintf("%+v, %v", a, err)
		}
		return ""
	})
}

// TestMinutes: a call that is up when the minutes of who caused it are used up is ended, and no other begins.
func TestMinutes(t *testing.T) {
	var ahead atomic.Int64
	plan, err := dialplan.Compile(dialplan.File{
		Classes: map[string]dialplan.Class{"default": class(func(c *dialplan.Class) { c.MinutesPerDay, c.BlockDay = 10, false })},
		Rules:   []dialplan.Rule{{Number: "0.", From: dialplan.FromPhones, Do: "trunk", Trunk: "carrier"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(cfg *Config, _ *b2bua.Config) {
		cfg.Dialplan, cfg.Now = plan, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	asked, v := r.dial("030123456", nil)
	if !v.OK() {
		t.Fatal(v)
	}
	r.border.Answer(r.border.Next(sip.INVITE), 200, offer)
	r.caller.Ask(r.flow, asked.Sent.Within(asked.Response(200), sip.ACK))
	r.row(store.CallUp)
	ahead.Store(int64(9 * time.Minute))
	if err := r.control.EndOverdrawn(t.Context()); err != nil || len(r.engine.Calls()) != 1 {
		t.Errorf("%v, %d calls after 9 minutes", err, len(r.engine.Calls()))
	}
	ahead.Store(int64(11 * time.Minute))
	if err := r.control.EndOverdrawn(t.Context()); err != nil {
		t.Error(err)
	}
	r.border.Answer(r.border.Next(sip.BYE), 200, "")
	if rec := r.over(); rec.Disposition != cdr.Answered || rec.Reason != verdict.TalkCap {
		t.Errorf("record %+v", rec)
	}
	if _, v := r.dial("030123456", nil); v.Reason != verdict.TalkCap {
		t.Errorf("%+v", v)
	}
	if n := len(r.control.meter.calls()); n != 0 {
		t.Errorf("%d calls are metered", n)
	}
}
