package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of requests that come with a key.
const (
	keyRate     = 50  // requests a second of one key,
	keyBurst    = 100 // and so many at once
	strangeRate = 10  // answers a second to requests without a good key; more get 429
	maxLimiters = 4096
	maxToken    = 256 // bytes
)

// Grant is what a key may do.
type Grant struct {
	ID     string // of the key, for ever
	Name   string // that a person gave it
	Scopes []string
}

// ErrNoKey says that there is no such key, or not any more.
var ErrNoKey = errors.New("no such key")

// Keys finds out what a key may do that a request from an address showed. Any error but ErrNoKey is the program's own fault.
type Keys func(ctx context.Context, token string, from netip.AddrPort) (Grant, error)

// gate lets those requests through to the routes that have a key for them.
type gate struct {
	s       *Server
	keys    Keys
	strange *rate.Limiter

	mu       sync.Mutex
	limiters map[string]*rate.Limiter // by a key's ID
}

// ListenTLS serves those routes that are described (Route), and not Local, to who shows a key for them (RFC 6750 §2.1), until Close. It
// returns the address that it listens on.
func (s *Server) ListenTLS(addr netip.AddrPort, conf *tls.Config, keys Keys) (netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remote != nil {
		return netip.AddrPort{}, errors.New("the API listens already")
	}
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return netip.AddrPort{}, err
	}
	g := &gate{s: s, keys: keys, strange: rate.NewLimiter(strangeRate, strangeRate), limiters: map[string]*rate.Limiter{}}
	s.remote = newHTTP(s.log, g)
	s.remote.TLSConfig = conf
	s.remote.Protocols = new(http.Protocols)
	s.remote.Protocols.SetHTTP1(true)
	s.remoteDone = make(chan struct{})
	go func() {
		defer close(s.remoteDone)
		err := s.remote.ServeTLS(bounded(ln), "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the API failed", "listen", addr.String(), "err", err)
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort(), nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		g.s.fail(w, r, err)
		return
	}
	grant, err := g.keys(r.Context(), bearer(r.Header), from)
	switch {
	case errors.Is(err, ErrNoKey):
		g.strangers(w, r, from)
		return
	case err != nil:
		g.s.fail(w, r, err)
		return
	}
	if !g.limiter(grant.ID).Allow() {
		g.slower(w, r)
		return
	}
	if need, ok := g.s.needs(r); !ok || !grant.allows(need) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="brickhouse", error="insufficient_scope", scope=%q`, strings.Join(need, " ")))
		why := "this key is for other things; it would take " + strings.Join(need, " ")
		if !ok {
			why = "no key is enough for this: ask on the Unix socket"
		}
		g.s.fail(w, r, Errorf(http.StatusForbidden, "%s", why))
		return
	}
	g.s.route(w, r.WithContext(WithCaller(r.Context(), "key "+grant.Name+" ("+grant.ID+")", from.String())))
}

// strangers answers who has no key (RFC 6750 §3).
func (g *gate) strangers(w http.ResponseWriter, r *http.Request, from netip.AddrPort) {
	if !g.strange.Allow() {
		g.slower(w, r)
		return
	}
	challenge, why := `Bearer realm="brickhouse"`, "show a key: Authorization: Bearer KEY"
	if r.Header.Get("Authorization") != "" {
		challenge, why = challenge+`, error="invalid_token"`, "there is no such key, or not any more"
		g.s.log.Warn("the API refused a key", "from", from.String(), slog.String("path", r.URL.Path))
	}
	w.Header().Set("WWW-Authenticate", challenge)
	g.s.fail(w, r, Errorf(http.StatusUnauthorized, "%s", why))
}

func (g *gate) slower(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	g.s.fail(w, r, Errorf(http.StatusTooManyRequests, "too many requests"))
}

func (g *gate) limiter(id string) *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.limiters[id]
	if !ok {
		if len(g.limiters) >= maxLimiters { // of keys that are gone, most of them
			clear(g.limiters)
		}
		l = rate.NewLimiter(keyRate, keyBurst)
		g.limiters[id] = l
	}
	return l
}

// bearer is the token of a request; empty: it has none that could be a key.
func bearer(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) != 1 || len(values[0]) > maxToken {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// needs returns the scopes that a request takes, and whether a key can be enough. What is no route can be asked for by any key: the answer says
// that it is none.
func (s *Server) needs(r *http.Request) ([]string, bool) {
	_, pattern := s.mux.Handler(r)
	if pattern == "" || pattern == documentPattern {
		return nil, true
	}
	s.described.RLock()
	op, ok := s.operations[pattern]
	s.described.RUnlock()
	method, _, _ := strings.Cut(pattern, " ")
	return scopes(op, method), ok && !op.Local
}

// allows reports whether a key has all scopes that are needed. Who may write an area may read it; "read" and "write" are of all areas.
func (g Grant) allows(need []string) bool {
	for _, scope := range need {
		area, verb, _ := strings.Cut(scope, ":")
		enough := []string{scope, verb, area + ":write", "write"}
		if !slices.ContainsFunc(g.Scopes, func(has string) bool { return slices.Contains(enough, has) }) {
			return false
		}
	}
	return true
}

// newHTTP is a server with the bounds of all ours.
func newHTTP(log *slog.Logger, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// end closes a server: requests that run may end until ctx does; streams are cut at once.
func end(ctx context.Context, h *http.Server) {
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := h.Shutdown(short); err != nil { // a stream is open: it would stay for ever
		_ = h.Close()
	}
}
