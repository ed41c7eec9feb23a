package sdp

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const (
	digest = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"
	pwd    = "secretOfABrowser+/0123"
)

// browser is what Chromium writes, shortened.
func browser() []byte {
	return body("v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1", "a=extmap-allow-mixed", "a=msid-semantic: WMS x",
		"m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0", "a=candidate:1 1 udp 2113937151 x.local 4000 typ host",
		"a=ice-ufrag:abcd", "a=ice-pwd:"+pwd, "a=ice-options:trickle", "a=fingerprint:SHA-256 "+digest, "a=setup:actpass", "a=mid:0",
		"a=extmap:1 urn:x", "a=sendrecv", "a=rtcp-mux", "a=rtcp-rsize", "a=rtpmap:111 opus/48000/2", "a=ssrc:1 cname:x",
		"m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:1", "a=rtpmap:96 VP8/90000")
}

func TestParseBrowser(t *testing.T) {
	s := mustParse(t, browser())
	m := s.Media[0]
	if !reflect.DeepEqual(s.Bundle, []string{"0", "1"}) || m.MID != "0" || s.Media[1].MID != "1" || !m.RTCPMux {
		t.Errorf("%+v", s)
	}
	if m.Setup != "actpass" || m.ICE.Ufrag != "abcd" || m.ICE.Pwd != pwd || m.ICE.Lite {
		t.Errorf("%+v", m.Transport)
	}
	if f := m.Fingerprints; len(f) != 1 || f[0].Hash != "sha-256" || len(f[0].Digest) != 32 || f[0].Digest[10] != 0xaa || f[0].Digest[26] != 0xaa {
		t.Errorf("%+v", f)
	}
	for _, leak := range []string{"extmap", "msid", "local", "ssrc", "rsize", "trickle"} {
		if strings.Contains(string(s.Bytes()), leak) {
			t.Errorf("%q survived in\n%s", leak, s.Bytes())
		}
	}
}

// What the session says holds for each medium that does not say it itself; a name of ICE is never mixed with another's password.
func TestSessionLevel(t *testing.T) {
	s := mustParse(t, body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", "a=ice-lite", "a=setup:active",
		"a=fingerprint:sha-256 "+digest, "a=ice-ufrag:abcd", "a=ice-pwd:"+pwd,
		"m=audio 1 RTP/AVP 0", "m=audio 1 RTP/AVP 0", "a=setup:passive", "a=fingerprint:sha-1 00:11", "a=ice-ufrag:efgh"))
	a, b := s.Media[0].Transport, s.Media[1].Transport
	if a.Setup != "active" || len(a.Fingerprints) != 1 || a.ICE.Ufrag != "abcd" || a.ICE.Pwd != pwd || !a.ICE.Lite {
		t.Errorf("%+v", a)
	}
	if b.Setup != "passive" || b.Fingerprints[0].Hash != "sha-1" || b.ICE.Ufrag != "efgh" || b.ICE.Pwd != "" || !b.ICE.Lite {
		t.Errorf("%+v", b)
	}
}

func TestBytesOfTransport(t *testing.T) {
	s := &Session{Conn: netip.MustParseAddr("192.0.2.1"), Bundle: []string{"0"}, Media: []Media{
		{Type: "audio", Port: 4000, Proto: "UDP/TLS/RTP/SAVPF", Formats: []string{"0"}, MID: "0", RTCPMux: true, Transport: Transport{
			Fingerprints: []Fingerprint{{"sha-256", []byte{0, 0xab, 0xff}}}, Setup: "passive",
			ICE: ICE{Ufrag: "abcd", Pwd: pwd, Lite: true, Host: netip.MustParseAddrPort("192.0.2.1:4000")}}},
		{Type: "video", Proto: "UDP/TLS/RTP/SAVPF", Formats: []string{"96"}, MID: "1"},
	}}
	want := string(body("v=0", "o=- 0 0 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", "a=ice-lite", "a=group:BUNDLE 0",
		"m=audio 4000 UDP/TLS/RTP/SAVPF 0", "a=mid:0", "a=rtcp-mux", "a=fingerprint:sha-256 00:AB:FF", "a=setup:passive", "a=ice-ufrag:abcd",
		"a=ice-pwd:"+pwd, "a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host", "a=end-of-candidates", "a=sendrecv",
		"m=video 0 UDP/TLS/RTP/SAVPF 96", "a=mid:1"))
	if got := string(s.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMalformedTransport(t *testing.T) {
	for _, line := range []string{
		"a=fingerprint:sha-256", "a=fingerprint:sha-256 ", "a=fingerprint: 00:11", "a=fingerprint:sha-256 0011", "a=fingerprint:sha-256 0:11",
		"a=fingerprint:sha-256 00:1g", "a=fingerprint:sha-256 00:", "a=fingerprint:sha-512 " + strings.Repeat("00:", 64) + "00",
		"a=setup:", "a=setup:ACTIVE", "a=ice-ufrag:abc", "a=ice-ufrag:ab cd", "a=ice-ufrag:ab:cd", "a=ice-pwd:" + pwd[1:], "a=ice-pwd:" + strings.Repeat("a", 257),
		"a=mid:", "a=mid:a b", "a=mid:" + strings.Repeat("a", maxMID+1),
	} {
		if _, err := Parse(good("m=audio 1 RTP/AVP 0", line)); err == nil {
			t.Errorf("%q is read", line)
		} else if strings.Contains(err.Error(), pwd[1:]) {
			t.Errorf("secret in %v", err)
		}
	}
	many := append([]string{"m=audio 1 RTP/AVP 0"}, strings.Split(strings.Repeat("a=fingerprint:sha-256 00\n", maxFingerprints+1), "\n")[:maxFingerprints+1]...)
	if _, err := Parse(good(many...)); err == nil {
		t.Error("too many fingerprints are read")
	}
	for _, group := range []string{"BUNDLE " + strings.Repeat("a ", MaxMedia+1), "BUNDLE a(b", "BUNDLE " + strings.Repeat("a", maxMID+1)} {
		b := strings.Replace(string(browser()), "BUNDLE 0 1", group, 1)
		if _, err := Parse([]byte(b)); err == nil {
			t.Errorf("%q is read", group)
		}
	}
}

func TestPasswordIsHidden(t *testing.T) {
	m := mustParse(t, browser()).Media[0]
	for _, s := range []string{fmt.Sprint(m.ICE), fmt.Sprintf("%v %+v %#v %+v", m.ICE, m.Transport, m, &m)} {
		if strings.Contains(s, pwd) {
			t.Errorf("password in %q", s)
		}
	}
}

// FuzzTransport: lines of DTLS, ICE and BUNDLE, whatever stands in them.
func FuzzTransport(f *testing.F) {
	f.Add("fingerprint:sha-256 "+digest, "ice-ufrag:abcd")
	f.Add("candidate:1 1 udp 1 x.local 9 typ host generation 0", "ice-pwd:"+pwd)
	f.Add("setup:actpass", "mid:0")
	f.Add("ice-lite", "end-of-candidates")
	f.Fuzz(func(t *testing.T, session, media string) {
		s, err := Parse(body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", "a="+session, "m=audio 1 RTP/AVP 0", "a="+media))
		if err != nil {
			return
		}
		again, err := Parse(s.Bytes())
		if err != nil || string(again.Bytes()) != string(s.Bytes()) {
			t.Fatalf("%v\n%q", err, s.Bytes())
		}
	})
}
