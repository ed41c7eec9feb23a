package keying

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"github.com/pion/srtp/v3"
)

// packet makes an RTP packet with room for a tag.
func packet(ssrc uint32, seq uint16, payload []byte) []byte {
	b := make([]byte, 12, 12+len(payload)+MaxOverhead)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return append(b, payload...)
}

// report makes an RTCP receiver report without blocks, with room for a tag.
func report(ssrc uint32) []byte {
	b := make([]byte, 8, 8+MaxOverhead)
	b[0], b[1], b[3] = 0x80, 201, 1
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}

func pair(t testing.TB, s Suite, mki []byte) (*Sender, *Receiver, *Key) {
	t.Helper()
	k, err := NewKey(s, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.mki = mki
	tx, err := NewSender(k)
	if err != nil {
		t.Fatal(err)
	}
	rx, err := NewReceiver(k)
	if err != nil {
		t.Fatal(err)
	}
	return tx, rx, k
}

func suites() []Suite { return []Suite{AESCM128HMACSHA180, AEADAES128GCM, AEADAES256GCM} }

func TestRoundTrip(t *testing.T) {
	payload := bytes.Repeat([]byte{0xd5}, 160)
	for _, s := range suites() {
		tx, rx, _ := pair(t, s, nil)
		for seq := range uint16(300) {
			sealed, err := tx.SealRTP(packet(1, seq, payload))
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(sealed, payload[:16]) {
				t.Fatalf("%v: plain payload in the packet", s)
			}
			plain, err := rx.OpenRTP(sealed)
			if err != nil || !bytes.Equal(plain[12:], payload) {
				t.Fatalf("%v: %v", s, err)
			}
			rtcp, err := tx.SealRTCP(report(1))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := rx.OpenRTCP(rtcp); err != nil || !bytes.Equal(got, report(1)) {
				t.Fatalf("%v: RTCP: %v %x", s, err, got)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, s := range suites() {
		tx, rx, _ := pair(t, s, nil)
		other, _, _ := pair(t, s, nil)
		sealed, _ := tx.SealRTP(packet(1, 1, []byte("hello")))
		copied := bytes.Clone(sealed)
		if _, err := rx.OpenRTP(bytes.Clone(sealed)); err != nil {
			t.Fatal(err)
		}
		if _, err := rx.OpenRTP(copied); !errors.Is(err, ErrReplay) {
			t.Errorf("%v: replay: %v", s, err)
		}
		foreign, _ := other.SealRTP(packet(1, 2, []byte("hello")))
		if _, err := rx.OpenRTP(foreign); !errors.Is(err, ErrAuth) {
			t.Errorf("%v: foreign key: %v", s, err)
		}
		for i := range len(sealed) {
			bad, _ := tx.SealRTP(packet(1, uint16(100+i), []byte("hello")))
			if i == 0 || i >= 4 { // byte 2 and 3 move the number, which the tag covers all the same, but may look like a replay
				bad[i] ^= 0x01
				if _, err := rx.OpenRTP(bad); err == nil {
					t.Errorf("%v: flipped byte %d passes", s, i)
				}
			}
		}
		if _, err := rx.OpenRTP(packet(1, 9, nil)); err == nil {
			t.Errorf("%v: a plain packet passes", s)
		}
		rtcp, _ := tx.SealRTCP(report(1))
		again := bytes.Clone(rtcp)
		if _, err := rx.OpenRTCP(rtcp); err != nil {
			t.Fatal(err)
		}
		if _, err := rx.OpenRTCP(again); !errors.Is(err, ErrReplay) {
			t.Errorf("%v: RTCP replay: %v", s, err)
		}
		for n := range 28 {
			if _, err := rx.OpenRTCP(report(1)[:8:8][:min(n, 8)]); err == nil {
				t.Errorf("%v: %d bytes of RTCP pass", s, n)
			}
		}
	}
}

// An SRTCP packet may be authentic and not encrypted. We take none.
func TestUnencryptedRTCPIsRefused(t *testing.T) {
	for _, s := range suites() {
		_, rx, k := pair(t, s, nil)
		ctx, err := srtp.CreateContext(k.master, k.salt, s.profile(), srtp.SRTCPNoEncryption())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := ctx.EncryptRTCP(nil, report(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rx.OpenRTCP(plain); !errors.Is(err, ErrPlain) {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestMKI(t *testing.T) {
	for _, s := range suites() {
		_, rx, k := pair(t, s, []byte{0, 0, 0, 7})
		ctx, err := srtp.CreateContext(k.master, k.salt, s.profile(), srtp.MasterKeyIndicator(k.mki))
		if err != nil {
			t.Fatal(err)
		}
		sealed, _ := ctx.EncryptRTP(nil, packet(1, 1, []byte("hello")), nil)
		if got, err := rx.OpenRTP(sealed); err != nil || string(got[12:]) != "hello" {
			t.Errorf("%v: %v", s, err)
		}
		rtcp, _ := ctx.EncryptRTCP(nil, report(1), nil)
		if _, err := rx.OpenRTCP(rtcp); err != nil {
			t.Errorf("%v: RTCP: %v", s, err)
		}
	}
}

// TestIndexNeverRepeats sends what a bad network, a restarting phone and a forger would make us send, and reads it with an
// independent context that refuses replays: each packet sent is a new one, and all of them open.
func TestIndexNeverRepeats(t *testing.T) {
	random := mrand.New(mrand.NewPCG(1, 2))
	for _, s := range suites() {
		tx, _, k := pair(t, s, nil)
		ctx, err := srtp.CreateContext(k.master, k.salt, s.profile(), srtp.SRTPReplayProtection(1024))
		if err != nil {
			t.Fatal(err)
		}
		seq, sent, refused := uint16(65000), 0, 0
		for i := range 30000 {
			this := seq
			switch random.IntN(40) {
			case 0: // doubled or late
				this -= uint16(random.IntN(100))
			case 1: // lost
				seq += uint16(random.IntN(200))
			case 2:
				if i%500 < 12 { // starts anew, anywhere
					seq = uint16(random.Uint32())
				}
			default:
				seq++
			}
			sealed, err := tx.SealRTP(packet(5, this, []byte("hello")))
			if errors.Is(err, ErrRepeated) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			sent++
			if _, err := ctx.DecryptRTP(nil, sealed, nil); err != nil {
				t.Fatalf("%v: packet %d, number %d sent as %d: %v", s, i, this, binary.BigEndian.Uint16(sealed[2:]), err)
			}
		}
		if sent < 25000 || refused < 100 {
			t.Errorf("%v: %d sent, %d refused: the test does not test", s, sent, refused)
		}
	}
}

func TestRestartIsHeardAgain(t *testing.T) {
	tx, rx, _ := pair(t, AEADAES256GCM, nil)
	for seq := range uint16(1000) {
		open(t, tx, rx, 1, seq+1000)
	}
	lost := 0
	for seq := range uint16(100) { // same SSRC, counted from 950 again: 50 numbers overlap the window
		sealed, err := tx.SealRTP(packet(1, seq+1950, nil))
		if err != nil {
			lost++
			continue
		}
		if _, err := rx.OpenRTP(sealed); err != nil {
			t.Fatal(err)
		}
	}
	if lost != restartAfter-1 {
		t.Errorf("%d packets were lost at the restart, want %d", lost, restartAfter-1)
	}
}

func TestForgedNumberDoesNotSilence(t *testing.T) {
	tx, rx, _ := pair(t, AESCM128HMACSHA180, nil)
	for seq := range uint16(100) {
		open(t, tx, rx, 1, seq)
	}
	open(t, tx, rx, 1, 30000) // one forged packet far ahead
	heard := 0
	for seq := range uint16(100) {
		if sealed, err := tx.SealRTP(packet(1, 100+seq, nil)); err == nil {
			if _, err := rx.OpenRTP(sealed); err != nil {
				t.Fatal(err)
			}
			heard++
		}
	}
	if heard < 97 {
		t.Errorf("%d of 100 packets were heard after it", heard)
	}
}

func open(t *testing.T, tx *Sender, rx *Receiver, ssrc uint32, seq uint16) {
	t.Helper()
	sealed, err := tx.SealRTP(packet(ssrc, seq, nil))
	if err != nil {
		t.Fatalf("number %d: %v", seq, err)
	}
	if _, err := rx.OpenRTP(sealed); err != nil {
		t.Fatalf("number %d: %v", seq, err)
	}
}

// A receiver that misses the first packets must not lose the call if the source starts near the end of its range.
func TestStartNearRollover(t *testing.T) {
	tx, rx, _ := pair(t, AESCM128HMACSHA180, nil)
	for i := range 200 {
		sealed, err := tx.SealRTP(packet(1, uint16(65500+i), nil))
		if err != nil {
			t.Fatal(err)
		}
		if i < 100 {
			continue // lost on the way
		}
		if _, err := rx.OpenRTP(sealed); err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
}

func TestInheritKeepsNumbers(t *testing.T) {
	first, _, _ := pair(t, AEADAES256GCM, nil)
	var last uint16
	for i := range 10 {
		sealed, _ := first.SealRTP(packet(1, uint16(40000+i), nil))
		last = binary.BigEndian.Uint16(sealed[2:])
	}
	second, rx, _ := pair(t, AEADAES256GCM, nil)
	second.Inherit(nil)
	second.Inherit(first)
	sealed, err := second.SealRTP(packet(1, 40010, nil))
	if err != nil || binary.BigEndian.Uint16(sealed[2:]) != last+1 {
		t.Fatalf("%v: %d follows %d", err, binary.BigEndian.Uint16(sealed[2:]), last)
	}
	if _, err := rx.OpenRTP(sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := second.SealRTP(packet(1, 40009, nil)); !errors.Is(err, ErrRepeated) {
		t.Errorf("a packet from before the key: %v", err)
	}
	second.Inherit(first) // and back and forth, as when two phones answer in turn: nothing is numbered twice
	if _, err := second.SealRTP(packet(1, 40010, nil)); !errors.Is(err, ErrRepeated) {
		t.Errorf("a number was used twice: %v", err)
	}
	near, _, _ := pair(t, AEADAES256GCM, nil)
	near.sources[1] = &sequence{offset: 0}
	if sealed, _ := near.SealRTP(packet(1, 65535, nil)); binary.BigEndian.Uint16(sealed[2:]) != 0 {
		t.Error("a new key starts near the rollover")
	}
}

func TestSourcesAreBounded(t *testing.T) {
	tx, _, _ := pair(t, AEADAES256GCM, nil)
	for ssrc := range uint32(maxSources) {
		if _, err := tx.SealRTP(packet(ssrc, 1, nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.SealRTCP(report(ssrc)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.SealRTP(packet(maxSources, 1, nil)); !errors.Is(err, ErrSources) {
		t.Errorf("%v", err)
	}
	if _, err := tx.SealRTCP(report(maxSources)); !errors.Is(err, ErrSources) {
		t.Errorf("%v", err)
	}
	if _, err := tx.SealRTP(packet(1, 2, nil)); err != nil {
		t.Errorf("a known source: %v", err)
	}
	if _, err := tx.SealRTP(nil); err == nil {
		t.Error("no header")
	}
	if _, err := tx.SealRTCP(nil); err == nil {
		t.Error("no header")
	}
}

func TestNoAllocations(t *testing.T) {
	for _, s := range suites() {
		tx, rx, _ := pair(t, s, nil)
		buf := packet(1, 0, make([]byte, 160))
		seq := uint16(0)
		step := func() {
			seq++
			buf[0], buf[1] = 0x80, 0
			binary.BigEndian.PutUint16(buf[2:], seq)
			sealed, err := tx.SealRTP(buf[:172])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rx.OpenRTP(sealed); err != nil {
				t.Fatal(err)
			}
		}
		step()
		if n := testing.AllocsPerRun(1000, step); n > allocsAllowed {
			t.Errorf("%v: %v allocations a packet", s, n)
		}
	}
}
