package relay

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"brickhouse/sbc/internal/media/keying"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadRTP(t *testing.T) {
	head := "0000 0000 0000 0000 0001"
	for _, c := range []struct {
		name, in string
		ok       bool
		length   int
	}{
		{"plain", "8000" + head, true, 12},
		{"short", "8000" + head[:20], false, 0},
		{"version 1", "4000" + head, false, 0},
		{"csrc", "8100" + head + "00000002", true, 16},
		{"csrc cut", "8200" + head + "00000002", false, 0},
		{"extension", "9000" + head + "bede0001 00000000", true, 20},
		{"extension cut", "9000" + head + "bede0002 00000000", false, 0},
		{"extension header cut", "9000" + head + "bede", false, 0},
	} {
		h, ok := readRTP(unhex(t, c.in))
		if ok != c.ok || ok && h.length != c.length {
			t.Errorf("%s: %+v %v", c.name, h, ok)
		}
	}
}

func TestPadding(t *testing.T) {
	head := "a000 0000 0000 0000 0000 0001"
	for in, want := range map[string]bool{"01": true, "aa0002": true, "00": false, "aa04": false, "": false} {
		b := unhex(t, head+in)
		h, ok := readRTP(b)
		if !ok || h.validPadding(b) != want {
			t.Errorf("%q: %v", in, !want)
		}
	}
}

func TestRebuildRTCP(t *testing.T) {
	report, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: 5, RTPTime: 7, PacketCount: 9, Reports: []rtcp.ReceptionReport{{SSRC: 6, Jitter: 3}}, ProfileExtensions: []byte("secret! ")},
		&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{Source: 5, Items: []rtcp.SourceDescriptionItem{
			{Type: rtcp.SDESCNAME, Text: "bob@10.1.1.1"}, {Type: rtcp.SDESTool, Text: "baresip"}}}, {Source: 6}}},
		&rtcp.ApplicationDefined{SSRC: 5, Name: "LEAK", Data: []byte("10.1.1.1")},
		&rtcp.Goodbye{Sources: []uint32{5}, Reason: "gone to 10.1.1.1"},
		&rtcp.PictureLossIndication{SenderSSRC: 5, MediaSSRC: 6},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, ok := rebuildRTCP(make([]byte, 0, maxPacket), report, []byte("cname"))
	if !ok {
		t.Fatal("refused")
	}
	got, err := rtcp.Unmarshal(out)
	if err != nil {
		t.Fatalf("%v in %x", err, out)
	}
	for _, leak := range []string{"10.1.1.1", "bob", "baresip", "LEAK", "secret", "gone"} {
		if bytes.Contains(out, []byte(leak)) {
			t.Errorf("%q passed", leak)
		}
	}
	if len(got) != 4 {
		t.Fatalf("%d packets: %v", len(got), got)
	}
	sr := got[0].(*rtcp.SenderReport)
	if sr.SSRC != 5 || sr.PacketCount != 9 || sr.Reports[0].Jitter != 3 {
		t.Errorf("%+v", sr)
	}
	sdes := got[1].(*rtcp.SourceDescription)
	if len(sdes.Chunks) != 2 || sdes.Chunks[0].Source != 5 || sdes.Chunks[0].Items[0].Text != "cname" || sdes.Chunks[1].Source != 6 {
		t.Errorf("%+v", sdes)
	}
	if bye := got[2].(*rtcp.Goodbye); bye.Sources[0] != 5 || bye.Reason != "" {
		t.Errorf("%+v", bye)
	}
}

func TestMalformedRTCP(t *testing.T) {
	for name, in := range map[string]string{
		"three bytes":        "80c900",
		"length too large":   "80c90002 00000001",
		"version":            "40c90001 00000001",
		"count too large":    "81c90001 00000001",
		"SR too short":       "80c80001 00000001",
		"BYE too short":      "82cb0001 00000001",
		"SDES without chunk": "81ca0000",
		"SDES chunk cut":     "81ca0001 00000001",
		"SDES item cut":      "81ca0002 00000001 01ff0000",
		"SDES without end":   "81ca0002 00000001 01020000",
		"feedback too short": "81cd0001 00000001",
		"feedback padded":    "a1cd0002 00000001 00000002",
		"rest":               "80c90001 00000001 80",
	} {
		if out, ok := rebuildRTCP(make([]byte, 0, maxPacket), unhex(t, in), []byte("c")); ok {
			t.Errorf("%s: %x", name, out)
		}
	}
	if _, ok := rebuildRTCP(make([]byte, 0, 8), unhex(t, "80c90001 00000001 80c90001 00000001"), nil); ok {
		t.Error("more than the buffer holds")
	}
	if _, ok := rebuildRTCP(make([]byte, 0, 8), unhex(t, "81ca0002 00000001 00000000"), []byte("cname")); ok {
		t.Error("more than the buffer holds")
	}
}

// FuzzReadRTP: whatever we take, pion's reader takes, too, and finds the same length.
func FuzzReadRTP(f *testing.F) {
	f.Add(unhex(f, "8000 0001 00000002 00000003 ff"))
	f.Add(unhex(f, "9100 0001 00000002 00000003 00000004 12340001 00000000 ff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := readRTP(b)
		if !ok {
			return
		}
		h.validPadding(b)
		var p rtp.Header
		n, err := p.Unmarshal(b)
		if err != nil {
			return // it reads the extensions' inside as well
		}
		if n != h.length || p.PayloadType != h.payloadType || p.Padding != h.padded {
			t.Fatalf("%+v and %d %+v", h, n, p)
		}
	})
}

// FuzzRebuildRTCP: nothing panics, and what is written is well-formed and made of known packets only.
func FuzzRebuildRTCP(f *testing.F) {
	f.Add(unhex(f, "80c90001 00000001"))
	f.Add(unhex(f, "80c80006 00000001 0000000000000000 00000000 00000000 00000000 81ca0002 00000001 01020000"))
	f.Add(unhex(f, "81cb0001 00000001 80cc0002 00000001 41424344"))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, ok := rebuildRTCP(make([]byte, 0, maxPacket), b, []byte("0123456789abcdef"))
		if !ok {
			return
		}
		for len(out) > 0 {
			n := 4 * (int(binary.BigEndian.Uint16(out[2:])) + 1)
			if out[0]>>6 != 2 || n > len(out) {
				t.Fatalf("malformed: %x", out)
			}
			switch out[1] {
			case typeSR, typeRR, typeSDES, typeBYE, typeRTPFB, typePSFB:
			default:
				t.Fatalf("type %d passed", out[1])
			}
			out = out[n:]
		}
	})
}

// FuzzPacket: no datagram panics, in any of the four modes, on either socket.
func FuzzPacket(f *testing.F) {
	f.Add(rtpPacket(1, "hello"), false)
	f.Add(rrPacket(1), true)
	r, _ := forwarder(f, true)
	f.Fuzz(func(t *testing.T, b []byte, rtcp bool) {
		for side := range 2 {
			r.side, r.rtcp = side, rtcp
			n := copy(r.buf[:], b)
			r.packet(r.buf[:n], netip.MustParseAddrPort("127.0.0.1:9999"))
		}
	})
}

// forwarder makes a reader of side 0 (SRTP) that can be fed by hand; what it sends goes to a socket that nobody reads.
func forwarder(t testing.TB, both bool) (*reader, *keying.Sender) {
	t.Helper()
	r, phone, rule := handFed(t)
	if both {
		rule[0].Mux = true
	}
	r.s.Set(rule)
	return r, phone
}
