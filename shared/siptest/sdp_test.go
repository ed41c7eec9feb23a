package siptest

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

var (
	key30 = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 30))
	key44 = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 44))
)

func TestParseSDP(t *testing.T) {
	s, err := ParseSDP([]byte("v=0\r\no=x 1 2 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=inactive\r\n" +
		"m=video 9000 RTP/AVP 96\r\na=sendonly\r\n" +
		"m=audio 7000 RTP/SAVP 8 0 101 x\r\nc=IN IP4 192.0.2.2\r\na=rtcp:7005 IN IP4 192.0.2.3\r\na=recvonly\r\n" +
		"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^31\r\n" +
		"a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "\r\n" +
		"a=crypto:3 AEAD_AES_256_GCM inline:" + key44 + "\r\n" +
		"a=crypto:4 AEAD_AES_256_GCM inline:" + key30 + "\r\n" +
		"a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTP\r\n" +
		"m=audio 7100 RTP/AVP 0\r\na=sendonly\r\n"))
	must(t, err)
	if s.Addr != netip.MustParseAddrPort("192.0.2.2:7000") || s.RTCP != netip.MustParseAddrPort("192.0.2.3:7005") {
		t.Errorf("addresses %v %v", s.Addr, s.RTCP)
	}
	if s.Index != 1 || len(s.AllLines) != 3 || s.Proto != "RTP/SAVP" || s.Dir != RecvOnly || !reflect.DeepEqual(s.Formats, []int{8, 0, 101}) {
		t.Errorf("%+v", s)
	}
	if len(s.Cryptos) != 2 || s.Cryptos[0].Tag != 1 || s.Cryptos[1].Suite != AESGCM || s.Origin != "x 1 2 IN IP4 192.0.2.9" {
		t.Errorf("keys %+v, origin %q", s.Cryptos, s.Origin)
	}
	s, err = ParseSDP([]byte("v=0\r\nc=IN IP6 2001:db8::1\r\na=sendonly\r\nm=audio 7000 RTP/AVP 0\r\n"))
	must(t, err)
	if s.RTCP.String() != "[2001:db8::1]:7001" || s.Dir != SendOnly {
		t.Errorf("%+v", s)
	}
}

func TestParseSDPRefuses(t *testing.T) {
	for _, bad := range []string{"", "v=1\r\n", "v=0\r\nnonsense\r\n", "v=0\r\nm=audio 1 RTP/AVP 0\r\n", "v=0\r\nc=IN IP4 host\r\n",
		"v=0\r\nc=IN\r\n", "v=0\r\nm=audio\r\n", "v=0\r\nm=audio 70000 RTP/AVP 0\r\n", "v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtcp:\r\n",
		"v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtcp:x\r\n", "v=0\r\n" + strings.Repeat("a=x\r\n", maxSDP)} {
		if s, err := ParseSDP([]byte(bad)); err == nil {
			t.Errorf("%.40q accepted as %+v", bad, s)
		}
	}
}

func FuzzParseSDP(f *testing.F) {
	f.Add([]byte("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30))
	f.Add([]byte("v=0\r\nm=audio 1 RTP/AVP 0\r\na=rtcp:1 IN IP4 1.2.3.4\r\nc=IN IP6 ::1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSDP(b)
		if err == nil && s.Index >= 0 && !s.Addr.Addr().IsValid() {
			t.Errorf("no address in %q", b)
		}
	})
}

func TestAnswerSDP(t *testing.T) {
	offer, err := ParseSDP([]byte("v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 9 RTP/AVP 96\r\nm=audio 7000 RTP/AVP 0\r\nm=text 8 RTP/AVP 98 99\r\n"))
	must(t, err)
	d := sdpDraft{id: 5, version: 2, addr: netip.MustParseAddr("::1"), port: 4000, codecs: []Codec{PCMA}, dir: RecvOnly, offer: offer}
	got := string(d.bytes())
	for _, want := range []string{"o=- 5 2 IN IP6 ::1\r\n", "m=video 0 RTP/AVP 96\r\n", "m=audio 4000 RTP/AVP 8\r\n", "a=rtpmap:8 PCMA/8000\r\n",
		"m=text 0 RTP/AVP 98 99\r\n", "a=recvonly\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if strings.Index(got, "m=video") > strings.Index(got, "m=audio") || strings.Index(got, "m=text") < strings.Index(got, "m=audio") {
		t.Errorf("streams out of order:\n%s", got)
	}
}

func TestDirections(t *testing.T) {
	tests := []struct{ offer, own, want Direction }{
		{SendRecv, SendRecv, SendRecv}, {SendOnly, SendRecv, RecvOnly}, {RecvOnly, SendRecv, SendOnly}, {Inactive, SendRecv, Inactive},
		{SendRecv, SendOnly, SendOnly}, {SendOnly, SendOnly, Inactive}, {SendRecv, Inactive, Inactive}, {RecvOnly, SendOnly, SendOnly},
	}
	for _, tt := range tests {
		if got := tt.offer.answerTo(tt.own); got != tt.want {
			t.Errorf("offer %s, own %s: %s, want %s", tt.offer, tt.own, got, tt.want)
		}
	}
}

// offerOf is an offer as another phone would send it.
func offerOf(proto, extra string) []byte {
	return []byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 7000 " + proto + " 0\r\n" + extra)
}

func TestMediaRefuses(t *testing.T) {
	crypto := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "\r\n"
	tests := []struct {
		name  string
		srtp  []Suite
		offer []byte
	}{
		{"plain offer to a secure phone", []Suite{AESCM}, offerOf("RTP/AVP", "")},
		{"plain profile with a key", []Suite{AESCM}, offerOf("RTP/AVP", crypto)},
		{"secure offer to a plain phone", nil, offerOf("RTP/SAVP", crypto)},
		{"no key", []Suite{AESCM}, offerOf("RTP/SAVP", "")},
		{"other suite", []Suite{AESGCM}, offerOf("RTP/SAVP", crypto)},
		{"other profile", []Suite{AESCM}, offerOf("RTP/SAVPF", crypto)},
		{"stream switched off", nil, []byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n")},
		{"no common codec", nil, []byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 7000 RTP/AVP 9 18\r\n")},
		{"no audio", nil, []byte("v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 7000 RTP/AVP 0\r\n")},
	}
	for _, tt := range tests {
		cfg, err := Config{Bind: loopback, SRTP: tt.srtp}.withDefaults()
		must(t, err)
		m, err := newMedia(cfg)
		must(t, err)
		if a, err := m.answer(tt.offer); err == nil {
			t.Errorf("%s: answered\n%s", tt.name, a)
		}
		m.offer()
		if err := m.accept(tt.offer); err == nil {
			t.Errorf("%s: accepted as an answer", tt.name)
		}
		m.close()
		m.close()
	}
}

func TestMediaRefusesAnAnswerThatWasNotOffered(t *testing.T) {
	cfg, err := Config{Bind: loopback, SRTP: []Suite{AESGCM, AESCM}}.withDefaults()
	must(t, err)
	m, err := newMedia(cfg)
	must(t, err)
	defer m.close()
	m.offer()
	one := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "\r\n"
	if m.accept(offerOf("RTP/SAVP", one)) == nil {
		t.Error("tag 1 was offered with another suite")
	}
	two := strings.Replace(one, ":1 ", ":2 ", 1)
	if m.accept(offerOf("RTP/SAVP", two+two)) == nil {
		t.Error("two keys in an answer")
	}
	must(t, m.accept(offerOf("RTP/SAVP", two)))
	in := m.in
	must(t, m.accept(offerOf("RTP/SAVP", two)))
	if m.in != in {
		t.Error("the same key made a new SRTP context")
	}
}
