package sipmsg

import (
	"math"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func challenged(t testing.TB) *sip.Response {
	t.Helper()
	req, err := Parse([]byte("REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received=192.0.2.1;rport=5060\r\n" +
		"From: \"a, b\" <sip:1@example.com>;tag=1\r\nTo: <sip:1@example.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	res := Response(req.(*sip.Request), 401, "", "tag")
	res.AppendHeader(sip.NewHeader("Allow", "INVITE, ACK"))
	for _, alg := range []string{"SHA-256", "MD5"} {
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="a, b", nonce="n", algorithm=`+alg+`, qop="auth"`))
	}
	return res
}

// Fit writes less and less, and what it writes is a response like the first.
func TestFit(t *testing.T) {
	res := challenged(t)
	whole, both := Bytes(res), short(res, false)
	for room, want := range map[int]struct {
		length     int
		challenges string
	}{
		math.MaxInt:    {len(whole), "SHA-256 MD5"},
		len(whole):     {len(whole), "SHA-256 MD5"},
		len(whole) - 1: {len(both), "SHA-256 MD5"},
		len(both):      {len(both), "SHA-256 MD5"},
		len(both) - 1:  {len(short(res, true)), "MD5"},
		0:              {len(short(res, true)), "MD5"},
	} {
		b := Fit(res, room)
		msg, err := Parse(b)
		if err != nil || len(b) != want.length {
			t.Fatalf("room for %d: %v, %d bytes\n%s", room, err, len(b), b)
		}
		var algs []string
		for _, v := range Headers(msg, "WWW-Authenticate") {
			_, alg, _ := strings.Cut(v, "algorithm=")
			alg, _, _ = strings.Cut(alg, ",")
			algs = append(algs, alg)
			if !strings.Contains(v, `realm="a, b"`) {
				t.Errorf("room for %d: %s", room, v)
			}
		}
		if strings.Join(algs, " ") != want.challenges {
			t.Errorf("room for %d: challenges %v", room, algs)
		}
		got := msg.(*sip.Response)
		if got.StatusCode != 401 || got.CallID().Value() != "1" || got.CSeq().MethodName != sip.REGISTER || got.From().DisplayName != "a, b" ||
			got.Via().Params.String() == "" || got.To().Value() != res.To().Value() {
			t.Errorf("room for %d:\n%s", room, b)
		}
	}
}

// FuzzFit: the short form of an answer to anything that we parse is parsed as the same answer.
func FuzzFit(f *testing.F) {
	f.Add(Bytes(challenged(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := Parse(data)
		if err != nil {
			return
		}
		req, ok := msg.(*sip.Request)
		if !ok {
			return
		}
		whole, err := Parse(Bytes(Response(req, 400, "", "tag")))
		if err != nil {
			return
		}
		b := Fit(whole.(*sip.Response), 0)
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
			if x, y := Headers(whole, name), Headers(again, name); strings.Join(x, "\n") != strings.Join(y, "\n") {
				t.Errorf("%s: %q, short %q", name, x, y)
			}
		}
	})
}
