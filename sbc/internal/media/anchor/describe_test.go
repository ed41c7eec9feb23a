package anchor

import (
	"strings"
	"testing"

	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

func TestExactDescriptions(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Require, true), end(Never, false), Events{})
	defer s.Close()
	offer := mustOffer(t, s, A, savp("b=AS:64", "a=rtcp-mux", "a=ptime:20", "a=rtpmap:0 PCMU/8000", "a=candidate:1 1 UDP 1 10.9.8.7 9 typ host",
		"a=ssrc:1 cname:bob", "a=extmap:1 urn:x", "a=fmtp:0 x=1", lineCM))
	d := parse(t, offer)
	want := strings.Join([]string{"v=0", "o=- ID IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio PORT RTP/AVP 0",
		"a=rtpmap:0 PCMU/8000", "a=fmtp:0 x=1", "a=ptime:20", "a=sendrecv", ""}, "\r\n")
	if got := normal(offer, d); got != want {
		t.Errorf("offer:\n%s\nwant\n%s", got, want)
	}
	answer := mustAnswer(t, s, B, avp("a=rtpmap:0 PCMU/8000", "a=rtcp:9999"))
	d = parse(t, answer)
	want = strings.Join([]string{"v=0", "o=- ID IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio PORT RTP/SAVP 0",
		"a=rtpmap:0 PCMU/8000", "a=rtcp-mux", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 " + d.Media[0].Crypto[0].KeyParams, "a=sendrecv", ""}, "\r\n")
	if got := normal(answer, d); got != want {
		t.Errorf("answer:\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(string(answer), keyCM) {
		t.Error("the phone's key comes back")
	}
}

// normal replaces what is drawn anew for each call.
func normal(b []byte, d *sdp.Session) string {
	lines := strings.Split(string(b), "\r\n")
	for i, l := range lines {
		f := strings.Split(l, " ")
		switch {
		case strings.HasPrefix(l, "o="):
			lines[i] = "o=- ID " + strings.Join(f[3:], " ")
		case strings.HasPrefix(l, "m=audio"):
			lines[i] = "m=audio PORT " + strings.Join(f[2:], " ")
		}
	}
	return strings.Join(lines, "\r\n")
}

func TestOtherMediaAreRefusedInPlace(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Require, true), end(Never, false), Events{})
	defer s.Close()
	three := body("m=video 5000 RTP/SAVP 96", "a=rtpmap:96 VP8/90000", "m=audio 4000 RTP/SAVP 0", lineCM, "m=image 6000 udptl t38")
	offer := parse(t, mustOffer(t, s, A, three))
	if len(offer.Media) != 1 || offer.Media[0].Type != "audio" {
		t.Errorf("offered on: %+v", offer.Media)
	}
	answer := parse(t, mustAnswer(t, s, B, avp()))
	if got := shape(answer); got != "video:0 audio:+ image:0" {
		t.Errorf("answered %s", got)
	}
	if answer.Media[2].Proto != "udptl" || answer.Media[2].Formats[0] != "t38" {
		t.Errorf("%+v", answer.Media[2])
	}
	// The other side re-offers: the phone must see as many lines as before (RFC 3264 §8).
	offer = parse(t, mustOffer(t, s, B, avp("a=sendonly")))
	if got := shape(offer); got != "video:0 audio:+ image:0" {
		t.Errorf("re-offered %s", got)
	}
	if _, err := s.Answer(A, savp(lineCM)); err == nil {
		t.Error("an answer with one line of three")
	}
	// And when that side adds a line, its answer has it.
	mustOffer(t, s, B, avp("m=video 7000 RTP/AVP 96", "a=rtpmap:96 VP8/90000"))
	answer = parse(t, mustAnswer(t, s, A, body("m=video 0 RTP/SAVP 96", "m=audio 4000 RTP/SAVP 0", lineCM, "m=image 0 udptl t38")))
	if got := shape(answer); got != "audio:+ video:0" {
		t.Errorf("answered %s", got)
	}
	_, err := s.Offer(B, avp())
	wantError(t, err, 488, verdict.NoCommonMedia)
}

func shape(d *sdp.Session) string {
	var words []string
	for _, m := range d.Media {
		port := ":0"
		if m.Port != 0 {
			port = ":+"
		}
		words = append(words, m.Type+port)
	}
	return strings.Join(words, " ")
}

func TestVersionMovesWithTheContent(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Never, false), end(Never, false), Events{})
	defer s.Close()
	first := parse(t, mustOffer(t, s, A, avp())).Origin
	same := parse(t, mustOffer(t, s, A, avp())).Origin
	mustAnswer(t, s, B, avp())
	hold := parse(t, mustOffer(t, s, A, avp("a=sendonly"))).Origin
	mustAnswer(t, s, B, avp("a=recvonly"))
	resume := parse(t, mustOffer(t, s, A, avp())).Origin
	if first.ID == 0 || first.ID != first.Version || same != first || hold.ID != first.ID || hold.Version != first.Version+1 || resume.Version != first.Version+2 {
		t.Errorf("%v %v %v %v", first, same, hold, resume)
	}
}

func TestDirectionsOfAnswers(t *testing.T) {
	a := policyAnchor(t)
	for _, c := range []struct{ offer, answer, want string }{
		{"sendrecv", "sendrecv", "sendrecv"}, {"sendrecv", "sendonly", "sendonly"}, {"sendrecv", "inactive", "inactive"},
		{"sendonly", "recvonly", "recvonly"}, {"sendonly", "sendrecv", "recvonly"}, {"sendonly", "sendonly", "inactive"},
		{"recvonly", "sendrecv", "sendonly"}, {"inactive", "sendrecv", "inactive"},
	} {
		s := a.Open("x", end(Never, false), end(Never, false), Events{})
		mustOffer(t, s, A, avp("a="+c.offer))
		if got := parse(t, mustAnswer(t, s, B, avp("a="+c.answer))).Media[0].Direction.String(); got != c.want {
			t.Errorf("%s answered %s became %s", c.offer, c.answer, got)
		}
		s.Close()
	}
}

func TestFormatsThatPass(t *testing.T) {
	for in, want := range map[string]string{
		"0 8 101":        "0 8 101",
		"0 0 8":          "0 8",
		"96 97 0":        "96 0", // 97 has no rtpmap
		"72 0 200 x 00":  "0",
		"101":            "",
		"13 101":         "",
		"18 13":          "18 13",
		"0 101 96 96 72": "0 101 96",
	} {
		d := parse(t, body("m=audio 4000 RTP/AVP "+in, "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000"))
		if got := strings.Join(voiceFormats(&d.Media[0]), " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestRefusedAudioIsPassedOn(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Require, true), end(Never, false), Events{})
	defer s.Close()
	mustOffer(t, s, A, savp(lineCM))
	refused := mustAnswer(t, s, B, body("m=audio 0 RTP/AVP 0"))
	if got := parse(t, refused); got.Media[0].Port != 0 || strings.Contains(string(refused), "crypto") || !s.Stats().OnHold {
		t.Errorf("%s", refused)
	}
	mustOffer(t, s, A, savp(lineCM))
	if got := parse(t, mustAnswer(t, s, B, avp())); got.Media[0].Port == 0 || s.Stats().OnHold {
		t.Error("the call does not come back")
	}
	mustOffer(t, s, A, savp(lineCM))
	mustAnswer(t, s, B, body("m=audio 0 RTP/AVP 0"))
	if !s.Stats().OnHold || !s.legs[A].end.Muted {
		t.Error("media go on after a refusal")
	}
}

func TestProfileStays(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", end(Require, true), end(Never, false), Events{})
	defer s.Close()
	mustOffer(t, s, A, body("m=audio 4000 RTP/SAVPF 0", "a=rtcp-mux", lineCM))
	if m := parse(t, mustAnswer(t, s, B, avp())).Media[0]; m.Proto != "RTP/SAVPF" || !m.RTCPMux {
		t.Errorf("%+v", m)
	}
	offer := parse(t, mustOffer(t, s, B, avp())).Media[0]
	if offer.Proto != "RTP/SAVPF" || !offer.RTCPMux {
		t.Errorf("%+v", offer)
	}
	mustAnswer(t, s, A, body("m=audio 4000 RTP/SAVPF 0", lineCM)) // without mux: it ends
	if m := parse(t, mustOffer(t, s, B, avp())).Media[0]; m.RTCPMux {
		t.Error("mux goes on though it was not answered")
	}
}

func TestMuxIsNotAnsweredInside(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", inside(), end(Require, true), Events{})
	defer s.Close()
	if m := parse(t, mustOffer(t, s, A, avp("a=rtcp-mux"))).Media[0]; m.RTCPMux {
		t.Error("mux is offered")
	}
	if m := parse(t, mustAnswer(t, s, B, savp("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:"+keyCM))).Media[0]; m.RTCPMux {
		t.Error("mux is answered inside")
	}
}

func TestAnswerWithoutOffer(t *testing.T) {
	a := policyAnchor(t)
	s := a.Open("x", inside(), end(Require, true), Events{})
	defer s.Close()
	_, err := s.Answer(B, avp())
	wantError(t, err, 400, verdict.BadBody)
	mustOffer(t, s, A, avp())
	_, err = s.Answer(A, avp())
	wantError(t, err, 400, verdict.BadBody)
	_, err = s.Offer(A, []byte("garbage"))
	wantError(t, err, 400, verdict.BadBody)
	if s.ID() != "x" || A.String() != "a" || B.String() != "b" || A.Other() != B {
		t.Error("names")
	}
	if got := (&Error{488, verdict.NoCommonMedia, "why"}).Error(); got != "488 no-common-media: why" {
		t.Error(got)
	}
}
