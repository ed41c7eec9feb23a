package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"brickhouse/shared/verdict"
)

// wsRequest is the example of RFC 6455 §1.3, for SIP (RFC 7118 §6).
const wsRequest = "GET /ws HTTP/1.1\r\nHost: proxy.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://www.example.com\r\nSec-WebSocket-Protocol: sip\r\n" +
	"Sec-WebSocket-Version: 13\r\n\r\n"

func TestUpgradeIsJudged(t *testing.T) {
	const from = "Origin: https://www.example.com\r\n"
	origin := func(s string) []string { return []string{from, s} }
	for name, c := range map[string]struct {
		edit []string // old, new
		code int      // 0: accepted
		why  verdict.Reason
	}{
		"the example":          {nil, 0, ""},
		"a query":              {[]string{"/ws ", "/ws?x=y "}, 0, ""},
		"several protocols":    {[]string{"Protocol: sip", "Protocol: xmpp, sip"}, 0, ""},
		"other case":           {[]string{"websocket", "WebSocket", "Upgrade\r\n", "upgrade\r\n"}, 0, ""},
		"no browser":           {origin(""), 0, ""},
		"a page of a port":     {origin("Origin: https://app.example.com:8443\r\n"), 0, ""},
		"upper case":           {origin("Origin: HTTPS://WWW.Example.com\r\n"), 0, ""},
		"another page":         {origin("Origin: https://evil.example\r\n"), 403, verdict.OriginRefused},
		"same host, plain":     {origin("Origin: http://www.example.com\r\n"), 403, verdict.OriginRefused},
		"same host, a port":    {origin("Origin: https://www.example.com:444\r\n"), 403, verdict.OriginRefused},
		"longer name":          {origin("Origin: https://www.example.com.evil.example\r\n"), 403, verdict.OriginRefused},
		"a sandbox":            {origin("Origin: null\r\n"), 403, verdict.OriginRefused},
		"empty origin":         {origin("Origin: \r\n"), 403, verdict.OriginRefused},
		"two origins":          {origin(from + from), 403, verdict.OriginRefused},
		"no protocol":          {[]string{"Sec-WebSocket-Protocol: sip\r\n", ""}, 400, verdict.UpgradeFailed},
		"another protocol":     {[]string{"Protocol: sip", "Protocol: sipx"}, 400, verdict.UpgradeFailed},
		"another path":         {[]string{"/ws ", "/ "}, 404, verdict.UpgradeFailed},
		"POST":                 {[]string{"GET", "POST"}, 405, verdict.UpgradeFailed},
		"HTTP/1.0":             {[]string{"HTTP/1.1", "HTTP/1.0"}, 400, verdict.UpgradeFailed},
		"no host":              {[]string{"Host: proxy.example.com\r\n", ""}, 400, verdict.UpgradeFailed},
		"a body":               {[]string{"Host:", "Content-Length: 3\r\nHost:"}, 400, verdict.UpgradeFailed},
		"a chunked body":       {[]string{"Host:", "Transfer-Encoding: chunked\r\nHost:"}, 400, verdict.UpgradeFailed},
		"a browser's visit":    {[]string{"Upgrade: websocket\r\n", ""}, 426, verdict.UpgradeFailed},
		"no upgrade":           {[]string{"keep-alive, Upgrade", "keep-alive"}, 426, verdict.UpgradeFailed},
		"old version":          {[]string{"Version: 13", "Version: 8"}, 426, verdict.UpgradeFailed},
		"short key":            {[]string{"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="}, 400, verdict.UpgradeFailed},
		"key that is none":     {[]string{"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ*="}, 400, verdict.UpgradeFailed},
		"two keys":             {[]string{"Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key:"}, 400, verdict.UpgradeFailed},
		"no HTTP":              {[]string{wsRequest, wsOPTIONS}, 400, verdict.UpgradeFailed},
		"header without colon": {[]string{"Host:", "x\r\nHost:"}, 400, verdict.UpgradeFailed},
	} {
		w := WebSocket{Path: "/ws", Origins: []string{"https://www.example.com", "https://app.example.com:8443"}}
		accept, err := w.judge([]byte(strings.NewReplacer(c.edit...).Replace(wsRequest)))
		var bad *upgradeError
		switch {
		case c.code == 0 && (err != nil || accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="):
			t.Errorf("%s: %q, %v", name, accept, err)
		case c.code != 0 && (!errors.As(err, &bad) || bad.code != c.code || bad.why != c.why):
			t.Errorf("%s: %v, want %d %s", name, err, c.code, c.why)
		}
	}
	anybody := WebSocket{Path: "/ws", Origins: []string{"*"}}
	if _, err := anybody.judge([]byte(strings.Replace(wsRequest, "https://www.example.com", "null", 1))); err != nil {
		t.Errorf("*: %v", err)
	}
}

func TestReadHead(t *testing.T) {
	for _, slow := range []bool{false, true} {
		from := io.Reader(strings.NewReader(wsRequest + "rest"))
		if slow {
			from = iotest.OneByteReader(from)
		}
		head, rest, err := readHead(from)
		if err != nil || string(head) != wsRequest || !slow && string(rest) != "rest" {
			t.Errorf("%q, %q, %v", head, rest, err)
		}
	}
	_, _, err := readHead(io.MultiReader(strings.NewReader("GET / HTTP/1.1\r\n"), endless{}))
	var bad *upgradeError
	if !errors.As(err, &bad) || bad.code != 431 {
		t.Errorf("no end: %v", err)
	}
	if _, _, err := readHead(strings.NewReader("GET")); !errors.Is(err, io.EOF) {
		t.Errorf("cut: %v", err)
	}
}

// endless is a header that never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, bytes.Repeat([]byte("x"), len(b))), nil }

func TestCheckOrigin(t *testing.T) {
	for s, ok := range map[string]bool{
		"https://a.example": true, "https://a.example:8443": true, "http://127.0.0.1:8080": true, "*": true, "https://[2001:db8::1]": true,
		"": false, "a.example": false, "https://a.example/": false, "https://a.example/x": false, "https://": false, "https://:443": false,
		"wss://a.example": false, "https://u@a.example": false, "null": false, "https://*.example": false,
	} {
		if err := CheckOrigin(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// FuzzUpgrade: a request is accepted or refused with a code, and never more than that.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(wsRequest))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, rest, err := readHead(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(head) > maxUpgrade || len(head)+len(rest) > len(data) {
			t.Fatalf("%d and %d bytes of %d", len(head), len(rest), len(data))
		}
		w := WebSocket{Path: "/ws", Origins: []string{"https://www.example.com"}}
		accept, err := w.judge(head)
		var bad *upgradeError
		if (err == nil) != (len(accept) == 28) || err != nil && (!errors.As(err, &bad) || bad.code < 400 || bad.code > 499) {
			t.Errorf("%q, %v", accept, err)
		}
	})
}
