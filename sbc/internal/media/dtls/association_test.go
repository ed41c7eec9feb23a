package dtls

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/sdp"
)

const patience = 10 * time.Second

var (
	phoneAt   = netip.MustParseAddrPort("192.0.2.1:4000")
	borderAt  = netip.MustParseAddrPort("192.0.2.2:5000")
	elsewhere = netip.MustParseAddrPort("192.0.2.1:4001")
)

func identity(t testing.TB) *Identity {
	t.Helper()
	i, err := NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// outcome is what Done was called with.
type outcome struct {
	keys Keys
	err  error
}

// end is one side of a wire: an association with what it told.
type end struct {
	*Association
	id   *Identity
	done chan outcome
}

// wire carries packets between two associations, until it loses them.
type wire struct {
	t    testing.TB
	mu   sync.Mutex
	lose func(pkt []byte) bool
	sent int
	on   chan func() // deliveries, in order
}

// newWire makes a wire that delivers on a goroutine of its own, as a network does.
func newWire(t testing.TB) *wire {
	w := &wire{t: t, on: make(chan func(), 1000)}
	go func() {
		for deliver := range w.on {
			deliver()
		}
	}()
	return w
}

func (w *wire) carry(to func([]byte), pkt []byte) {
	pkt = append([]byte(nil), pkt...)
	w.on <- func() { to(pkt) }
}

func (w *wire) lost(pkt []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent++
	return w.lose != nil && w.lose(pkt)
}

func suites() []keying.Suite {
	return []keying.Suite{keying.AEADAES256GCM, keying.AEADAES128GCM, keying.AESCM128HMACSHA180}
}

// pair makes a border and a phone, each of which knows the other's fingerprint; change is for what is different.
func pair(t testing.TB, border Role, change func(border, phone *Config)) (b, p *end, w *wire) {
	t.Helper()
	w = newWire(t)
	b, p = &end{id: identity(t), done: make(chan outcome, 2)}, &end{id: identity(t), done: make(chan outcome, 2)}
	slots := NewSlots(10)
	config := func(me, other *end, role Role, from netip.AddrPort, to **end) Config {
		return Config{
			Identity: me.id, Slots: slots, Suites: suites(), Role: role, Peer: []sdp.Fingerprint{other.id.Fingerprint()},
			Send: func(pkt []byte, _ netip.AddrPort) {
				if !w.lost(pkt) {
					w.carry(func(pkt []byte) { (*to).Packet(pkt, from, true) }, pkt)
				}
			},
			Done: func(k Keys, err error) { me.done <- outcome{k, err} },
		}
	}
	bc, pc := config(b, p, border, borderAt, &p), config(p, b, border^1, phoneAt, &b)
	if change != nil {
		change(&bc, &pc)
	}
	b.Association, p.Association = New(bc), New(pc)
	t.Cleanup(func() {
		for _, e := range []*end{b, p} {
			e.Close()
			e.Wait()
		}
		close(w.on)
	})
	return b, p, w
}

func (e *end) outcome(t testing.TB) outcome {
	t.Helper()
	select {
	case o := <-e.done:
		return o
	case <-time.After(patience):
		t.Fatalf("no outcome; the latest failure is %v", e.Failure())
		return outcome{}
	}
}

// agree wants that both have keys that fit each other.
func agree(t testing.TB, b, p *end) keying.Suite {
	t.Helper()
	x, y := b.outcome(t), p.outcome(t)
	if x.err != nil || y.err != nil {
		t.Fatalf("border %v, phone %v", x.err, y.err)
	}
	if !x.keys.Ours.Equal(y.keys.Theirs) || !x.keys.Theirs.Equal(y.keys.Ours) || x.keys.Ours.Equal(x.keys.Theirs) {
		t.Error("the keys do not fit")
	}
	if x.keys.Remote != phoneAt {
		t.Errorf("keys with %s", x.keys.Remote)
	}
	return x.keys.Ours.Suite
}

func TestHandshakeInBothRoles(t *testing.T) {
	for _, role := range []Role{Passive, Active} {
		for _, s := range suites() {
			b, p, _ := pair(t, role, func(_, phone *Config) { phone.Suites = []keying.Suite{s} })
			b.Connect(phoneAt)
			p.Connect(borderAt)
			if got := agree(t, b, p); got != s {
				t.Errorf("role %d: suite %s, want %s", role, got, s)
			}
		}
	}
}

// A phone that shows another certificate than its description promised is refused; from a source that is not proven that ends nothing.
func TestWrongFingerprint(t *testing.T) {
	b, p, _ := pair(t, Passive, func(border, _ *Config) { border.Peer = []sdp.Fingerprint{identity(t).Fingerprint()} })
	p.Connect(borderAt)
	if o := b.outcome(t); !errors.Is(o.err, ErrMismatch) || o.keys.Ours != nil {
		t.Errorf("%+v", o)
	}
	b, _, _ = pair(t, Active, func(border, _ *Config) { border.Peer = []sdp.Fingerprint{identity(t).Fingerprint()} })
	b.Connect(phoneAt)
	if o := b.outcome(t); !errors.Is(o.err, ErrMismatch) {
		t.Errorf("as the active side: %+v", o)
	}
}

// A stranger behind the phone's NAT with another certificate is refused, and the phone still gets its keys.
func TestStrangerBehindTheSameNAT(t *testing.T) {
	b, p, w := pair(t, Passive, nil)
	stranger := &end{id: identity(t), done: make(chan outcome, 2)}
	stranger.Association = New(Config{
		Identity: stranger.id, Slots: NewSlots(1), Suites: suites(), Role: Active, Peer: []sdp.Fingerprint{b.id.Fingerprint()},
		Send: func(pkt []byte, _ netip.AddrPort) { w.carry(func(pkt []byte) { b.Packet(pkt, elsewhere, false) }, pkt) },
		Done: func(k Keys, err error) { stranger.done <- outcome{k, err} },
	})
	b.cfg.Send = func(send func([]byte, netip.AddrPort)) func([]byte, netip.AddrPort) {
		return func(pkt []byte, to netip.AddrPort) {
			if to == elsewhere {
				w.carry(func(pkt []byte) { stranger.Packet(pkt, borderAt, true) }, pkt)
				return
			}
			send(pkt, to)
		}
	}(b.cfg.Send)
	stranger.Connect(borderAt)
	eventually(t, func() bool { return errors.Is(b.Failure(), ErrMismatch) })
	stranger.Close()
	p.Connect(borderAt)
	agree(t, b, p)
}

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

// What is no ClientHello begins nothing; nor does a ClientHello when we are the active side, or when there are too many handshakes.
func TestWhatBeginsNoHandshake(t *testing.T) {
	hello := clientHelloBytes(t)
	b, _, w := pair(t, Passive, nil)
	for name, pkt := range map[string][]byte{
		"empty": {}, "short": hello[:14], "another epoch": edit(hello, 4, 1), "a ServerHello": edit(hello, 13, 2), "an alert": edit(hello, 0, 21), "TLS": edit(hello, 1, 3),
	} {
		if b.Packet(pkt, phoneAt, true) {
			t.Errorf("%s was taken", name)
		}
	}
	if w.sent != 0 {
		t.Errorf("%d packets were sent", w.sent)
	}
	b, _, _ = pair(t, Active, nil)
	if b.Packet(hello, phoneAt, true) {
		t.Error("the active side takes a ClientHello")
	}
	b, _, _ = pair(t, Passive, func(border, _ *Config) { border.Slots = NewSlots(0) })
	if b.Packet(hello, phoneAt, true) {
		t.Error("a handshake begins without a slot")
	}
	b, _, _ = pair(t, Passive, nil)
	for i, want := range []bool{true, true, true, false} { // unproven ones leave room for a proven one
		if got := b.Packet(hello, netip.AddrPortFrom(phoneAt.Addr(), uint16(7000+i)), false); got != want {
			t.Errorf("handshake %d of a source that is not proven: %v", i, got)
		}
	}
	if !b.Packet(hello, phoneAt, true) || b.Packet(hello, elsewhere, true) {
		t.Error("the proven source has no place, or there is no bound")
	}
	b.Close()
	if b.Packet(hello, netip.MustParseAddrPort("192.0.2.9:1"), true) {
		t.Error("a closed association takes packets")
	}
}

func edit(b []byte, at int, v byte) []byte {
	c := append([]byte(nil), b...)
	c[at] = v
	return c
}

func clientHelloBytes(t testing.TB) []byte {
	t.Helper()
	hellos := make(chan []byte, 10)
	_, p, _ := pair(t, Passive, func(_, phone *Config) {
		phone.Send = func(pkt []byte, _ netip.AddrPort) { hellos <- append([]byte(nil), pkt...) }
	})
	p.Connect(borderAt)
	return <-hellos
}

// The phone missed our last flight: it repeats its own and gets ours again, though our side is done. Nothing else is sent by then.
func TestLastFlightIsRepeated(t *testing.T) {
	b, p, w := pair(t, Passive, nil)
	lost := 0
	w.lose = func(pkt []byte) bool { // the first ChangeCipherSpec of the border, with its Finished
		if pkt[0] == 20 && lost == 0 {
			lost++
			return true
		}
		return false
	}
	p.Connect(borderAt)
	agree(t, b, p)
	if lost != 1 {
		t.Errorf("%d flights were lost", lost)
	}
	b.mu.Lock()
	again := b.again
	b.mu.Unlock()
	if again == 0 {
		t.Error("the last flight was not asked for again")
	}
}

// After the keys neither alert nor new ClientHello changes anything.
func TestSettledIsSettled(t *testing.T) {
	b, p, w := pair(t, Passive, nil)
	p.Connect(borderAt)
	agree(t, b, p)
	w.mu.Lock()
	before := w.sent
	w.mu.Unlock()
	b.Packet([]byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}, phoneAt, true)
	if b.Packet(clientHelloBytes(t), elsewhere, true) {
		t.Error("another handshake begins")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent != before {
		t.Errorf("%d packets were sent after the end", w.sent-before)
	}
	if len(b.done) != 0 {
		t.Error("told twice")
	}
}

func TestUsable(t *testing.T) {
	f := func(hash string, n int) sdp.Fingerprint { return sdp.Fingerprint{Hash: hash, Digest: make([]byte, n)} }
	for name, c := range map[string]struct {
		in   []sdp.Fingerprint
		want string
	}{
		"sha-256":             {[]sdp.Fingerprint{f("sha-256", 32)}, "sha-256"},
		"the best":            {[]sdp.Fingerprint{f("sha-256", 32), f("sha-512", 64), f("sha-384", 48)}, "sha-512"},
		"weak ones":           {[]sdp.Fingerprint{f("sha-1", 20), f("md5", 16), f("sha-224", 28)}, ""},
		"a weak one and good": {[]sdp.Fingerprint{f("sha-1", 20), f("sha-384", 48)}, "sha-384"},
		"cut off":             {[]sdp.Fingerprint{f("sha-256", 31), f("sha-512", 32)}, ""},
		"none":                {nil, ""},
	} {
		got, err := Usable(c.in)
		switch {
		case c.want == "" && !errors.Is(err, ErrNoHash):
			t.Errorf("%s: %v %v", name, got, err)
		case c.want != "" && (err != nil || len(got) != 1 || got[0].Hash != c.want):
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	der := []byte("certificate")
	for _, h := range hashes {
		right, wrong := sdp.Fingerprint{Hash: h.name, Digest: h.sum(der)}, sdp.Fingerprint{Hash: h.name, Digest: h.sum(nil)}
		if match([]sdp.Fingerprint{wrong, right}, der) != nil {
			t.Errorf("%s: one of two does not match", h.name)
		}
		if !errors.Is(match([]sdp.Fingerprint{wrong}, der), ErrMismatch) {
			t.Errorf("%s: another certificate matches", h.name)
		}
	}
	if !errors.Is(match(nil, der), ErrMismatch) {
		t.Error("no fingerprint matches")
	}
}

// The certificate says nothing about who we are, and is another one each time.
func TestIdentityIsAnonymous(t *testing.T) {
	a, b := identity(t), identity(t)
	if Same([]sdp.Fingerprint{a.Fingerprint()}, []sdp.Fingerprint{b.Fingerprint()}) {
		t.Error("two starts have one certificate")
	}
	if s := string(a.certificate.Certificate[0]); strings.Contains(strings.ToLower(s), "brick") {
		t.Error("the certificate names the product")
	}
}

func FuzzPacket(f *testing.F) {
	id, err := NewIdentity(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Add(clientHelloBytes(f))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		a := New(Config{
			Identity: id, Slots: NewSlots(2), Suites: suites(), Peer: []sdp.Fingerprint{id.Fingerprint()},
			Send: func(out []byte, _ netip.AddrPort) {
				if len(out) > 4*len(pkt) {
					t.Errorf("%d bytes for %d", len(out), len(pkt))
				}
			},
			Done: func(k Keys, err error) { t.Errorf("one packet settles it: %v", err) },
		})
		if LooksLike(pkt) {
			a.Packet(pkt, phoneAt, true)
		}
		a.Close()
		a.Wait()
	})
}
