package banapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func guardPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// other is a key that differs in its first letter.
func other(key string) string {
	if key[0] == 'x' {
		return "y" + key[1:]
	}
	return "x" + key[1:]
}

func TestTokens(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		header http.Header
		want   int
	}{
		"none":            {http.Header{}, 401},
		"X-Api-Key":       {http.Header{"X-Api-Key": {r.keys["read"]}}, 200},
		"bearer":          {http.Header{"Authorization": {"bearer " + r.keys["read"]}}, 200},
		"basic":           {http.Header{"Authorization": {"Basic " + r.keys["read"]}}, 401},
		"no scheme":       {http.Header{"Authorization": {r.keys["read"]}}, 401},
		"wrong":           {http.Header{"X-Api-Key": {other(r.keys["read"])}}, 401},
		"cut":             {http.Header{"X-Api-Key": {r.keys["read"][1:]}}, 401},
		"empty":           {http.Header{"X-Api-Key": {""}}, 401},
		"twice":           {http.Header{"X-Api-Key": {r.keys["read"], r.keys["ban"]}}, 401},
		"both":            {http.Header{"X-Api-Key": {r.keys["read"]}, "Authorization": {"Bearer " + r.keys["read"]}}, 401},
		"the sum, not it": {http.Header{"X-Api-Key": {(*r.server.holders.Load())[1].SHA256}}, 401},
		"long":            {http.Header{"X-Api-Key": {strings.Repeat("x", maxKey+1)}}, 401},
	} {
		q := r.request("", "GET", "/v1/decisions", "")
		q.Header = c.header
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, q)
		if w.Code != c.want || (w.Code == 401) != strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v, want %d", name, w.Code, w.Header(), c.want)
		}
	}
	if r.count["nobody token"] != 10 || r.count["read ok"] != 2 {
		t.Error(r.count)
	}
	if n := strings.Count(r.log.String(), "refused a request"); n != 1 {
		t.Errorf("%d lines tell of ten refusals", n)
	}
	r.move(time.Minute)
	r.do("", "GET", "/v1/decisions", "", 401)
	if n := strings.Count(r.log.String(), "refused a request"); n != 2 {
		t.Errorf("%d lines", n)
	}
}

func TestKeysDiffer(t *testing.T) {
	a, sumA := NewKey()
	b, sumB := NewKey()
	if a == b || sumA == sumB || len(a) != 43 || len(sumA) != 64 {
		t.Error(a, b, sumA, sumB)
	}
}

// A token that may read changes nothing.
func TestScope(t *testing.T) {
	r := newRig(t, nil)
	r.ban("192.0.2.1/32", time.Hour, "api:read")
	r.do("read", "POST", "/v1/alerts", alert("1h", "ip", "192.0.2.9"), 403)
	r.do("read", "DELETE", "/v1/decisions?ip=192.0.2.1", "", 403)
	r.do("read", "DELETE", "/v1/decisions/1", "", 403)
	r.do("read", "POST", "/v1/usage-metrics", "{}", 201) // bouncers send it, and warn if they can't
	if got := r.list(); got != "192.0.2.1/32 api:read 1h0m0s" {
		t.Error(got)
	}
}

// A web page in a browser on this host gets nowhere, whether or not it has a token.
func TestBrowser(t *testing.T) {
	r := newRig(t, nil)
	for name, change := range map[string]func(*http.Request){
		"origin":          func(q *http.Request) { q.Header.Set("Origin", "http://127.0.0.1:8780") },
		"null origin":     func(q *http.Request) { q.Header.Set("Origin", "null") },
		"empty origin":    func(q *http.Request) { q.Header["Origin"] = []string{""} },
		"fetch site":      func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "same-origin") },
		"fetch mode":      func(q *http.Request) { q.Header.Set("Sec-Fetch-Mode", "no-cors") },
		"rebound name":    func(q *http.Request) { q.Host = "evil.example:8780" },
		"likely name":     func(q *http.Request) { q.Host = "localhost.evil.example" },
		"name like it":    func(q *http.Request) { q.Host = "127.0.0.1.evil.example:8780" },
		"no host":         func(q *http.Request) { q.Host = "" },
		"another host":    func(q *http.Request) { q.Host = "192.0.2.1:8780" },
		"anywhere":        func(q *http.Request) { q.Host = "0.0.0.0:8780" },
		"another peer":    func(q *http.Request) { q.RemoteAddr = "192.0.2.1:40000" },
		"peer unknown":    func(q *http.Request) { q.RemoteAddr = "@" },
		"preflight":       func(q *http.Request) { q.Method = "OPTIONS"; q.Header.Set("Origin", "https://evil.example") },
		"health, foreign": func(q *http.Request) { q.URL.Path = "/health"; q.Host = "evil.example" },
	} {
		q := r.request("ban", "POST", "/v1/alerts", alert("1h", "ip", "192.0.2.9"))
		change(q)
		if got := r.send(q, 403); strings.Contains(got, "token") {
			t.Errorf("%s: the token was looked at: %s", name, got)
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:8780", "127.0.0.1", "127.9.9.9:1", "[::1]:8780", "[::1]"} {
		q := r.request("read", "GET", "/v1/decisions", "")
		q.Host = host
		r.send(q, 200)
	}
	if len(r.guard.List()) != 0 {
		t.Error(r.list())
	}
}

func TestForms(t *testing.T) {
	r := newRig(t, nil)
	plain := r.request("ban", "POST", "/v1/alerts", alert("1h", "ip", "192.0.2.9"))
	plain.Header.Set("Content-Type", "text/plain") // what a form in a web page may send
	r.send(plain, 415)
	none := r.request("ban", "POST", "/v1/alerts", alert("1h", "ip", "192.0.2.9"))
	none.Header.Del("Content-Type")
	r.send(none, 415)
	r.do("ban", "POST", "/v1/alerts", "{}", 400)
	r.do("ban", "POST", "/v1/alerts", "["+strings.Repeat(" ", maxBody)+"]", 413)
	r.do("ban", "POST", "/v1/alerts", "[]", 201)
	r.do("ban", "PUT", "/v1/alerts", "[]", 405)
	r.do("ban", "GET", "/v1/alerts", "", 405)
	r.do("ban", "GET", "/v1/watchers", "", 404)
	r.do("ban", "GET", "/", "", 404)
	r.do("", "GET", "/health", "", 200)
	r.do("", "POST", "/health", "{}", 401)
	q := r.request("ban", "POST", "/v1/alerts", "[")
	q.Body = io.NopCloser(io.MultiReader(strings.NewReader("["), failing{}))
	r.send(q, 400)
	if len(r.guard.List()) != 0 {
		t.Error(r.list())
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A token's pace is its own, and decisions count as requests do.
func TestPace(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Tokens[0].Rate = 10 })
	one := `{"duration":"1h","scope":"username","value":"x","type":"ban"}`
	r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+strings.Repeat(one+",", 990)+one+`]}]`, 409) // 992 of 1001
	for range 9 {
		r.do("ban", "GET", "/v1/decisions", "", 200)
	}
	q := r.request("ban", "GET", "/v1/decisions", "")
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, q)
	if w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code, w.Header())
	}
	r.do("read", "GET", "/v1/decisions", "", 200)
	r.move(time.Second)
	r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+strings.Repeat(one+",", 9)+one+`]}]`, 429) // 1 and 10 of 10
	r.do("ban", "POST", "/v1/alerts", `[{"decisions":[`+one+`]}]`, 409)
}

// A handler that panics takes nobody with it.
func TestPanic(t *testing.T) {
	r := newRig(t, nil)
	r.server.guard = nil
	if got := r.do("read", "GET", "/v1/decisions", "", 500); !strings.Contains(got, "internal error") || !strings.Contains(r.log.String(), "panic") {
		t.Error(got)
	}
}

// Over a real socket: the server's own bounds.
func TestListen(t *testing.T) {
	r := newRig(t, nil)
	if err := r.server.Listen(); err != nil {
		t.Fatal(err)
	}
	defer r.server.Close()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(method, path, key string, body io.Reader) (int, []byte) {
		q, err := http.NewRequest(method, "http://"+r.server.Addr().String()+path, body)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("X-Api-Key", key)
		q.Header.Set("Content-Type", "application/json")
		res, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, text
	}
	if code, body := send("POST", "/v1/alerts", r.keys["ban"], strings.NewReader(alert("4h", "ip", "192.0.2.7"))); code != 201 || !json.Valid(body) {
		t.Error(code, string(body))
	}
	if code, body := send("HEAD", "/v1/decisions", r.keys["read"], nil); code != 200 || len(body) != 0 {
		t.Error(code, string(body))
	}
	if code, _ := send("GET", "/v1/decisions", strings.Repeat("x", 2*maxHeader), nil); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(code)
	}
	if code, _ := send("POST", "/v1/alerts", r.keys["ban"], bytes.NewReader(make([]byte, maxBody+1))); code != 413 {
		t.Error(code)
	}
	other := New(Config{Listen: r.server.Addr()}, Options{Guard: r.guard, Log: r.server.log})
	if err := other.Listen(); err == nil || !strings.HasSuffix(err.Error(), "the port is taken; choose another") {
		t.Error(err)
	}
	other.Close()
}
