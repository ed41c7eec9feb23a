package pcap

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"brickhouse/shared/tone"
)

func rtp(pt byte, seq uint16, payload []byte) []byte {
	b := []byte{0x80, pt}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(seq)*160)
	b = binary.BigEndian.AppendUint32(b, 0xcafe)
	return append(b, payload...)
}

// sound is 20 ms of a tone at -12 dBm0.
func sound(law tone.Law, hz float64) []byte {
	pcm := make([]int16, 160)
	tone.NewSine(hz, -12).Read(pcm)
	return law.Encode(nil, pcm)
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestParseRTP(t *testing.T) {
	ext := rtp(8, 7, nil)
	ext[0] |= 0x11 // one contributing source, one extension
	ext = join(ext, pad(4), be16(0xbede), be16(1), pad(4), []byte("pay"))
	if r, ok := ParseRTP(ext); !ok || string(r.Payload) != "pay" || r.PayloadType != 8 || r.Seq != 7 || r.SSRC != 0xcafe {
		t.Errorf("%+v %v", r, ok)
	}
	for name, b := range map[string][]byte{
		"short": {0x80, 0}, "sip": []byte("INVITE sip:a@b SIP/2.0"), "rtcp": join([]byte{0x80, 200}, pad(26)),
		"extension past the end": ext[:20], "sources past the end": join([]byte{0x8f}, pad(20)),
	} {
		if _, ok := ParseRTP(b); ok {
			t.Errorf("%s taken for RTP", name)
		}
	}
}

func TestInClear(t *testing.T) {
	for _, law := range []tone.Law{tone.MuLaw, tone.ALaw} {
		for _, hz := range []float64{200, 440, 700, 1000, 1004, 2000, 3100} {
			if _, clear := InClear(rtp(0, 1, sound(law, hz))); !clear {
				t.Errorf("%v at %v Hz not noticed", law, hz)
			}
		}
		silence := make([]byte, 160)
		for i := range silence {
			silence[i] = law.Silence()
		}
		if why, clear := InClear(rtp(0, 1, silence)); !clear || !strings.Contains(why, "silence") {
			t.Errorf("%v silence: %q %v", law, why, clear)
		}
	}
	// One code alone says nothing.
	if _, clear := InClear(rtp(0, 1, []byte{0xff})); clear {
		t.Error("a single byte was taken for sound")
	}
}

func TestEncryptedIsNotClear(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		if why, clear := InClear(rtp(0, 1, noise(r, 160+10))); clear {
			t.Fatalf("packet %d of noise was taken for %s", i, why)
		}
	}
}

func TestRTCPInClear(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	sr := join([]byte{0x80, 200}, be16(6), pad(24))
	sdes := join([]byte{0x81, 202}, be16(3), pad(12))
	srtcp := func() []byte { return join(sr[:8], noise(r, 20+16+4+10)) }
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"sender report":  {sr, true},
		"compound":       {join(sr, sdes), true},
		"odd length":     {join(sr, []byte{1}), false},
		"length too big": {sr[:20], false},
		"empty":          {nil, false},
		"sip":            {[]byte("OPTIONS "), false},
		"encrypted":      {srtcp(), false},
	} {
		if got := RTCPInClear(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFlows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	a, b := netip.MustParseAddrPort("198.18.0.1:20000"), netip.MustParseAddrPort("198.18.0.2:30000")
	var packets []Packet
	for i := range uint16(10) {
		packets = append(packets,
			Packet{Proto: UDP, Src: a, Dst: b, Payload: rtp(0, i, sound(tone.MuLaw, 440))},
			Packet{Proto: UDP, Src: b, Dst: a, Payload: rtp(0, i, noise(r, 170))})
	}
	packets = append(packets,
		Packet{Proto: UDP, Src: b, Dst: a, Payload: []byte("OPTIONS sip:x SIP/2.0\r\n")},
		Packet{Proto: UDP, Src: b, Dst: netip.MustParseAddrPort("198.18.0.2:53"), Payload: rtp(0, 1, sound(tone.MuLaw, 440))},
		Packet{Proto: TCP, Src: b, Dst: a, Payload: rtp(0, 1, sound(tone.MuLaw, 440))},
		Packet{Proto: UDP, Src: a, Dst: netip.MustParseAddrPort("198.18.0.2:30002"), Payload: rtp(0, 1, sound(tone.MuLaw, 440))})
	flows := Flows(packets)
	if len(flows) != 2 {
		t.Fatalf("%+v", flows)
	}
	if f := flows[0]; f.Src != a || f.Packets != 10 || f.Clear != 10 || f.Types[0] != 10 || !strings.Contains(f.Why, "PCMU") {
		t.Errorf("plain flow: %+v", f)
	}
	if f := flows[1]; f.Src != b || f.Packets != 10 || f.Clear != 0 || f.Why != "" {
		t.Errorf("encrypted flow: %+v", f)
	}
}

func TestStreams(t *testing.T) {
	seg := func(src, dst int, seq uint32, flags byte, payload string) Packet {
		return Decode(frame(RawIP, ipv4(6, 0, tcp(src, dst, seq, flags, payload))))
	}
	near := ^uint32(0) - 2 // the numbers wrap around within the stream
	cases := []struct {
		name    string
		packets []Packet
		want    []string
		gap     bool
	}{
		{"in order", []Packet{seg(1, 2, 9, SYN, ""), seg(1, 2, 10, ACK, "INV"), seg(1, 2, 13, ACK, "ITE")}, []string{"INVITE"}, false},
		{"overtaken", []Packet{seg(1, 2, 9, SYN, ""), seg(1, 2, 13, ACK, "ITE"), seg(1, 2, 10, ACK, "INV")}, []string{"INVITE"}, false},
		{"sent again", []Packet{seg(1, 2, 9, SYN, ""), seg(1, 2, 10, ACK, "INV"), seg(1, 2, 10, ACK, "INVITE")}, []string{"INVITE"}, false},
		{"wraps", []Packet{seg(1, 2, near, SYN, ""), seg(1, 2, near+1, ACK, "INV"), seg(1, 2, near+4, ACK, "ITE")}, []string{"INVITE"}, false},
		{"two directions", []Packet{seg(1, 2, 9, ACK, "ask"), seg(2, 1, 70, ACK, "told")}, []string{"ask", "told"}, false},
		{"ports again", []Packet{seg(1, 2, 9, SYN, ""), seg(1, 2, 10, ACK, "old"), seg(1, 2, 500, SYN, ""), seg(1, 2, 501, ACK, "new")}, []string{"old", "new"}, false},
		{"lost", []Packet{seg(1, 2, 9, SYN, ""), seg(1, 2, 10, ACK, "INV"), seg(1, 2, 14, ACK, "TE")}, []string{"INVTE"}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Streams(c.packets)
			if len(got) != len(c.want) {
				t.Fatalf("%+v", got)
			}
			for i, s := range got {
				if string(s.Data) != c.want[i] || s.Gap != c.gap {
					t.Errorf("%q, gap %v; want %q, %v", s.Data, s.Gap, c.want[i], c.gap)
				}
			}
		})
	}
}
