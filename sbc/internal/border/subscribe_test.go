package border

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// watching is a SUBSCRIBE of the phone.
func (p *phone) watching(number, event string, lines ...string) transactiontest.Ask {
	return transactiontest.NewAsk(sip.SUBSCRIBE, "sip:"+number+"@"+domain, "sip:"+p.user+"@"+domain, "sip:"+number+"@"+domain,
		append([]string{"Event: " + event, "Contact: <sip:" + p.user + "@192.168.1.9>"}, lines...)...)
}

// TestSubscribeIn gives the exchange a phone's SUBSCRIBE, and keeps nothing of one that is refused.
func TestSubscribeIn(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Limits.Subscriptions = Subscriptions{Total: 10, PerSource: 1}
		c.Access.Events = []string{"dialog"}
	})
	p := r.phone("1001", transport.TLS, 50)
	res := p.Do(p.flow, p.watching("1002", "presence"), statusBadEvent)
	has(t, res, "Allow-Events", "dialog")
	asked := p.Ask(p.flow, p.watching("1002", "dialog;id=7;sla", "Expires: 600", "X-A: secret", "Brickhouse-Trunk: secret"))
	s := r.exchange.Next(sip.SUBSCRIBE)
	lacks(t, s.Request(), r.addr(50), r.addr(accessHost), "secret", "192.168")
	has(t, s.Request(), "Event", "dialog;id=7")
	has(t, s.Request(), "Expires", "600")
	has(t, s.Request(), "Brickhouse-Realm", "access")
	p.Do(p.flow, p.watching("1003", "dialog"), 503) // one more than fits
	if n := r.b.metrics.refused.Counts()[verdict.SubscriptionLimit]; n != 1 {
		t.Errorf("%d refused for the limit", n)
	}
	r.exchange.Answer(s, 403, "", "Server: pbx")
	lacks(t, asked.Response(403), "pbx")
	asked = p.Ask(p.flow, p.watching("1003", "dialog")) // its place is free again
	s = r.exchange.Next(sip.SUBSCRIBE)
	r.exchange.Answer(s, 404, "")
	asked.Response(404)
	if n := r.b.watchers.len(); n != 0 || r.b.watchers.places != 0 {
		t.Errorf("%d subscriptions, %d places", n, r.b.watchers.places)
	}
}
