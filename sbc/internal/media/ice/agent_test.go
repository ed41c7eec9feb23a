package ice

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

var (
	ours    = Credentials{"border00", "the-password-of-the-border"}
	phoneAt = netip.MustParseAddrPort("192.0.2.1:4000")
	other   = netip.MustParseAddrPort("192.0.2.1:4001")
	start   = time.Unix(1000, 0)
)

func agent() *Agent {
	a := NewAgent(ours)
	a.Restart(ours, "phone")
	return a
}

// attribute is a Setter of raw bytes.
type attribute struct {
	t stun.AttrType
	v []byte
}

func (a attribute) AddTo(m *stun.Message) error { m.Add(a.t, a.v); return nil }

func priority(n uint32) attribute {
	return attribute{stun.AttrPriority, binary.BigEndian.AppendUint32(nil, n)}
}

var (
	controlling = attribute{stun.AttrICEControlling, make([]byte, 8)}
	controlled  = attribute{stun.AttrICEControlled, make([]byte, 8)}
	nominates   = attribute{stun.AttrUseCandidate, nil}
)

// check is a binding request of a phone with a password.
func check(t testing.TB, username, pwd string, more ...stun.Setter) []byte {
	t.Helper()
	set := append([]stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(username)}, more...)
	m, err := stun.Build(append(set, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func good(t testing.TB, more ...stun.Setter) []byte {
	return check(t, "border00:phone", ours.Pwd, append([]stun.Setter{priority(100), controlling}, more...)...)
}

func TestCheckIsAnswered(t *testing.T) {
	for _, src := range []netip.AddrPort{phoneAt, netip.MustParseAddrPort("[2001:db8::1]:9")} {
		a, pkt := agent(), good(t, nominates)
		c, ok := a.Take(pkt, src, start)
		if !ok || !c.Nominated || !a.Valid(src) || a.Valid(other) || a.Heard() != start {
			t.Fatalf("%+v %v", c, ok)
		}
		if len(c.Reply) == 0 || len(c.Reply) > len(pkt) {
			t.Errorf("%d bytes for %d", len(c.Reply), len(pkt))
		}
		m := &stun.Message{Raw: append([]byte(nil), c.Reply...)}
		var at stun.XORMappedAddress
		if m.Decode() != nil || m.Type != stun.BindingSuccess || at.GetFrom(m) != nil || !bytes.Equal(m.TransactionID[:], pkt[8:20]) {
			t.Fatalf("%v", m)
		}
		if at.Port != int(src.Port()) || !at.IP.Equal(src.Addr().AsSlice()) {
			t.Errorf("mapped to %v", at)
		}
		if stun.NewShortTermIntegrity(ours.Pwd).Check(m) != nil || stun.Fingerprint.Check(m) != nil {
			t.Error("the answer proves nothing")
		}
	}
}

// What is not authentic in each part gets no answer and teaches nothing.
func TestForgeries(t *testing.T) {
	pkt := good(t, nominates)
	flipped := func(at int) []byte {
		b := append([]byte(nil), pkt...)
		b[at] ^= 1
		return refingerprint(b)
	}
	build := func(set ...stun.Setter) []byte {
		m, err := stun.Build(append([]stun.Setter{stun.TransactionID}, set...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	name, key := stun.NewUsername("border00:phone"), stun.NewShortTermIntegrity(ours.Pwd)
	for what, b := range map[string][]byte{
		"another password":         check(t, "border00:phone", "the-password-of-nobody", priority(1), nominates),
		"another name of ours":     check(t, "border01:phone", ours.Pwd, nominates),
		"another name of theirs":   check(t, "border00:thief", ours.Pwd, nominates),
		"names the other way":      check(t, "phone:border00", ours.Pwd, nominates),
		"no name":                  build(stun.BindingRequest, key, stun.Fingerprint),
		"no integrity":             build(stun.BindingRequest, name, stun.Fingerprint),
		"no fingerprint":           build(stun.BindingRequest, name, key),
		"an answer":                build(stun.BindingSuccess, name, key, stun.Fingerprint),
		"an indication":            build(stun.NewType(stun.MethodBinding, stun.ClassIndication), name, key, stun.Fingerprint),
		"of TURN":                  build(stun.NewType(stun.MethodAllocate, stun.ClassRequest), name, key, stun.Fingerprint),
		"a bit of the name":        flipped(24),
		"a bit of the priority":    flipped(43),
		"a bit of the tag":         flipped(len(pkt) - 10),
		"another transaction":      flipped(10),
		"something behind it":      append(append([]byte(nil), pkt...), 0),
		"nominated behind the tag": behindIntegrity(t),
		"cut off":                  pkt[:len(pkt)-4],
		"empty":                    nil,
	} {
		a := agent()
		if c, ok := a.Take(b, phoneAt, start); ok || c.Reply != nil || c.Nominated || a.Valid(phoneAt) || !a.Heard().IsZero() {
			t.Errorf("%s: %v %+v", what, ok, c)
		}
	}
	for n := range pkt {
		if _, ok := agent().Take(pkt[:n], phoneAt, start); ok {
			t.Errorf("%d of %d bytes are taken", n, len(pkt))
		}
	}
}

// refingerprint makes FINGERPRINT right again, as anybody can.
func refingerprint(b []byte) []byte {
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-8])^0x5354554e)
	return b
}

// behindIntegrity is an honest check into which somebody has put USE-CANDIDATE where the tag does not cover it.
func behindIntegrity(t testing.TB) []byte {
	b := good(t)
	b = b[:len(b)-8]
	b = append(b, 0, 0x25, 0, 0, 0x80, 0x28, 0, 4, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return refingerprint(b)
}

// A phone that takes our role is told so, and learns nothing more by it.
func TestRoleConflict(t *testing.T) {
	a, pkt := agent(), check(t, "border00:phone", ours.Pwd, priority(100), controlled, nominates)
	c, ok := a.Take(pkt, phoneAt, start)
	m := &stun.Message{Raw: c.Reply}
	var code stun.ErrorCodeAttribute
	if !ok || m.Decode() != nil || m.Type != stun.BindingError || code.GetFrom(m) != nil || code.Code != stun.CodeRoleConflict {
		t.Fatalf("%v %v", ok, m)
	}
	if c.Nominated || a.Valid(phoneAt) || len(c.Reply) > len(pkt) {
		t.Errorf("%+v", c)
	}
}

// Of several nominated paths the one of the highest priority counts, unless the phone has left it.
func TestNomination(t *testing.T) {
	a := agent()
	step := func(src netip.AddrPort, prio uint32, after time.Duration, nominate bool) bool {
		more := []stun.Setter{priority(prio), controlling}
		if nominate {
			more = append(more, nominates)
		}
		c, ok := a.Take(check(t, "border00:phone", ours.Pwd, more...), src, start.Add(after))
		if !ok {
			t.Fatal("not taken")
		}
		return c.Nominated
	}
	for i, want := range []bool{
		step(phoneAt, 10, 0, false) == false,
		step(phoneAt, 10, time.Second, true) == true,
		step(other, 5, 2*time.Second, true) == false,
		step(other, 20, 3*time.Second, true) == true,
		step(phoneAt, 10, 4*time.Second, true) == false,
		step(phoneAt, 10, 3*time.Second+stale, true) == true, // other was left
	} {
		if !want {
			t.Errorf("step %d", i)
		}
	}
	a.Restart(Credentials{"border01", ours.Pwd}, "phone2")
	if _, ok := a.Take(good(t), phoneAt, start); ok {
		t.Error("the old names still hold")
	}
	if c, ok := a.Take(check(t, "border01:phone2", ours.Pwd, priority(1), nominates), other, start); !ok || !c.Nominated {
		t.Error("after a restart the new path does not win")
	}
}

// A phone's paths are bounded, and those it has left make room.
func TestManyPaths(t *testing.T) {
	a, pkt := agent(), good(t)
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(phoneAt.Addr(), uint16(1000+i)) }
	for i := range 2 * maxPairs {
		if _, ok := a.Take(pkt, at(i), start); ok != (i < maxPairs) {
			t.Errorf("path %d: %v", i, ok)
		}
	}
	if _, ok := a.Take(pkt, at(99), start.Add(2*stale)); !ok || len(a.pairs) != maxPairs {
		t.Errorf("%d paths, a new one %v", len(a.pairs), ok)
	}
}

func TestBeforeTheirNameIsKnown(t *testing.T) {
	a := NewAgent(ours)
	if _, ok := a.Take(good(t), phoneAt, start); !ok {
		t.Error("refused")
	}
	if _, ok := a.Take(check(t, "border00", ours.Pwd), phoneAt, start); ok {
		t.Error("a name without a colon")
	}
}

func TestCredentials(t *testing.T) {
	a, err := NewCredentials(rand.Reader)
	if err != nil || len(a.Ufrag) != 8 || len(a.Pwd) != 24 {
		t.Fatalf("%+v %v", a, err)
	}
	if b, _ := NewCredentials(rand.Reader); a == b {
		t.Error("twice the same")
	}
	if _, err := NewCredentials(bytes.NewReader(nil)); err == nil {
		t.Error("out of nothing")
	}
}

func FuzzTake(f *testing.F) {
	f.Add(good(f, nominates))
	f.Add(check(f, "border00:phone", ours.Pwd, controlled))
	f.Add(behindIntegrity(f))
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		a := NewAgent(Credentials{"border00", "a password that the fuzzer has not"})
		before := append([]byte(nil), b...)
		if c, ok := a.Take(b, phoneAt, start); ok || c.Reply != nil || c.Nominated || a.Valid(phoneAt) {
			t.Errorf("taken: %x", b)
		}
		if c, ok := agent().Take(b, phoneAt, start); ok && len(c.Reply) > len(b) {
			t.Errorf("%d bytes for %d", len(c.Reply), len(b))
		}
		if !bytes.Equal(before, b) {
			t.Error("the packet was changed")
		}
	})
}
