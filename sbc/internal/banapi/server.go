package banapi

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"brickhouse/sbc/internal/guard"
)

// Bounds of the server.
const (
	maxHeader      = 8 << 10 // bytes
	maxConnections = 64
	readTimeout    = 10 * time.Second // a whole request
	writeTimeout   = 60 * time.Second // from its header to the end of its answer
	idleTimeout    = time.Minute
	drainTimeout   = 2 * time.Second // what Close gives to requests that run
)

// The reasons of refusals, as log and metrics know them.
const (
	reasonBrowser = "browser"  // marks of a web page, or a host name that is not the loopback's
	reasonKey     = "token"    // missing, twice, or unknown
	reasonScope   = "scope"    // the token may only read
	reasonForeign = "foreign"  // a ban that the token did not make
	reasonPace    = "rate"     // too many requests or decisions
	reasonForm    = "form"     // not understood
	reasonSize    = "size"     // too large
	reasonPath    = "path"     // no such route
	reasonRefused = "decision" // at least one decision was refused
	reasonFault   = "fault"    // ours
	resultOK      = "ok"       // no refusal
	nobody        = "nobody"   // name in the metrics when no token was known
	refusalPause  = 10         // seconds between two log lines on one reason
)

// Options are what the endpoint needs beside its configuration.
type Options struct {
	Guard *guard.Guard
	Log   *slog.Logger
	Clock func() time.Time           // nil: time.Now
	Count func(token, result string) // counts answers: token is a name of the configuration or "nobody", result "ok" or why it was refused; nil: nobody counts
}

// Server is the endpoint. It may be used from any goroutine.
type Server struct {
	guard *guard.Guard
	log   *slog.Logger
	now   func() time.Time
	count func(token, result string)
	seed  maphash.Seed
	mux   *http.ServeMux
	quiet map[string]*rate.Limiter // pace of the log lines on refusals; never changed

	holders atomic.Pointer[[]*holder] // replaced by Reload

	mu    sync.Mutex
	snap  *snapshot
	dirty bool // we changed something since

	alerts atomic.Uint64 // those that were taken

	listen netip.AddrPort
	http   *http.Server
	done   chan struct{} // closed when serving ended
}

// New makes an endpoint that listens nowhere yet. The configuration has been validated.
func New(cfg Config, o Options) *Server {
	s := &Server{
		guard: o.Guard, log: o.Log, now: o.Clock, count: o.Count, seed: maphash.MakeSeed(),
		snap: &snapshot{}, dirty: true, listen: cfg.Listen, quiet: map[string]*rate.Limiter{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.count == nil {
		s.count = func(string, string) {}
	}
	for _, reason := range []string{reasonBrowser, reasonKey, reasonScope, reasonForeign, reasonPace, reasonForm, reasonSize, reasonPath, reasonRefused} {
		s.quiet[reason] = rate.NewLimiter(rate.Every(refusalPause*time.Second), 1)
	}
	list := newHolders(cfg.Tokens, nil)
	s.holders.Store(&list)
	s.mux = s.routes()
	return s
}

// badListen is an address that can't be listened on.
type badListen struct {
	addr netip.AddrPort
	err  error
}

func (e *badListen) Error() string {
	if errors.Is(e.err, syscall.EADDRINUSE) {
		return fmt.Sprintf("ban_api.listen: %v: the port is taken; choose another", e.addr)
	}
	return fmt.Sprintf("ban_api.listen: %v: %v; choose a loopback address and a free port", e.addr, e.err)
}

func (e *badListen) Unwrap() error  { return e.err }
func (e *badListen) BadInput() bool { return true }

// Listen binds the endpoint's address and serves in the background until Close.
func (s *Server) Listen() error {
	ln, err := net.Listen("tcp", s.listen.String())
	if err != nil {
		if oe, ok := errors.AsType[*net.OpError](err); ok {
			err = oe.Err
		}
		return &badListen{s.listen, err}
	}
	s.http = &http.Server{
		Handler: s, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.listen, s.done = ln.Addr().(*net.TCPAddr).AddrPort(), make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.http.Serve(netutil.LimitListener(ln, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("ban endpoint failed", "listen", s.listen, "error", err)
		}
	}()
	s.log.Info("other tools may ban", "listen", s.listen, "tokens", len(*s.holders.Load()))
	return nil
}

// Addr is where the endpoint listens.
func (s *Server) Addr() netip.AddrPort { return s.listen }

// Reload takes new tokens over; those that are gone are refused from now on.
func (s *Server) Reload(cfg Config) {
	list := newHolders(cfg.Tokens, *s.holders.Load())
	s.holders.Store(&list)
}

// Close ends the endpoint. Requests that run may end for a moment.
func (s *Server) Close() {
	if s.http == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
}

// ServeHTTP answers one request: who asks, from where and how often comes before what is asked.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := nobody
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic in the ban endpoint", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.fail(w, name, refuse(http.StatusInternalServerError, reasonFault, "internal error; see the border's log"))
		}
	}()
	if p := local(r); p != nil {
		s.fail(w, name, p)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.URL.Path == "/health" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		writeJSON(w, http.StatusOK, kindJSON, map[string]string{"status": "up"})
		return
	}
	key, ok := keyOf(r.Header)
	var h *holder
	if ok {
		h = find(*s.holders.Load(), key)
	}
	if h == nil {
		s.fail(w, name, refuse(http.StatusUnauthorized, reasonKey, "no valid token; send it as X-Api-Key"))
		return
	}
	name = h.Name
	if err := s.serve(w, r, h); err != nil {
		s.fail(w, name, err)
		return
	}
	s.count(name, resultOK)
}

// serve answers a request of a known token.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, h *holder) error {
	if !h.pace.AllowN(s.now(), 1) {
		return refuse(http.StatusTooManyRequests, reasonPace, "more than %d requests and decisions per second", h.Rate)
	}
	route, pattern := s.mux.Handler(r)
	if pattern == "" {
		probe := &probe{header: http.Header{}}
		route.ServeHTTP(probe, r)
		if allow := probe.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			return refuse(http.StatusMethodNotAllowed, reasonPath, "%.10q is not allowed here; use %s", r.Method, allow)
		}
		return refuse(http.StatusNotFound, reasonPath, "no such path")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && h.Scope != ScopeBan && !strings.HasSuffix(pattern, pathUsage) {
		return refuse(http.StatusForbidden, reasonScope, "token %s may only read", h.Name)
	}
	var err error
	s.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callKey{}, &call{h, &err})))
	return err
}

// call is what a handler gets beside the request.
type call struct {
	holder *holder
	err    *error // set by the handler that has not answered
}

type callKey struct{}

// probe keeps the header of an answer and forgets the rest.
type probe struct{ header http.Header }

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(int)             {}

// local refuses what does not come from a program on this host: a peer that is not on the loopback, a web page in a browser, and
// a name that somebody made point to the loopback address (DNS rebinding).
func local(r *http.Request) *problem {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return refuse(http.StatusForbidden, reasonBrowser, "only programs on this host are served")
	}
	for _, h := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"} {
		if _, ok := r.Header[h]; ok {
			return refuse(http.StatusForbidden, reasonBrowser, "web pages are not served: the request has %s", h)
		}
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if !strings.EqualFold(host, "localhost") && (err != nil || !addr.IsLoopback()) {
		return refuse(http.StatusForbidden, reasonBrowser, "the host must be localhost or a loopback address")
	}
	return nil
}

// fail answers with a problem, counts it and now and then logs it.
func (s *Server) fail(w http.ResponseWriter, name string, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		s.log.Error("ban endpoint", "token", name, "error", err)
		p = refuse(http.StatusInternalServerError, reasonFault, "%v", err)
	}
	s.count(name, p.reason)
	if l := s.quiet[p.reason]; l != nil && l.AllowN(s.now(), 1) {
		s.log.Warn("ban endpoint refused a request", "token", name, "reason", p.reason, "detail", p.Detail)
	}
	p.write(w)
}
