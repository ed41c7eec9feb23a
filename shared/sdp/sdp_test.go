package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const baresip = "v=0\r\no=- 1234567890 987654321 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n" +
	"a=tool:baresip 1.0.0\r\nm=audio 11542 RTP/SAVP 0 8 101\r\nb=AS:125\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:11543\r\n" +
	"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4\r\n" +
	"a=label:1\r\na=rtcp-rsize\r\na=ssrc:1 cname:x@10.1.1.1\r\na=ptime:20\r\na=sendrecv\r\n"

func body(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

func good(media ...string) []byte {
	return body(append([]string{"v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"}, media...)...)
}

func mustParse(t *testing.T, b []byte) *Session {
	t.Helper()
	s, err := Parse(b)
	if err != nil {
		t.Fatalf("%v in %q", err, b)
	}
	return s
}

func TestParsePhone(t *testing.T) {
	s := mustParse(t, []byte(baresip))
	if s.Origin != (Origin{1234567890, 987654321}) || len(s.Media) != 1 {
		t.Fatalf("%+v", s)
	}
	want := Media{Type: "audio", Port: 11542, Proto: "RTP/SAVP", Formats: []string{"0", "8", "101"},
		Conn: netip.MustParseAddr("192.0.2.10"), Ptime: 20, RTCPPort: 11543,
		RTPMaps: []RTPMap{{"0", "PCMU/8000"}, {"8", "PCMA/8000"}, {"101", "telephone-event/8000"}},
		FMTPs:   []FMTP{{"101", "0-15"}},
		Crypto: []Crypto{{1, "AES_CM_128_HMAC_SHA1_80",
			"inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4", []string{}}},
	}
	if !reflect.DeepEqual(s.Media[0], want) {
		t.Errorf("got  %#v\nwant %#v", s.Media[0], want)
	}
}

func TestNothingUnlistedSurvives(t *testing.T) {
	out := string(mustParse(t, []byte(baresip)).Bytes())
	for _, leak := range []string{"baresip", "tool", "label", "ssrc", "cname", "10.1.1.1", "rsize", "b=AS"} {
		if strings.Contains(out, leak) {
			t.Errorf("%q survived in\n%s", leak, out)
		}
	}
}

func TestBytesReadBack(t *testing.T) {
	s := mustParse(t, []byte(baresip))
	again := mustParse(t, s.Bytes())
	if !reflect.DeepEqual(s, again) {
		t.Errorf("got  %#v\nwant %#v", again, s)
	}
	if string(again.Bytes()) != string(s.Bytes()) {
		t.Error("writing is not stable")
	}
}

func TestBytesExactly(t *testing.T) {
	s := &Session{Origin: Origin{7, 8}, Conn: netip.MustParseAddr("2001:db8::1"), Media: []Media{
		{Type: "audio", Port: 4000, Proto: "RTP/AVP", Formats: []string{"0"}, Conn: netip.MustParseAddr("2001:db8::2"),
			Direction: SendOnly, RTCPPort: 5000, RTCPAddr: netip.MustParseAddr("2001:db8::3"), RTCPMux: true, MaxPtime: 60,
			Crypto: []Crypto{{3, "S", "inline:k", []string{"WSH=64"}}}},
		{Type: "video", Proto: "RTP/AVP", Formats: []string{"96"}},
	}}
	want := string(body("v=0", "o=- 7 8 IN IP6 2001:db8::1", "s=-", "c=IN IP6 2001:db8::1", "t=0 0",
		"m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:db8::2", "a=maxptime:60", "a=rtcp:5000 IN IP6 2001:db8::3", "a=rtcp-mux",
		"a=crypto:3 S inline:k WSH=64", "a=sendonly", "m=video 0 RTP/AVP 96"))
	if got := string(s.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMalformed(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for name, b := range map[string][]byte{
		"empty":               nil,
		"too large":           []byte("v=0\r\n" + strings.Repeat("a=x\r\n", MaxBytes/4)),
		"too many lines":      good(strings.Split(strings.Repeat("a=x,", MaxLines), ",")[:MaxLines]...),
		"long line":           good("a=" + long),
		"no equals":           good("audio"),
		"one byte":            good("m"),
		"NUL":                 good("a=x\x00y"),
		"bare CR":             good("a=x\ry"),
		"blank line":          good("", "m=audio 1 RTP/AVP 0"),
		"version 1":           body("v=1", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "t=0 0"),
		"no version":          body("o=- 1 2 IN IP4 192.0.2.1", "s=-", "t=0 0"),
		"no origin":           body("v=0", "s=-", "t=0 0"),
		"no session name":     body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "t=0 0"),
		"no time":             body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-"),
		"media before time":   body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "m=audio 1 RTP/AVP 0"),
		"order":               body("v=0", "s=-", "o=- 1 2 IN IP4 192.0.2.1", "t=0 0"),
		"two origins":         body("v=0", "o=- 1 2 IN IP4 192.0.2.1", "o=- 1 2 IN IP4 192.0.2.1", "s=-", "t=0 0"),
		"unknown line":        good("q=1"),
		"session line later":  good("m=audio 1 RTP/AVP 0", "t=0 0"),
		"origin short":        body("v=0", "o=- 1 2 IN IP4", "s=-", "t=0 0"),
		"origin not IN":       body("v=0", "o=- 1 2 XX IP4 h", "s=-", "t=0 0"),
		"origin bad id":       body("v=0", "o=- x 2 IN IP4 h", "s=-", "t=0 0"),
		"origin bad version":  body("v=0", "o=- 1 -2 IN IP4 h", "s=-", "t=0 0"),
		"time":                body("v=0", "o=- 1 2 IN IP4 h", "s=-", "t=now 0"),
		"no connection":       body("v=0", "o=- 1 2 IN IP4 h", "s=-", "t=0 0", "m=audio 1 RTP/AVP 0"),
		"two connections":     body("v=0", "o=- 1 2 IN IP4 h", "s=-", "c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1", "t=0 0"),
		"two in a medium":     good("m=audio 1 RTP/AVP 0", "c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1"),
		"host name":           good("m=audio 1 RTP/AVP 0", "c=IN IP4 phone.example"),
		"multicast":           good("m=audio 1 RTP/AVP 0", "c=IN IP4 224.2.1.1"),
		"multicast with ttl":  good("m=audio 1 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"),
		"broadcast":           good("m=audio 1 RTP/AVP 0", "c=IN IP4 255.255.255.255"),
		"v6 in IP4":           good("m=audio 1 RTP/AVP 0", "c=IN IP4 2001:db8::1"),
		"v4 in IP6":           good("m=audio 1 RTP/AVP 0", "c=IN IP6 192.0.2.1"),
		"zone":                good("m=audio 1 RTP/AVP 0", "c=IN IP6 fe80::1%eth0"),
		"connection words":    good("m=audio 1 RTP/AVP 0", "c=IN IP4"),
		"m short":             good("m=audio 1 RTP/AVP"),
		"m port":              good("m=audio 65536 RTP/AVP 0"),
		"m port negative":     good("m=audio -1 RTP/AVP 0"),
		"m port plus":         good("m=audio +1 RTP/AVP 0"),
		"m port count":        good("m=audio 1/2 RTP/AVP 0"),
		"m proto":             good("m=audio 1 RTP\x22AVP 0"),
		"m format":            good("m=audio 1 RTP/AVP 0(1"),
		"m formats":           good("m=audio 1 RTP/AVP" + strings.Repeat(" 0", MaxFormats+1)),
		"m lines":             good(strings.Split(strings.Repeat("m=audio 1 RTP/AVP 0,", MaxMedia+1), ",")[:MaxMedia+1]...),
		"rtpmap":              good("m=audio 1 RTP/AVP 0", "a=rtpmap:0"),
		"rtpmap clock":        good("m=audio 1 RTP/AVP 0", "a=rtpmap:0 PCMU/fast"),
		"rtpmap zero clock":   good("m=audio 1 RTP/AVP 0", "a=rtpmap:0 PCMU/0"),
		"rtpmap channels":     good("m=audio 1 RTP/AVP 0", "a=rtpmap:0 PCMU/8000/x"),
		"rtpmap name":         good("m=audio 1 RTP/AVP 0", "a=rtpmap:0 "+strings.Repeat("P", 33)+"/8000"),
		"fmtp bytes":          good("m=audio 1 RTP/AVP 0", "a=fmtp:0 \u00e9"),
		"fmtp long":           good("m=audio 1 RTP/AVP 0", "a=fmtp:0 "+long[:300]),
		"rtcp port":           good("m=audio 1 RTP/AVP 0", "a=rtcp:0"),
		"rtcp address":        good("m=audio 1 RTP/AVP 0", "a=rtcp:1 IN IP4 host"),
		"crypto short":        good("m=audio 1 RTP/AVP 0", "a=crypto:1 S"),
		"crypto tag":          good("m=audio 1 RTP/AVP 0", "a=crypto:x S inline:k"),
		"crypto tag zero":     good("m=audio 1 RTP/AVP 0", "a=crypto:0 S inline:k"),
		"crypto leading zero": good("m=audio 1 RTP/AVP 0", "a=crypto:01 S inline:k"),
		"crypto long tag":     good("m=audio 1 RTP/AVP 0", "a=crypto:1234567890 S inline:k"),
		"crypto tag twice":    good("m=audio 1 RTP/AVP 0", "a=crypto:1 S inline:k", "a=crypto:1 S inline:l"),
		"crypto suite":        good("m=audio 1 RTP/AVP 0", "a=crypto:1 S\" inline:k"),
		"crypto lines":        good(append([]string{"m=audio 1 RTP/AVP 0"}, cryptoLines(MaxCrypto+1)...)...),
	} {
		if s, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, s, err)
		}
	}
}

func cryptoLines(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("a=crypto:%d S inline:k", i+1))
	}
	return lines
}

func TestToleratedForms(t *testing.T) {
	for name, b := range map[string][]byte{
		"bare LF":            []byte(strings.ReplaceAll(string(good("m=audio 1 RTP/AVP 0")), "\r\n", "\n")),
		"no last line end":   []byte(strings.TrimSuffix(string(good("m=audio 1 RTP/AVP 0")), "\r\n")),
		"all session lines":  body("v=0", "o=- 1 2 IN IP4 h", "s= ", "i=x", "u=x", "e=x", "e=y", "p=1", "c=IN IP4 192.0.2.1", "b=AS:1", "b=TIAS:2", "t=0 0", "r=1", "t=1 2", "r=2", "z=0 0", "k=clear:x", "a=x", "a=y:z", "m=audio 1 RTP/AVP 0", "i=x", "b=AS:1", "k=prompt", "a=q"),
		"no media":           good(),
		"huge origin":        body("v=0", "o=- 99999999999999999999999 2 IN IP4 h", "s=-", "t=0 0"),
		"refused medium":     body("v=0", "o=- 1 2 IN IP4 h", "s=-", "t=0 0", "m=audio 0 RTP/AVP 0"),
		"port count of 1":    good("m=audio 1/1 RTP/AVP 0"),
		"ptime zero":         good("m=audio 1 RTP/AVP 0", "a=ptime:0"),
		"empty fmtp":         good("m=audio 1 RTP/AVP 0", "a=fmtp:0 "),
		"unlisted rtpmap":    good("m=audio 1 RTP/AVP 0", "a=rtpmap:99 X/8000"),
		"rtpmap of a medium": good("m=image 1 udptl t38", "a=T38FaxVersion:0"),
	} {
		if _, err := Parse(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSessionLevelApplies(t *testing.T) {
	s := mustParse(t, body("v=0", "o=- 1 2 IN IP4 h", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", "a=inactive", "a=ptime:30",
		"m=audio 1 RTP/AVP 0", "m=audio 2 RTP/AVP 0", "c=IN IP6 ::ffff:192.0.2.9", "a=recvonly", "a=ptime:10", "a=maxptime:40"))
	if m := s.Media[0]; m.Direction != Inactive || m.Ptime != 30 || m.Conn != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("first: %+v", m)
	}
	if m := s.Media[1]; m.Direction != RecvOnly || m.Ptime != 10 || m.MaxPtime != 40 || m.Conn != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("second: %+v", m)
	}
}

func TestFirstMapCounts(t *testing.T) {
	m := mustParse(t, good("m=audio 1 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", "a=rtpmap:96 PCMU/8000",
		"a=fmtp:96 a=1", "a=fmtp:96 a=2")).Media[0]
	if len(m.RTPMaps) != 1 || m.Encoding("96") != "opus/48000/2" || len(m.FMTPs) != 1 || m.FMTPs[0].Params != "a=1" {
		t.Errorf("%+v", m)
	}
	if m.Encoding("8") != "PCMA/8000" || m.Encoding("97") != "" {
		t.Error("static encodings")
	}
}

func TestAddresses(t *testing.T) {
	m := mustParse(t, good("m=audio 4000 RTP/AVP 0")).Media[0]
	if a, ok := m.RTP(); !ok || a.String() != "192.0.2.1:4000" || m.RTCP().String() != "192.0.2.1:4001" {
		t.Errorf("%v %v %v", a, ok, m.RTCP())
	}
	m = mustParse(t, good("m=audio 4000 RTP/AVP 0", "a=rtcp:5000 IN IP4 192.0.2.7")).Media[0]
	if m.RTCP().String() != "192.0.2.7:5000" {
		t.Errorf("%v", m.RTCP())
	}
	m = mustParse(t, good("m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0")).Media[0]
	if _, ok := m.RTP(); ok || !m.Held() {
		t.Error("0.0.0.0 is no address to send to")
	}
	m = mustParse(t, good("m=audio 0 RTP/AVP 0")).Media[0]
	if _, ok := m.RTP(); ok || m.RTCP().Port() != 0 {
		t.Error("port 0 is no port to send to")
	}
}

func TestDirections(t *testing.T) {
	for d, want := range map[Direction]struct {
		name        string
		sends, recv bool
		without     Direction
	}{SendRecv: {"sendrecv", true, true, SendOnly}, SendOnly: {"sendonly", true, false, SendOnly},
		RecvOnly: {"recvonly", false, true, Inactive}, Inactive: {"inactive", false, false, Inactive}} {
		if d.String() != want.name || d.Sends() != want.sends || d.Receives() != want.recv || d.WithoutReceiving() != want.without {
			t.Errorf("%v", d)
		}
	}
}

func TestKeysAreHidden(t *testing.T) {
	c := mustParse(t, []byte(baresip)).Media[0].Crypto[0]
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, c)} {
		if strings.Contains(s, "inline") || strings.Contains(s, "d0Rm") {
			t.Errorf("key in %q", s)
		}
	}
	_, err := Parse(good("m=audio 1 RTP/AVP 0", "a=crypto:x S inline:SECRET"))
	if err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

// FuzzParse: no input panics, and whatever is read can be written and read back as the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(baresip))
	f.Add(good("m=audio 1 RTP/AVP 0", "a=sendonly", "m=video 0 RTP/AVP 96", "a=rtcp:1 IN IP4 1.2.3.4"))
	f.Add(body("v=0", "o=- 1 2 IN IP6 ::1", "s=-", "t=0 0", "m=audio 1 RTP/SAVP 0 101", "c=IN IP6 ::1", "a=crypto:1 X inline:y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		out := s.Bytes()
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("own output is refused: %v\n%q", err, out)
		}
		if string(again.Bytes()) != string(out) {
			t.Fatalf("writing is not stable:\n%q\n%q", out, again.Bytes())
		}
	})
}
