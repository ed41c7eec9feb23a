package product

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/shared/siptest"
)

// The exchange dies in the middle of a call: its media goes on. When the exchange is back, the call's record is there once, and who
// was registered is registered.
func TestExchangeDies(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	for _, n := range []string{"1001", "1002", "1003", "1004", "1005"} {
		p.Extension(n, "md5")
	}
	alice := l.Remote.Baresip(p.RemoteAccount("1001", 440))
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	carol := l.Remote2.Baresip(p.RemoteAccount("1003", 550))
	dave := l.Desk2.Baresip(p.InsideAccount("1004", 880))
	for _, ph := range []*lab.Baresip{alice, bob, carol, dave} {
		ph.Register()
	}
	enrol(t, tester(t, siptest.Config{User: "1005", Password: Password, Domain: Domain, Transport: siptest.UDP,
		Server: p.Inside().String(), Bind: l.Desk2.Addr(), Within: l.Desk2.Do, Tone: 620}))
	p.Border.WaitLine(coreUp, waits) // the first time
	alice.Call("1002")
	bob.Answer()
	alice.WaitEstablished()
	alice.Hears(700)
	bob.Hears(440)

	p.Exchange.Kill()
	alice.Hears(700)
	bob.Hears(440)
	p.Exchange.Start()
	alice.Hears(700)
	bob.Hears(440)

	cut := p.survived(t)

	// A phone inside can be called at once, a remote one as soon as the border has found the exchange again, which it does by itself.
	dave.Call("1005")
	dave.WaitEstablished()
	dave.Hears(620)
	dave.Hangup()
	p.Border.WaitLine(coreUp, waits)
	dave.Call("1003")
	carol.Answer()
	dave.WaitEstablished()
	dave.Hears(550)
	carol.Hears(880)
	dave.Hangup()
	carol.WaitClosed()

	// The old call can be ended, by each side for itself: the exchange knows nothing of it.
	alice.Hangup()
	bob.Hangup()
	dave.Call("1002")
	bob.Answer()
	dave.WaitEstablished()
	dave.Hears(700)
	bob.Hears(880)
	bob.Hangup()
	dave.WaitClosed()
	p.answeredThrice(t)
	p.recordedOnce(t, cut)
	p.noCallsLeft(t)
}

// survived wants what the exchange must know after it was killed: the record of the call that was cut, and the registrations.
func (p *Product) survived(t *testing.T) []record {
	t.Helper()
	// Its record: once, closed, and why. The only one so far.
	cut := p.records(t)
	if len(cut) != 1 || cut[0].Caller != "1001" || cut[0].Dialled != "1002" || cut[0].Reason != "system-failure" || cut[0].Answer == "" || cut[0].End == "" {
		t.Errorf("records after the crash: %+v", cut)
	}
	var regs []struct{ Number string }
	if p.ask(t, &regs, "pbx", "registration", "list"); len(regs) != 5 {
		t.Errorf("registrations after the crash: %+v", regs)
	}
	return cut
}

// answeredThrice waits for the records of the calls after the crash.
func (p *Product) answeredThrice(t *testing.T) {
	t.Helper()
	until(t, waits, "the records of the calls since", func() string {
		if r := p.recorded(t, "1004"); len(r) != 3 || slices.ContainsFunc(r, func(r record) bool { return r.Disposition != "answered" }) {
			return fmt.Sprintf("%+v", r)
		}
		return ""
	})
}

// recordedOnce kills the exchange once more: there is no second record of the call that was cut.
func (p *Product) recordedOnce(t *testing.T, cut []record) {
	t.Helper()
	p.Exchange.Kill()
	p.Exchange.Start()
	if r := p.recorded(t, "1001"); len(r) != 1 || r[0] != cut[0] {
		t.Errorf("after one more crash: %+v, before: %+v", r, cut)
	}
	if all := p.records(t); len(all) != 4 {
		t.Errorf("%d records of four calls: %+v", len(all), all)
	}
}

// The exchange dies while a phone rings: that attempt has its record, too.
func TestExchangeDiesRinging(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	alice := tester(t, p.outsider(t, l.Remote, "1001", 0))
	enrol(t, alice)
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	bob.Register()
	call, err := alice.Invite(bounded(t, waits), "1002")
	if err != nil {
		t.Fatal(err)
	}
	bob.WaitIncoming()
	p.Exchange.Kill()
	if r, err := call.Wait(bounded(t, time.Minute)); err != nil || r.Code < 500 {
		t.Errorf("the caller was told %v, %v", r, err)
	}
	p.Exchange.Start()
	if r := p.records(t); len(r) != 1 || r[0].Reason != "system-failure" || r[0].Answer != "" || r[0].Caller != "1001" || r[0].Disposition != "failed" {
		t.Errorf("records: %+v", r)
	}
}

// The border dies: remote phones are there again as soon as they register again; until then who calls them is told.
func TestBorderDies(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	alice := tester(t, p.outsider(t, l.Remote, "1001", 440))
	enrol(t, alice)
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	bob.Register()

	p.Border.Kill()
	bob.Call("1001")
	if why := bob.WaitClosed(); !strings.HasPrefix(why, "4") && !strings.HasPrefix(why, "5") {
		t.Errorf("without a border: %q", why)
	}
	p.Border.Start()
	bob.Call("1001")
	if why := bob.WaitClosed(); !strings.HasPrefix(why, "4") {
		t.Errorf("with a border that does not know the phone any more: %q", why)
	}
	again := tester(t, p.outsider(t, l.Remote, "1001", 440))
	enrol(t, again)
	bob.Call("1001")
	select {
	case c := <-again.Incoming():
		bob.WaitEstablished()
		bob.Hears(440)
		if _, err := c.AwaitTone(bounded(t, waits), 700); err != nil {
			t.Error(err)
		}
		if err := c.Hangup(bounded(t, waits)); err != nil {
			t.Error(err)
		}
	case <-time.After(waits):
		t.Fatal("no call came")
	}
	bob.WaitClosed()
	if r := p.recorded(t, "1002"); len(r) == 3 && r[2].Disposition != "answered" {
		t.Errorf("%+v", r)
	}
	p.noCallsLeft(t)
}

// noCallsLeft wants that neither program has a call in hand.
func (p *Product) noCallsLeft(t *testing.T) {
	t.Helper()
	for _, program := range []string{"sbc", "pbx"} {
		until(t, waits, program+" to have no call left", func() string {
			var calls []struct{ ID string }
			if p.ask(t, &calls, program, "call", "list"); len(calls) > 0 {
				return fmt.Sprint(calls)
			}
			return ""
		})
	}
}
