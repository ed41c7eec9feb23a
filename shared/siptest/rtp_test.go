package siptest

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"brickhouse/shared/tone"
)

// Pion's RTP is the judge of ours.
func TestRTPAgainstPion(t *testing.T) {
	ours := rtpPacket{payloadType: 8, marker: true, seq: 65535, timestamp: 0xfffffff0, ssrc: 0xdeadbeef, payload: []byte("sound")}
	var theirs rtp.Packet
	must(t, theirs.Unmarshal(ours.bytes()))
	if theirs.PayloadType != 8 || !theirs.Marker || theirs.SequenceNumber != 65535 || theirs.Timestamp != 0xfffffff0 ||
		theirs.SSRC != 0xdeadbeef || string(theirs.Payload) != "sound" {
		t.Errorf("%+v", theirs)
	}
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 0, SequenceNumber: 4, Timestamp: 5, SSRC: 6, CSRC: []uint32{1, 2},
		Padding: true, PaddingSize: 4}, PaddingSize: 4, Payload: []byte("abc")}
	must(t, p.SetExtension(1, []byte{9}))
	b, err := p.Marshal()
	must(t, err)
	back, err := parseRTP(b)
	must(t, err)
	if back.seq != 4 || back.timestamp != 5 || back.ssrc != 6 || string(back.payload) != "abc" || back.marker {
		t.Errorf("%+v", back)
	}
}

func TestParseRTPRefuses(t *testing.T) {
	good := rtpPacket{payload: []byte{1, 2, 3}}.bytes()
	with := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:11], "version 1": with(0, 1<<6), "15 sources": with(0, 2<<6|15), "extension cut": with(0, 2<<6|0x10),
		"padding of 3 too much": append(with(0, 2<<6|0x20), 200), "padding of 0": append(with(0, 2<<6|0x20), 0),
	} {
		if p, err := parseRTP(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, p)
		}
	}
}

func FuzzParseRTP(f *testing.F) {
	f.Add(rtpPacket{payload: []byte{1, 2, 3}}.bytes())
	f.Add([]byte{0xb1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseRTP(b); err == nil && len(p.payload) > len(b)-12 {
			t.Error("payload longer than the packet")
		}
		isRTCP(b)
	})
}

func TestSenderReportAgainstPion(t *testing.T) {
	for _, cname := range []string{"a", "abc", "abcd", "0123456789abcdef"} {
		now := time.Date(2026, 11, 21, 12, 0, 0, 500_000_000, time.UTC)
		b := senderReport(7, now, 1600, 10, 1600, cname)
		if !isRTCP(b) {
			t.Fatalf("%x is not RTCP to us", b)
		}
		packets, err := rtcp.Unmarshal(b)
		must(t, err)
		sr, ok := packets[0].(*rtcp.SenderReport)
		if !ok || sr.SSRC != 7 || sr.PacketCount != 10 || sr.OctetCount != 1600 || sr.RTPTime != 1600 ||
			sr.NTPTime>>32 != uint64(now.Unix()+2208988800) || uint32(sr.NTPTime) != 1<<31 {
			t.Errorf("%+v", sr)
		}
		sdes, ok := packets[1].(*rtcp.SourceDescription)
		if !ok || sdes.Chunks[0].Items[0].Text != cname {
			t.Errorf("%+v", sdes)
		}
	}
	for _, bad := range [][]byte{nil, {0x80, 200, 0, 9, 0, 0, 0, 0}, {0x80, 99, 0, 1, 0, 0, 0, 0}, {0x40, 200, 0, 1, 0, 0, 0, 0}} {
		if isRTCP(bad) {
			t.Errorf("%x is taken for RTCP", bad)
		}
	}
}

func TestRingLaysOutByTimestamp(t *testing.T) {
	var r ring
	if r.since(time.Time{}) != nil {
		t.Error("sound in an empty ring")
	}
	start := time.Now()
	add := func(ms int, ssrc, ts uint32, v int16) {
		r.add(frame{at: start.Add(time.Duration(ms) * time.Millisecond), ssrc: ssrc, timestamp: ts, pcm: []int16{v, v}})
	}
	add(0, 1, 500, 9)           // another stream
	add(10, 2, 0xffffffff-3, 1) // around the wrap of the timestamp
	add(20, 2, 2, 4)            // 2 before 0
	add(30, 2, 0, 3)            // late
	add(40, 2, 4, 5)            // the gap at -2 stays silent
	want := []int16{1, 1, 0, 0, 3, 3, 4, 4, 5, 5}
	if got := r.since(start); len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	} else {
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%v, want %v", got, want)
				break
			}
		}
	}
	if got := r.since(start.Add(35 * time.Millisecond)); len(got) != 2 {
		t.Errorf("last window holds %v", got)
	}
	for i := range 2 * ringFrames {
		add(100+i, 2, uint32(10+2*i), 1)
	}
	if got := r.since(start); len(got) != 2*ringFrames {
		t.Errorf("%d samples in a full ring", len(got))
	}
	add(9999, 2, 1<<30, 1) // a clock that jumps must not make a huge buffer
	if got := r.since(start); len(got) > (ringFrames+1)*frameSize {
		t.Errorf("%d samples", len(got))
	}
}

// live is a media session that has agreed with a socket of the test.
func live(t *testing.T, suites []Suite) *media {
	t.Helper()
	cfg, err := Config{Bind: loopback, SRTP: suites}.withDefaults()
	must(t, err)
	m, err := newMedia(cfg)
	must(t, err)
	t.Cleanup(m.close)
	return m
}

func TestMediaCounts(t *testing.T) {
	m := live(t, nil)
	from := netip.MustParseAddrPort("127.0.0.1:7000")
	m.gotRTP([]byte{0}, from)
	_, err := m.answer(offerOf("RTP/AVP", ""))
	must(t, err)
	pcm := make([]int16, frameSize)
	tone.NewSine(440, -10).Read(pcm)
	send := func(seq uint16, ssrc uint32, pt uint8) {
		m.gotRTP(rtpPacket{payloadType: pt, seq: seq, timestamp: uint32(seq) * frameSize, ssrc: ssrc, payload: PCMU.Encode(nil, pcm)}.bytes(), from)
	}
	send(65534, 1, 0)
	send(1, 1, 0)  // 65535 and 0 are lost
	send(0, 1, 0)  // one comes late
	send(1, 1, 0)  // twice
	send(9, 2, 0)  // another stream
	send(10, 2, 9) // another codec
	m.gotRTP([]byte("noise"), from)
	m.gotRTP(rtpPacket{}.bytes(), netip.MustParseAddrPort("127.0.0.9:7000"))
	m.gotRTCP([]byte("noise"), from)
	m.gotRTCP(senderReport(1, time.Now(), 0, 0, 0, "x"), from)
	m.gotRTCP(senderReport(1, time.Now(), 0, 0, 0, "x"), netip.MustParseAddrPort("127.0.0.9:7001"))
	want := MediaStats{Received: 5, Lost: 2, Late: 2, SSRCChanges: 1, Foreign: 2, Malformed: 2, WrongPayload: 1, Early: 1, RTCPReceived: 1,
		LastRTPSource: netip.MustParseAddrPort("127.0.0.9:7000")}
	if got := m.snapshot(); got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestMediaCountsForgeries(t *testing.T) {
	for _, suite := range []Suite{AESCM, AESGCM} {
		m := live(t, []Suite{suite})
		key := suite.newKey()
		_, err := m.answer(offerOf("RTP/SAVP", "a=crypto:"+Crypto{Tag: 1, Suite: suite, Key: key}.String()+"\r\n"))
		must(t, err)
		peer, err := newCipher(nil, Crypto{Suite: suite, Key: key})
		must(t, err)
		from := netip.MustParseAddrPort("127.0.0.1:7000")
		plain := rtpPacket{seq: 1, payload: make([]byte, 160)}.bytes()
		good, err := peer.ctx.EncryptRTP(nil, plain, nil)
		must(t, err)
		report := senderReport(1, time.Now(), 0, 0, 0, "x")
		goodReport, err := peer.ctx.EncryptRTCP(nil, report, nil)
		must(t, err)
		m.gotRTP(plain, from)
		m.gotRTP(bytes.Clone(good), from)
		m.gotRTP(bytes.Clone(good), from) // replayed
		forged := bytes.Clone(good)
		forged[3], forged[20] = 2, forged[20]^1
		m.gotRTP(forged, from)
		m.gotRTCP(report, from)
		m.gotRTCP(goodReport, from)
		s := m.snapshot()
		if s.Received != 1 || s.AuthFailures != 3 || s.RTCPReceived != 1 || s.RTCPFailures != 1 || s.Suite != suite {
			t.Errorf("%s: %+v", suite, s)
		}
	}
}
