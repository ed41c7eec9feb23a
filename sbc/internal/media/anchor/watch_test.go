package anchor

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// doors is a Pinholes that counts.
type doors struct {
	t      testing.TB
	mu     sync.Mutex
	open   map[uint16]bool
	opened int
}

func (d *doors) OpenPort(port uint16) { d.set(port, true) }

func (d *doors) ClosePort(port uint16) { d.set(port, false) }

func (d *doors) set(port uint16, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[port] == open {
		d.t.Errorf("port %d: open is %v already", port, open)
	}
	if open {
		d.opened++
		d.open[port] = true
	} else {
		delete(d.open, port)
	}
}

func (d *doors) ports() []uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []uint16
	for p := range d.open {
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}

func watched(t testing.TB, a *Anchor) *doors {
	d := &doors{t: t, open: map[uint16]bool{}}
	a.Watch(d, nil)
	return d
}

// want are the ports of sessions, RTP and RTCP.
func want(sessions ...*Session) []uint16 {
	var all []uint16
	for _, s := range sessions {
		for _, p := range ports(s) {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestPinholes: ports are open from before the first SDP names them until the call has drained, through re-offers and another
// gateway, and what never had a port opens none.
func TestPinholes(t *testing.T) {
	a := newAnchor(t, 13000, func(c *Config) { c.Drain = time.Hour })
	d := watched(t, a)
	out, in := newPhone(t, "127.0.0.1", gcm), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", outside(), inside(), Events{})
	if got := d.ports(); len(got) != 0 {
		t.Errorf("open before the offer: %v", got)
	}
	offer, err := s.Offer(A, out.sdp())
	if err != nil {
		t.Fatal(err)
	}
	if got := d.ports(); !slices.Equal(got, want(s)) || len(got) != 4 {
		t.Errorf("open with the offer: %v, want %v", got, want(s))
	}
	in.take(offer)
	if err := s.Replace(B, inside()); err != nil {
		t.Fatal(err)
	}
	connect(t, s, out, in)
	exchangeSDP(t, s, B, in, out)
	if _, err := s.Offer(A, []byte("nonsense")); err == nil {
		t.Error("nonsense is an offer")
	}
	if got := d.ports(); !slices.Equal(got, want(s)) {
		t.Errorf("open within the call: %v, want %v", got, want(s))
	}
	talk(t, out, in)
	s.Close()
	s.Close()
	if got := d.ports(); !slices.Equal(got, want(s)) {
		t.Errorf("open while it drains: %v, want %v", got, want(s))
	}
	a.Open("y", outside(), inside(), Events{}).Close() // never offered anything
	a.Close()
	if got := d.ports(); len(got) != 0 || d.opened != 4 {
		t.Errorf("open after the end: %v of %d", got, d.opened)
	}
	late := a.Open("z", outside(), inside(), Events{})
	if _, err := late.Offer(A, out.sdp()); err == nil || len(d.ports()) != 0 {
		t.Errorf("a closed anchor opens %v", d.ports())
	}
}

// TestPinholesWhenPortsRunOut: a call that gets no ports opens none and closes none of those that have them.
func TestPinholesWhenPortsRunOut(t *testing.T) {
	a := newAnchor(t, 13200, func(c *Config) { c.MaxPort = c.MinPort + 5; c.Drain = time.Millisecond }) // three pairs
	d := watched(t, a)
	out := newPhone(t, "127.0.0.1", gcm)
	s := a.Open("1", outside(), inside(), Events{})
	mustOffer(t, s, A, out.sdp())
	for range 3 {
		full := a.Open("2", outside(), inside(), Events{})
		_, err := full.Offer(A, out.sdp()) // gets one pair and gives it back
		wantError(t, err, 503, verdict.PortsExhausted)
		full.Close()
	}
	if got := d.ports(); !slices.Equal(got, want(s)) {
		t.Errorf("open: %v, want %v", got, want(s))
	}
	s.Close()
	waitFor(t, "the ports to close", func() bool { return len(d.ports()) == 0 })
}

// TestPinholesOfManyCalls: with few ports and no rest, calls that end and calls that begin have the same ports at the same
// time; each is open as long as one of them has it.
func TestPinholesOfManyCalls(t *testing.T) {
	a := newAnchor(t, 13400, func(c *Config) { c.MaxPort = c.MinPort + 15; c.Drain = time.Microsecond })
	d := watched(t, a)
	offer := newPhone(t, "127.0.0.1", gcm).sdp()
	far := inside()
	far.Local = netip.MustParseAddr("127.203.13.1") // the same numbers on another address
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range 50 {
				s := a.Open("x", outside(), far, Events{})
				if _, err := s.Offer(A, offer); err == nil {
					open := d.ports()
					for _, p := range want(s) {
						if !slices.Contains(open, p) {
							t.Errorf("port %d of a call is closed", p)
						}
					}
				}
				s.Close()
			}
		})
	}
	calls.Wait()
	a.Close()
	if got := d.ports(); len(got) != 0 || d.opened == 0 {
		t.Errorf("open after the end: %v of %d", got, d.opened)
	}
	if len(a.ports.users) != 0 {
		t.Errorf("book: %v", a.ports.users)
	}
}

// TestStrangers: a host that sends to a call's port outside is told, with the call; one inside is not.
func TestStrangers(t *testing.T) {
	a := newAnchor(t, 13600, nil)
	told := make(chan Stranger, 100)
	a.Watch(nil, func(s Stranger) { told <- s })
	out, in := newPhone(t, "127.0.0.1", cm), newPhone(t, "127.0.0.1", "")
	s := a.Open("call-1", outside(), inside(), Events{})
	connect(t, s, out, in)
	talk(t, out, in)
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.203.11.66:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := append([]byte{0x80, 0, 0, 1}, make([]byte, 180)...)
	for side, why := range []verdict.Reason{B: verdict.MediaStranger, A: verdict.MediaAuthFailed} {
		to := netip.AddrPortFrom(loopback, s.legs[side].port)
		if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the packet", func() bool { return s.Stats().Sides[side].Dropped[why] == 1 })
	}
	got := <-told
	if got.Call != "call-1" || got.Realm != "access" || got.Port != s.legs[A].port || got.Source != addr(c) || got.At.IsZero() {
		t.Errorf("told: %+v", got)
	}
	a.Close()
	if len(told) != 0 {
		t.Errorf("also told: %+v", <-told)
	}
}

// TestRecent: a host is told once a second, and not more hosts than the bound.
func TestRecent(t *testing.T) {
	r := recent{hosts: map[netip.Addr]struct{}{}}
	now := time.Unix(1000, 0)
	host := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
	for n := range 2 * strangersEvery {
		if got := r.add(host(n), now); got != (n < strangersEvery) {
			t.Fatalf("host %d: %v", n, got)
		}
	}
	if r.add(host(0), now.Add(strangerSpan-1)) || !r.add(host(0), now.Add(strangerSpan)) || r.add(host(0), now.Add(strangerSpan)) {
		t.Error("a host is told too often or never again")
	}
}

// TestFullQueueOfStrangers: a reader never waits for whoever is told.
func TestFullQueueOfStrangers(t *testing.T) {
	a := newAnchor(t, 13800, nil)
	hold, busy := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a.Watch(nil, func(Stranger) { once.Do(func() { close(busy) }); <-hold })
	defer close(hold)
	out, in := newPhone(t, "127.0.0.1", ""), newPhone(t, "127.0.0.1", "")
	s := a.Open("x", Endpoint{Realm: Realm{Name: "lan", Secure: Never}, Local: loopback}, inside(), Events{})
	connect(t, s, out, in)
	a.strangers <- Stranger{Source: netip.MustParseAddrPort("192.0.2.1:1")}
	<-busy
	for range cap(a.strangers) {
		a.strangers <- Stranger{}
	}
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.203.11.66:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := append([]byte{0x80, 0, 0, 1}, make([]byte, 180)...)
	if _, err := c.WriteToUDPAddrPort(b, netip.AddrPortFrom(loopback, s.legs[A].port)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the packet", func() bool { return s.Stats().Sides[A].Dropped[verdict.MediaStranger] == 1 })
	out.play(440, 1) // the same reader goes on
	in.listen(1)
}
