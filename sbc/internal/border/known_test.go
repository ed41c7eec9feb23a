package border

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// ledger is a registry that remembers.
type ledger struct {
	mu    sync.Mutex
	until map[string]time.Time // by "host aor"
	said  int
}

func (l *ledger) Known(src netip.Addr, aor string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said++
	l.until[src.String()+" "+aor] = until
}

func (l *ledger) Forget(src netip.Addr, aor string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said++
	delete(l.until, src.String()+" "+aor)
}

// has returns who is known, sorted.
func (l *ledger) has() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(l.until)), ", ")
}

// left returns how long somebody is known.
func (l *ledger) left(who string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until[who])
}

// ledger has the border tell a ledger instead of its guard.
func (r *rig) ledger() *ledger {
	l := &ledger{until: map[string]time.Time{}}
	r.b.known = l
	return l
}

// known waits until exactly these accounts are known, each as "host aor".
func (r *rig) known(l *ledger, want ...string) {
	r.Helper()
	slices.Sort(want)
	r.eventually(fmt.Sprintf("%q to be known, not %q", want, l.has()), func() bool { return l.has() == strings.Join(want, ", ") })
}

// who names an account behind a host as a ledger does.
func (r *rig) who(host int, user string) string { return r.addr(host) + " " + user + "@" + domain }

// TestKnown: an accepted registration makes an address known until it ends, whichever way it ends.
func TestKnown(t *testing.T) {
	r := newRig(t, nil)
	l := r.ledger()
	p := r.phone("1001", transport.TLS, 50)
	p.fail("bad-credentials;nonce=known")
	r.settle()
	r.known(l)
	p.register()
	r.known(l, r.who(50, "1001"))
	if left := l.left(r.who(50, "1001")); left <= 0 || left > time.Minute {
		t.Errorf("known for %v, want the minute that the exchange granted", left)
	}
	ask := p.registration()
	ask.Lines = []string{"Contact: " + p.contact() + ";expires=0"}
	asked := p.Ask(p.flow, ask)
	r.exchange.Answer(r.exchange.Next(sip.REGISTER), 200, "")
	asked.Response(200)
	r.known(l)

	p.register()
	r.known(l, r.who(50, "1001"))
	p.flow.Close(verdict.NormalClearing)
	r.known(l)

	p.flow = p.connect(transport.TLS, 50)
	p.register()
	r.known(l, r.who(50, "1001"))
	r.b.cache.Expire(r.b.now().Add(time.Hour))
	r.known(l)
}

// TestKnownTwice: two phones of an account behind one address are known until the last one is gone, and one that moves takes its
// address along.
func TestKnownTwice(t *testing.T) {
	r := newRig(t, nil)
	l := r.ledger()
	desk, soft := r.phone("1001", transport.TLS, 50), r.phone("1001", transport.TCP, 50)
	desk.register()
	soft.register()
	colleague := r.phone("1002", transport.TLS, 50)
	colleague.register()
	r.known(l, r.who(50, "1001"), r.who(50, "1002"))
	desk.flow.Close(verdict.NormalClearing)
	r.eventually("one binding less", func() bool { return r.b.cache.Expire(r.b.now()) == 2 })
	r.known(l, r.who(50, "1001"), r.who(50, "1002"))
	soft.flow.Close(verdict.NormalClearing)
	r.known(l, r.who(50, "1002"))

	roaming := func(p *phone) { // the same instance, from wherever it is
		ask := p.registration()
		ask.Lines = []string{"Contact: " + p.contact() + `;+sip.instance="<urn:uuid:1>"`}
		asked := p.Ask(p.flow, ask)
		s := r.exchange.Next(sip.REGISTER)
		r.exchange.Answer(s, 200, "", "Contact: <sip:"+s.Request().Contact().Address.User+"@192.0.2.1>;expires=60")
		asked.Response(200)
	}
	roaming(r.phone("1003", transport.TLS, 51))
	r.known(l, r.who(50, "1002"), r.who(51, "1003"))
	roaming(r.phone("1003", transport.TLS, 52))
	r.known(l, r.who(50, "1002"), r.who(52, "1003"))
}

// TestKnownByProof: over UDP a registration counts if its nonce came back, since a datagram's source may be anybody's.
func TestKnownByProof(t *testing.T) {
	r := newRig(t, nil)
	l := r.ledger()
	for host, verdict := range map[int]string{50: "ok;nonce=known", 51: "ok;nonce=foreign"} {
		p := r.phone("1001", transport.UDP, host)
		asked := p.Ask(p.flow, p.registration())
		s := r.exchange.Next(sip.REGISTER)
		r.exchange.Answer(s, 200, "", granted(s), `Brickhouse-Verdict: `+verdict+`;aor="1001@example.com"`)
		asked.Response(200)
	}
	r.settle()
	r.known(l, r.who(50, "1001"))
}

// TestKnownOverRestarts: a reload forgets nobody, and neither does a stop: the phones will be back.
func TestKnownOverRestarts(t *testing.T) {
	r := newRig(t, nil)
	l := r.ledger()
	r.phone("1001", transport.TLS, 50).register()
	if err := r.b.Reload(r.cfg); err != nil {
		t.Fatal(err)
	}
	r.known(l, r.who(50, "1001"))
	r.b.Close()
	if got := l.has(); got != r.who(50, "1001") {
		t.Errorf("after the stop, known: %q", got)
	}
}

// TestPorts: the kernel filter is told every socket of the outside, once.
func TestPorts(t *testing.T) {
	r := newRig(t, nil)
	want := guard.Ports{
		SIPUDP: []uint16{accessPort, peerPort}, SIPTCP: []uint16{accessPort, accessTLS, peerPort, peerTLS},
		Media: guard.PortRange{First: 20000, Last: 20999},
	}
	got := r.b.ports()
	if len(got.Own) == 0 || slices.Contains(got.Own, netip.Addr{}) {
		t.Errorf("media arrives at %v", got.Own)
	}
	if !slices.Equal(got.SIPUDP, want.SIPUDP) || !slices.Equal(got.SIPTCP, want.SIPTCP) || got.Media != want.Media {
		t.Errorf("ports: %+v, want %+v", got, want)
	}
}

// doors counts open media ports.
type doors struct {
	t    *testing.T
	mu   sync.Mutex
	open map[uint16]bool
	ever int
}

func (d *doors) OpenPort(port uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[port] {
		d.t.Errorf("port %d is opened twice", port)
	}
	d.open[port] = true
	d.ever++
}

func (d *doors) ClosePort(port uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open[port] {
		d.t.Errorf("port %d is closed twice", port)
	}
	delete(d.open, port)
}

func (d *doors) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// named reports whether the port in an SDP is open.
func (d *doors) named(sdp []byte) bool {
	_, rest, _ := strings.Cut(string(sdp), "m=audio ")
	var port uint16
	if _, err := fmt.Sscan(rest, &port); err != nil {
		d.t.Fatalf("no port in %q", sdp)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[port] && d.open[port+1]
}

// newDoors starts a border whose media ports are told to doors; at most two calls have ports.
func newDoors(t *testing.T) (*rig, *doors) {
	r := newRig(t, func(c *Config) {
		c.Media.MinPort, c.Media.MaxPort = 21000, 21003
		c.Media.Drain, c.Media.Quarantine = time.Millisecond, 0
	})
	d := &doors{t: t, open: map[uint16]bool{}}
	r.b.anchor.Watch(d, nil)
	return r, d
}

// closed waits until no port is open.
func (r *rig) closed(d *doors) {
	r.Helper()
	r.eventually("all ports to close", func() bool { return d.count() == 0 })
}

// TestPinholesOfACall: the ports are open before either side reads of them, stay so through a re-INVITE, and close with the call.
func TestPinholesOfACall(t *testing.T) {
	r, d := newDoors(t)
	p := r.phone("1001", transport.TLS, 50)
	p.register()
	p.Ask(p.flow, p.call("1002"))
	s := r.exchange.Next(sip.INVITE)
	if d.ever != 0 {
		t.Error("a stranger's call opens a port")
	}
	r.exchange.Answer(s, 407, "")

	ask := p.call("1002", proxyCredentials)
	asked := p.Ask(p.flow, ask)
	s = r.exchange.Next(sip.INVITE)
	if !d.named(s.Request().Body()) {
		t.Errorf("offer inside: %d ports are open", d.count())
	}
	r.exchange.Answer(s, 200, offer(r.ip(exchangeHost)))
	res := asked.Response(200)
	if !d.named(res.Body()) {
		t.Error("the port in the answer outside is closed")
	}
	p.Ask(p.flow, ask.Within(res, sip.ACK))
	r.exchange.NextAck()
	again := ask.Within(res, sip.INVITE)
	again.Body = ask.Body
	asked = p.Ask(p.flow, again)
	r.exchange.Answer(r.exchange.Next(sip.INVITE), 200, offer(r.ip(exchangeHost)))
	res = asked.Response(200)
	p.Ask(p.flow, again.Within(res, sip.ACK))
	r.exchange.NextAck()
	if !d.named(res.Body()) || d.count() != d.ever {
		t.Errorf("after the re-INVITE: %d of %d ports are open", d.count(), d.ever)
	}
	r.hang(s, p.Party)
	r.closed(d)
}

// TestPinholesOfFailedCalls: a call that is refused, given up or gets no ports leaves none open.
func TestPinholesOfFailedCalls(t *testing.T) {
	r, d := newDoors(t)
	p := r.phone("1001", transport.TLS, 50)
	asked := p.Ask(p.flow, p.call("1002", proxyCredentials))
	r.exchange.Answer(r.exchange.Next(sip.INVITE), 486, "")
	asked.Response(486)
	r.closed(d)

	var ringing []*transactiontest.Asked
	for range 2 {
		asked := p.Ask(p.flow, p.call("1002", proxyCredentials))
		r.exchange.Answer(r.exchange.Next(sip.INVITE), 180, "")
		asked.Response(180)
		ringing = append(ringing, asked)
	}
	p.Do(p.flow, p.call("1003", proxyCredentials), 503)
	if d.count() != 4 {
		t.Errorf("%d ports are open while two calls ring", d.count())
	}
	for _, a := range ringing {
		a.Client.Cancel()
		a.Response(487)
	}
	r.closed(d)

	p.Ask(p.flow, p.call("1002", proxyCredentials))
	if s := r.exchange.Next(sip.INVITE); !d.named(s.Request().Body()) {
		t.Error("the port in an offer is closed")
	}
	r.b.Close()
	if d.count() != 0 {
		t.Errorf("%d ports are open after the stop", d.count())
	}
}
