package banapi

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
)

// rig is an endpoint before a guard in user space. Its clock stands until it is moved.
type rig struct {
	*testing.T
	guard  *guard.Guard
	server *Server
	keys   map[string]string // by the token's name
	log    strings.Builder

	mu    sync.Mutex
	at    time.Time
	count map[string]int // "token result"
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := openRig(t, change)
	r.T = t
	return r
}

// openRig makes a rig that lives as long as t.
func openRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{keys: map[string]string{}, at: time.Now(), count: map[string]int{}}
	log := slog.New(slog.NewTextHandler(&r.log, nil))
	cfg := guard.Default()
	cfg.XDP.Mode, cfg.MaxBans = guard.XDPOff, 5000
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	g, err := guard.Open(cfg, guard.Options{Dir: t.TempDir(), Clock: r.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	c := Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}
	for _, scope := range []Scope{ScopeBan, ScopeRead} {
		c.Tokens = append(c.Tokens, r.token(string(scope), scope))
	}
	if change != nil {
		change(&c)
	}
	r.guard = g
	r.server = New(c, Options{Guard: g, Log: log, Clock: r.now, Count: r.counted})
	return r
}

func (r *rig) token(name string, scope Scope) Token {
	var tok Token
	tok.SetDefaults()
	tok.Name, tok.Scope = name, scope
	r.keys[name], tok.SHA256 = NewKey()
	return tok
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *rig) move(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.at.Add(d)
}

func (r *rig) counted(token, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[token+" "+result]++
}

// request makes a request as a tool on this host sends it, with the token of that name.
func (r *rig) request(token, method, path, body string) *http.Request {
	q := httptest.NewRequest(method, "http://127.0.0.1:8780"+path, strings.NewReader(body))
	q.RemoteAddr = "127.0.0.1:40000"
	if token != "" {
		q.Header.Set("X-Api-Key", r.keys[token])
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	return q
}

// send sends a request, holds its status and returns the body.
func (r *rig) send(q *http.Request, want int) string {
	r.Helper()
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, q)
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != want {
		r.Errorf("%s %s: %d, want %d: %s", q.Method, q.URL, w.Code, want, body)
	}
	kind := w.Header().Get("Content-Type")
	if problem := w.Code >= 400; problem != (kind == "application/problem+json") || !json.Valid(body) && q.Method != "HEAD" {
		r.Errorf("%s %s: %d with %s: %s", q.Method, q.URL, w.Code, kind, body)
	}
	return string(body)
}

func (r *rig) do(token, method, path, body string, want int) string {
	r.Helper()
	return r.send(r.request(token, method, path, body), want)
}

// decisions asks for decisions, and returns their values.
func (r *rig) decisions(query string) string {
	r.Helper()
	var list []Decision
	if err := json.Unmarshal([]byte(r.do("read", "GET", "/v1/decisions"+query, "", 200)), &list); err != nil {
		r.Error(err)
	}
	return values(list)
}

func values(list []Decision) string {
	var out []string
	for _, d := range list {
		out = append(out, d.Value)
	}
	return strings.Join(out, " ")
}

// poll asks for the stream, and returns the values of what is new and what has ended.
func (r *rig) poll(token, query string) string {
	r.Helper()
	var s struct{ New, Deleted []Decision }
	if err := json.Unmarshal([]byte(r.do(token, "GET", "/v1/decisions/stream"+query, "", 200)), &s); err != nil {
		r.Error(err)
	}
	return "+" + values(s.New) + " -" + values(s.Deleted)
}

// alert is a list of one alert with one decision.
func alert(duration, scope, value string) string {
	return fmt.Sprintf(`[{"scenario":"ssh-bf","decisions":[{"duration":%q,"scope":%q,"value":%q,"type":"ban","origin":"x","uuid":"y"}],"events":[{"meta":[]}]}]`,
		duration, scope, value)
}

func (r *rig) ban(prefix string, length time.Duration, by string) {
	r.Helper()
	if err := r.guard.Ban(netip.MustParsePrefix(prefix), length, by, "note of "+by); err != nil {
		r.Error(err)
	}
}

// list is the guard's view: "prefix by left".
func (r *rig) list() string {
	var out []string
	for _, b := range r.guard.List() {
		left := "forever"
		if d := b.Left(r.now()); d != guard.Forever {
			left = d.Round(time.Second).String()
		}
		out = append(out, fmt.Sprintf("%s %s %s", b.Prefix, b.By, left))
	}
	return strings.Join(out, ", ")
}
