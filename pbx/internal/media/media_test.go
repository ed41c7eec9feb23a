package media

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"brickhouse/shared/sdp"
	"brickhouse/shared/tone"
	"brickhouse/shared/verdict"
)

func TestEcho(t *testing.T) {
	e := newEngine(t, 16000, nil)
	p := newPhone(t, "127.0.0.1")
	s, m := call(t, e, Echo, p)
	if got := strings.Join(m.Formats, " "); got != "0 101" || m.Direction != sdp.SendRecv || m.Ptime != 20 {
		t.Errorf("answered %+v", m)
	}
	var heard []int16
	var last rtp.Packet
	for i := range 15 {
		p.send(p.rtp, 0, p.frame(tone.MuLaw))
		pkt := p.packet()
		if pkt.SSRC == p.ssrc {
			t.Fatal("the echo has the phone's SSRC")
		}
		if i > 0 && (pkt.SequenceNumber != last.SequenceNumber+1 || pkt.Timestamp != last.Timestamp+160 || pkt.SSRC != last.SSRC) {
			t.Fatalf("packet %d: %v after %v", i, pkt.Header, last.Header)
		}
		last = pkt
		heard = tone.MuLaw.Decode(heard, pkt.Payload)
	}
	if r := tone.Measure(heard[800:]); !r.Is(440) || r.Level < -10.5 || r.Level > -9.5 {
		t.Errorf("heard %+v", r)
	}
	p.send(p.rtp, 101, []byte{1, 10, 0, 160}) // a key is no sound
	p.send(p.rtp, 8, p.frame(tone.ALaw))      // not negotiated
	p.silent()
	p.ssrc, p.seq = 0x88, 40000 // another source: our stream goes on without a jump
	p.send(p.rtp, 0, p.frame(tone.MuLaw))
	if pkt := p.packet(); pkt.SequenceNumber != last.SequenceNumber+1 || pkt.Timestamp != last.Timestamp+160 {
		t.Errorf("%v after %v", pkt.Header, last.Header)
	}
	until(t, "all counted", func() bool { return s.Stats().BytesOut == 16*172 })
	st := s.Stats()
	if st.PacketsIn != 18 || st.PacketsOut != 16 || st.BytesOut != 16*172 || st.Strangers != 0 || st.Remote != at(p.rtp) {
		t.Errorf("%+v", st)
	}
}

func TestMilliwatt(t *testing.T) {
	e := newEngine(t, 16100, nil)
	for _, c := range []struct {
		law    tone.Law
		media  string
		format uint8
	}{{tone.MuLaw, "RTP/AVP 0 8", 0}, {tone.ALaw, "RTP/AVP 8 0", 8}, {tone.ALaw, "RTP/AVP 98", 98}} {
		p := newPhone(t, "127.0.0.1")
		offer := strings.Replace(string(p.offer()), "RTP/AVP 9 0 8 101", c.media, 1) + "a=rtpmap:98 pcma/8000/1\r\na=ptime:10\r\n"
		answer, s, err := e.Answer(Milliwatt, []byte(offer), loopback, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m := p.take(answer); m.Ptime != 10 {
			t.Errorf("packet time %d", m.Ptime)
		}
		var heard []int16
		var last rtp.Packet
		for i := range 30 {
			pkt := p.packet()
			if pkt.PayloadType != c.format || pkt.Marker != (i == 0) || len(pkt.Payload) != 80 {
				t.Fatalf("%v", pkt.Header)
			}
			if i > 0 && (pkt.SequenceNumber != last.SequenceNumber+1 || pkt.Timestamp != last.Timestamp+80) {
				t.Fatalf("%v after %v", pkt.Header, last.Header)
			}
			last = pkt
			heard = c.law.Decode(heard, pkt.Payload)
		}
		if r := tone.Measure(heard); !r.Is(1004) || r.Level < -10.3 || r.Level > -9.7 {
			t.Errorf("%v: heard %+v", c.law, r)
		}
		s.Close()
	}
}

func TestHoldAndResume(t *testing.T) {
	e := newEngine(t, 16200, nil)
	p := newPhone(t, "127.0.0.1")
	s, _ := call(t, e, Milliwatt, p)
	before := p.packet()
	version := uint64(0)
	for i, c := range []struct{ offer, want string }{
		{"a=sendonly", "recvonly"}, {"a=inactive", "inactive"}, {"c=IN IP4 0.0.0.0", "recvonly"},
	} {
		answer, err := s.Reoffer(p.offer(c.offer))
		if strings.HasPrefix(c.offer, "c=") {
			answer, err = s.Reoffer([]byte(strings.Replace(string(p.offer()), "c=IN IP4 127.0.0.1", c.offer, 1)))
		}
		if err != nil {
			t.Fatal(err)
		}
		d, _ := sdp.Parse(answer)
		if got := d.Media[0].Direction.String(); got != c.want || d.Media[0].Port != p.remote.Port() {
			t.Errorf("%s answered %s, port %d", c.offer, got, d.Media[0].Port)
		}
		if i > 0 && d.Origin.Version <= version {
			t.Error("the version did not move")
		}
		version = d.Origin.Version
		again, _ := s.Reoffer(p.offer(c.offer))
		if d2, _ := sdp.Parse(again); i < 2 && d2.Origin.Version != version {
			t.Error("the version moved without a change")
		}
	}
	sent := s.Stats().PacketsOut
	until(t, "silence on hold", func() bool {
		before := sent
		time.Sleep(60 * time.Millisecond)
		sent = s.Stats().PacketsOut
		return sent == before
	})
	if _, err := s.Reoffer(p.offer("a=recvonly")); err != nil {
		t.Fatal(err)
	}
	for p.packet().SSRC != before.SSRC {
		t.Error("the stream's source changed")
	}
	moved := newPhone(t, "127.0.0.1")
	if _, err := s.Reoffer(moved.offer()); err != nil {
		t.Fatal(err)
	}
	moved.packet()
	if _, err := s.Reoffer([]byte("garbage")); err == nil {
		t.Error("garbage was answered")
	}
	if _, err := s.Reoffer([]byte(strings.Replace(string(moved.offer()), "RTP/AVP", "RTP/SAVP", 1))); err == nil {
		t.Error("SRTP was answered")
	}
	moved.packet() // and nothing has changed
	s.Close()
	if _, err := s.Reoffer(moved.offer()); err == nil {
		t.Error("a closed session answers")
	}
}

func TestStrangersAreNotEchoed(t *testing.T) {
	e := newEngine(t, 16300, nil)
	p, otherHost, otherPort := newPhone(t, "127.0.0.1"), newPhone(t, "127.203.12.1"), newPhone(t, "127.0.0.1")
	s, _ := call(t, e, Echo, p)
	otherHost.remote, otherPort.remote = p.remote, p.remote
	otherHost.send(otherHost.rtp, 0, make([]byte, 160)) // before the phone
	until(t, "stranger counted", func() bool { return s.Stats().Strangers == 1 })
	p.send(p.rtp, 0, p.frame(tone.MuLaw))
	p.packet()
	otherPort.send(otherPort.rtp, 0, make([]byte, 160))
	until(t, "other port counted", func() bool { return s.Stats().Strangers == 2 })
	for _, b := range [][]byte{nil, {0x80}, make([]byte, 20), []byte("0123456789abcdef"), make([]byte, maxPacket+50)} {
		if _, err := p.rtp.WriteToUDPAddrPort(b, p.remote); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "malformed counted", func() bool { return s.Stats().Malformed == 5 })
	rtcpPort := netip.AddrPortFrom(p.remote.Addr(), p.remote.Port()+1)
	for _, b := range [][]byte{{0x80, 201}, {0x80, 201, 0, 9, 0, 0, 0, 1}} {
		if _, err := p.rtcp.WriteToUDPAddrPort(b, rtcpPort); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "malformed RTCP counted", func() bool { return s.Stats().Malformed == 7 })
	bye, _ := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}, &rtcp.Goodbye{Sources: []uint32{p.ssrc}}})
	if _, err := otherHost.rtcp.WriteToUDPAddrPort(bye, rtcpPort); err != nil {
		t.Fatal(err)
	}
	until(t, "RTCP stranger counted", func() bool { return s.Stats().Strangers == 3 })
	if _, err := p.rtcp.WriteToUDPAddrPort(bye, rtcpPort); err != nil {
		t.Fatal(err)
	}
	until(t, "RTCP counted", func() bool { return s.Stats().RTCPIn == 1 })
	p.send(p.rtp, 0, p.frame(tone.MuLaw)) // a BYE in RTCP ends nothing
	p.packet()
	otherHost.silent()
	otherPort.silent()
}

// A call whose first packets came from another port than SDP names belongs to the named one when that speaks.
func TestNamedPortHasTheFirstRight(t *testing.T) {
	e := newEngine(t, 16400, nil)
	p, other := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	s, _ := call(t, e, Echo, p)
	other.remote = p.remote
	other.send(other.rtp, 0, make([]byte, 160))
	p.packet() // the echo goes where SDP says
	p.send(p.rtp, 0, p.frame(tone.MuLaw))
	p.packet()
	other.send(other.rtp, 0, make([]byte, 160))
	until(t, "counted", func() bool { return s.Stats().Strangers == 1 })
}

func TestRTCP(t *testing.T) {
	e := newEngine(t, 16500, nil)
	p := newPhone(t, "127.0.0.1")
	s, _ := call(t, e, Milliwatt, p)
	first := p.packet()
	s.sendRTCP(false)
	packets, err := rtcp.Unmarshal(p.receive(p.rtcp))
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := packets[0].(*rtcp.SenderReport)
	if !ok || sr.SSRC != first.SSRC || sr.PacketCount == 0 || sr.OctetCount != sr.PacketCount*160 || time.Until(fromNTP(sr.NTPTime)).Abs() > time.Minute {
		t.Errorf("%v", packets[0])
	}
	if sdes := packets[1].(*rtcp.SourceDescription); len(sdes.Chunks) != 1 || len(sdes.Chunks[0].Items[0].Text) != 16 {
		t.Errorf("%v", sdes)
	}
	s.Close()
	s.Close()
	packets, err = rtcp.Unmarshal(p.receive(p.rtcp))
	if err != nil || len(packets) != 3 {
		t.Fatalf("%v %v", packets, err)
	}
	if bye, ok := packets[2].(*rtcp.Goodbye); !ok || bye.Sources[0] != first.SSRC {
		t.Errorf("%v", packets[2])
	}
}

func fromNTP(n uint64) time.Time {
	return time.Unix(int64(n>>32)-2208988800, int64((n&0xffffffff)*1e9>>32))
}

func TestRefusedOffers(t *testing.T) {
	e := newEngine(t, 16600, nil)
	p := newPhone(t, "127.0.0.1")
	good := string(p.offer())
	for name, c := range map[string]struct {
		offer string
		code  int
		why   verdict.Reason
	}{
		"garbage":      {"v=0", 400, verdict.BadBody},
		"SRTP":         {strings.Replace(good, "RTP/AVP", "RTP/SAVP", 1), 488, verdict.NoCommonMedia},
		"other codecs": {strings.Replace(good, "9 0 8 101", "9 101", 1), 488, verdict.NoCommonMedia},
		"video":        {strings.Replace(good, "m=audio", "m=video", 1), 488, verdict.NoCommonMedia},
		"refused":      {strings.Replace(good, fmt.Sprintf("m=audio %d", at(p.rtp).Port()), "m=audio 0", 1), 488, verdict.NoCommonMedia},
		"IPv6":         {strings.Replace(good, "c=IN IP4 127.0.0.1", "c=IN IP6 ::1", 1), 488, verdict.NoCommonMedia},
		"own port":     {strings.Replace(good, fmt.Sprintf("m=audio %d", at(p.rtp).Port()), "m=audio 16650", 1), 488, verdict.NoCommonMedia},
	} {
		_, _, err := e.Answer(Echo, []byte(c.offer), loopback, nil)
		var got *Error
		if !errors.As(err, &got) || got.Code != c.code || got.Reason != c.why || got.Error() == "" {
			t.Errorf("%s: %v, want %d %s", name, err, c.code, c.why)
		}
	}
	if _, _, err := e.Answer(Echo, []byte(good), netip.MustParseAddr("192.0.2.1"), nil); err == nil {
		t.Error("an address that is not ours")
	}
	if free, used, _ := e.pool.Count(loopback); used != 0 || free != 50 {
		t.Errorf("%d ports free, %d in use", free, used)
	}
}

func TestOtherMediaAreRefusedInPlace(t *testing.T) {
	e := newEngine(t, 16700, nil)
	p := newPhone(t, "127.0.0.1")
	offer := strings.Replace(string(p.offer()), "m=audio", "m=video 5000 RTP/AVP 96\r\nm=audio", 1) + "m=image 6000 udptl t38\r\n"
	answer, s, err := e.Answer(Echo, []byte(offer), loopback, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := sdp.Parse(answer)
	if err != nil || len(d.Media) != 3 || d.Media[0].Port != 0 || d.Media[1].Port == 0 || d.Media[2].Port != 0 || d.Media[2].Proto != "udptl" {
		t.Errorf("%v\n%s", err, answer)
	}
}

func TestPortsRunOutAndComeBack(t *testing.T) {
	e := newEngine(t, 16800, func(c *Config) { c.MaxPort = c.MinPort + 1 })
	p := newPhone(t, "127.0.0.1")
	call(t, e, Echo, p)
	_, _, err := e.Answer(Echo, p.offer(), loopback, nil)
	var got *Error
	if !errors.As(err, &got) || got.Code != 503 || got.Reason != verdict.PortsExhausted {
		t.Errorf("%v", err)
	}
}

func TestSilence(t *testing.T) {
	e := newEngine(t, 16900, func(c *Config) { c.Silence = 100 * time.Millisecond })
	silent, held := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	ended := make(chan string, 9)
	_, s, err := e.Answer(Milliwatt, silent.offer(), loopback, func() { ended <- "silent" })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, h, err := e.Answer(Milliwatt, held.offer("a=sendonly"), loopback, func() { ended <- "held" })
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	select {
	case who := <-ended:
		if who != "silent" {
			t.Errorf("the %s call ended", who)
		}
	case <-time.After(patience):
		t.Fatal("the silent call goes on")
	}
	select {
	case who := <-ended:
		t.Errorf("the %s call ended", who)
	case <-time.After(250 * time.Millisecond):
	}
}

func TestTimeoutMayClose(t *testing.T) {
	e := newEngine(t, 17000, func(c *Config) { c.Silence = 30 * time.Millisecond })
	p := newPhone(t, "127.0.0.1")
	var s *Session
	ready, done := make(chan struct{}), make(chan struct{})
	_, s, err := e.Answer(Echo, p.offer(), loopback, func() { <-ready; s.Close(); close(done) })
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("deadlock")
	}
	s.running.Wait()
}

func TestEngineClose(t *testing.T) {
	e := newEngine(t, 17100, nil)
	p := newPhone(t, "127.0.0.1")
	call(t, e, Milliwatt, p)
	call(t, e, Echo, p)
	e.Close()
	if _, used, _ := e.pool.Count(loopback); used != 0 {
		t.Errorf("%d pairs in use", used)
	}
	if _, _, err := e.Answer(Echo, p.offer(), loopback, nil); err == nil {
		t.Error("a closed engine answers")
	}
}

func TestIPv6(t *testing.T) {
	e := newEngine(t, 17200, nil)
	p := newPhone(t, "::1")
	answer, s, err := e.Answer(Milliwatt, p.offer(), netip.IPv6Loopback(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p.take(answer)
	p.packet()
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {MinPort: 80, MaxPort: 90}, {MinPort: 5000, MaxPort: 5000}, {MinPort: 5001, MaxPort: 5002}, {MinPort: 5000, MaxPort: 6000, Silence: -1}} {
		if _, err := New(c, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if Echo.String() != "echo" || Milliwatt.String() != "milliwatt" {
		t.Error("names")
	}
}

// FuzzAnswer: no offer panics, and every answer is a description that names our port.
func FuzzAnswer(f *testing.F) {
	e, err := New(Config{MinPort: 17300, MaxPort: 17399}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := sdp.Parse(b)
		if err != nil {
			return
		}
		n, failure := e.negotiate(d, loopback)
		if failure != nil {
			return
		}
		out := n.describe(d, loopback, 17300, sdp.Origin{}).Bytes()
		again, err := sdp.Parse(out)
		if err != nil || len(again.Media) != len(d.Media) || again.Media[n.audio].Port != 17300 {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}
