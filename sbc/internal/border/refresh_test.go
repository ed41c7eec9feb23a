package border

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// bound registers a phone with that REGISTER: the exchange holds it for so many seconds.
func (p *phone) bound(ask transactiontest.Ask, inside string) *sip.Response {
	p.r.Helper()
	asked := p.Ask(p.flow, ask)
	s := p.r.exchange.Next(sip.REGISTER)
	p.r.exchange.Answer(s, 200, "", "Contact: <"+s.Request().Contact().Address.String()+">;expires="+inside,
		`Brickhouse-Verdict: ok;nonce=known;aor="`+p.user+`@example.com"`)
	return asked.Response(200)
}

// TestRefreshEndsHere: short outside, long inside. What only goes on is no business of the exchange.
func TestRefreshEndsHere(t *testing.T) {
	for _, network := range []transport.Network{transport.UDP, transport.TLS} {
		t.Run(string(network), func(t *testing.T) {
			r := newRig(t, nil)
			p := r.phone("1001", network, 50)
			ask := p.registration("Expires: 1800")
			ask.Seq = 10
			want := p.contact() + map[transport.Network]string{transport.UDP: ";expires=60", transport.TLS: ";expires=600"}[network]
			has(t, p.bound(ask, "3600"), "Contact", want)
			for range 3 {
				ask.Seq++
				has(t, p.Do(p.flow, ask, 200), "Contact", want)
			}
			r.settle()
			r.exchange.Quiet()
			token := r.b.cache.All()[0].Token
			if b, _ := r.b.cache.Get(token, r.b.now()); int(b.CSeq) != ask.Seq {
				t.Errorf("CSeq %d of the refresh is not kept", ask.Seq)
			}
			ask.Seq = 9
			asked := p.Ask(p.flow, ask) // an old request renews nothing here
			r.exchange.Answer(r.exchange.Next(sip.REGISTER), 500, "")
			asked.Response(500)
		})
	}
}

// TestRefreshGoesInside: each thing that is not the same as before is the exchange's to decide.
func TestRefreshGoesInside(t *testing.T) {
	for name, change := range map[string]func(r *rig, p *phone, a *transactiontest.Ask){
		"another Call-ID":   func(_ *rig, _ *phone, a *transactiontest.Ask) { a.CallID = "other" },
		"another contact":   func(_ *rig, p *phone, a *transactiontest.Ask) { a.Lines[0] = "Contact: <sip:x@10.9.9.9>" },
		"one contact more":  func(_ *rig, _ *phone, a *transactiontest.Ask) { a.Lines = append(a.Lines, "Contact: <sip:x@10.9.9.9>") },
		"another parameter": func(_ *rig, p *phone, a *transactiontest.Ask) { a.Lines[0] = "Contact: " + p.contact() + ";q=0.1" },
		"contact goes":      func(_ *rig, p *phone, a *transactiontest.Ask) { a.Lines[0] = "Contact: " + p.contact() + ";expires=0" },
		"question":          func(_ *rig, _ *phone, a *transactiontest.Ask) { a.Lines = nil },
		"another account": func(_ *rig, _ *phone, a *transactiontest.Ask) {
			a.From, a.To = strings.ReplaceAll(a.From, "1001", "1002"), strings.ReplaceAll(a.To, "1001", "1002")
		},
		"another flow": func(r *rig, p *phone, _ *transactiontest.Ask) { p.flow = p.connect(transport.UDP, 51) },
		"the exchange is another one": func(r *rig, _ *phone, _ *transactiontest.Ask) {
			r.link.Close(verdict.Shutdown)
			r.link = r.exchange.Opened()
			r.eventually("the core link", func() bool { f := r.b.core.current(); return f != nil && f.Local() == r.link.Remote() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			p := r.phone("1001", transport.UDP, 50)
			ask := p.registration()
			p.bound(ask, "3600")
			ask.Seq++
			change(r, p, &ask)
			asked := p.Ask(p.flow, ask)
			r.exchange.Answer(r.exchange.Next(sip.REGISTER), 403, "")
			asked.Response(403)
		})
	}
}

// TestRefreshWhenHalfIsOver: the exchange is asked again long before it forgets; while it is away the border stands in for
// it, but for no longer than it was told.
func TestRefreshWhenHalfIsOver(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.UDP, 50)
	ask := p.registration()
	p.bound(ask, "3600")
	age := func(passed, left time.Duration) {
		t.Helper()
		b := *r.b.cache.All()[0]
		b.Confirmed, b.Inside = r.b.now().Add(-passed), r.b.now().Add(left)
		if err := r.b.cache.Put(b); err != nil {
			t.Fatal(err)
		}
		ask.Seq = int(b.CSeq) + 1
	}
	r.b.core.mu.Lock()
	r.b.core.born = time.Time{}
	r.b.core.mu.Unlock()
	age(29*time.Minute, 31*time.Minute)
	p.Do(p.flow, ask, 200)
	age(31*time.Minute, 29*time.Minute)
	p.bound(ask, "3600")
	r.exchange.Quiet()

	r.b.core.closed(r.b.core.current()) // the exchange is away
	age(31*time.Minute, 29*time.Minute)
	p.Do(p.flow, ask, 200)
	age(59*time.Minute, 59*time.Second)
	p.Do(p.flow, ask, 503)
}

func TestTooBrief(t *testing.T) {
	r := newRig(t, nil)
	p := r.phone("1001", transport.TLS, 50)
	has(t, p.Do(p.flow, p.registration("Expires: 29"), 423), "Min-Expires", "30")
	has(t, p.bound(p.registration("Expires: 30"), "3600"), "Contact", p.contact()+";expires=30")
}

// TestQuestion: a phone that asks sees the contacts of its account, and none that the exchange does not name.
func TestQuestion(t *testing.T) {
	r := newRig(t, nil)
	p, other := r.phone("1001", transport.UDP, 50), r.phone("1001", transport.UDP, 51)
	p.bound(p.registration(), "3600")
	other.bound(other.registration(), "3600")
	ask := p.registration()
	ask.Lines = nil
	asked := p.Ask(p.flow, ask)
	var lines []string
	for _, b := range r.b.cache.All() {
		if b.Flow.Remote() == p.flow.Local() {
			lines = append(lines, "Contact: <sip:"+b.Token+"@192.0.2.1>;expires=3000")
		}
	}
	r.exchange.Answer(r.exchange.Next(sip.REGISTER), 200, "", lines...)
	contacts := sipmsg.Headers(asked.Response(200), "Contact")
	if len(contacts) != 1 || !strings.HasPrefix(contacts[0], p.contact()+";expires=") {
		t.Errorf("contacts %q", contacts)
	}
}

// TestFlowTimer tells a phone that registers by RFC 5626 over a connection how often to show that it is there.
func TestFlowTimer(t *testing.T) {
	r := newRig(t, nil)
	for network, want := range map[transport.Network]string{transport.UDP: "", transport.TLS: "120"} {
		p := r.phone("1001", network, 50)
		ask := p.registration("Supported: outbound, path")
		ask.Lines[0] = "Contact: " + p.contact() + `;+sip.instance="<urn:uuid:1>";reg-id=1`
		asked := p.Ask(p.flow, ask)
		s := r.exchange.Next(sip.REGISTER)
		r.exchange.Answer(s, 200, "", "Contact: <"+s.Request().Contact().Address.String()+">;expires=3600", "Require: outbound")
		has(t, asked.Response(200), "Flow-Timer", want)
		ask.Seq++
		again := p.Do(p.flow, ask, 200)
		has(t, again, "Flow-Timer", want)
		has(t, again, "Require", "outbound")
	}
}
