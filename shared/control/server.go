// Package control is the local administration of a running program: JSON over HTTP/1.1 on a Unix socket that only its
// owner may open (mode 0600). The server belongs to the program, the Client to its commands.
//
// Handlers return a value or an error; the server turns either into JSON. Streams send one JSON value a line (ndjson)
// until the caller goes away. Requests, their number and the time that each may take are bounded. Who calls is known
// from the kernel (SO_PEERCRED) and handed to the handlers as Caller, for the audit's sake.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// Bounds of the server.
const (
	MaxBody        = 1 << 20 // bytes of a request's body
	maxHeader      = 16 << 10
	maxConnections = 64
	readTimeout    = 10 * time.Second // a whole request
	writeTimeout   = 30 * time.Second // an answer; each line of a stream
	idleTimeout    = time.Minute
)

// Error is an error that a handler gives an HTTP status; any other error is answered with 500. The text reaches the caller.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// BadInput reports whether the caller is at fault: its command ends with status 2.
func (e *Error) BadInput() bool { return e.Status >= 400 && e.Status < 500 }

// Errorf returns an Error with a formatted message.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Handler answers one request with a value that becomes JSON; nil becomes an empty object.
type Handler func(r *http.Request) (any, error)

// Stream answers one request with any number of values, whose first key must not be "error": that marks the end by an error.
type Stream func(r *http.Request, send func(any) error) error

// Server holds the routes and, once it listens, the socket.
type Server struct {
	log  *slog.Logger
	mux  *http.ServeMux
	http *http.Server
	// How large a body may be that is no JSON: an int64 by pattern. Requests are answered while routes are still added.
	uploads sync.Map

	mu     sync.Mutex
	socket *socket
	done   chan struct{} // closed when serving ended; made by Listen
}

// NewServer returns a server without routes.
func NewServer(log *slog.Logger) *Server {
	s := &Server{log: log, mux: http.NewServeMux()}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.route),
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withCaller,
	}
	return s
}

// Handle adds a route; pattern is that of http.ServeMux with its method, as "GET /v1/bans/{address}". Routes may be
// added while the server listens.
func (s *Server) Handle(pattern string, h Handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := h(r)
		if _, ok := s.uploads.Load(pattern); ok { // reading the file may have taken long
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only for what is no connection
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if v == nil {
			v = struct{}{}
		}
		body, err := json.Marshal(v)
		if err != nil {
			s.fail(w, r, fmt.Errorf("encoding the answer: %w", err))
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// HandleUpload is Handle for a request whose body is a file of at most limit bytes, and not JSON. It may take as long as it likes, as long
// as some of it comes: the limit of a request's time holds for each part.
func (s *Server) HandleUpload(pattern string, limit int64, h Handler) {
	s.uploads.Store(pattern, limit)
	s.Handle(pattern, h)
}

// Stream adds a route that answers with ndjson.
func (s *Server) Stream(pattern string, h Stream) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		started := false
		start := func() {
			if !started {
				started = true
				w.Header().Set("Content-Type", "application/x-ndjson")
				w.WriteHeader(http.StatusOK)
			}
		}
		send := func(v any) error {
			line, err := json.Marshal(v)
			if err != nil {
				return fmt.Errorf("encoding: %w", err)
			}
			start()
			if err := rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			return rc.Flush()
		}
		// The caller hears at once that the stream stands, even if nothing happens for hours.
		// An error before the first line is still answered with its status.
		ready := func() error { start(); return rc.Flush() }
		err := h(r.WithContext(context.WithValue(r.Context(), readyKey{}, ready)), send)
		switch {
		case err == nil || r.Context().Err() != nil:
		case !started:
			s.fail(w, r, err)
		default:
			_ = send(map[string]string{"error": s.public(r, err)})
		}
	})
}

type readyKey struct{}

// Ready tells the caller of a Stream that its watch stands, before there is anything to send.
func Ready(r *http.Request) error {
	if f, ok := r.Context().Value(readyKey{}).(func() error); ok {
		return f()
	}
	return nil
}

// HandleHTTP adds a route of plain HTTP, as for metrics.
func (s *Server) HandleHTTP(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// route finds the handler; what the mux would answer itself (404, 405) becomes JSON.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in an admin handler", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.fail(w, r, errInternal)
		}
	}()
	h, pattern := s.mux.Handler(r)
	limit := int64(MaxBody)
	if most, ok := s.uploads.Load(pattern); ok {
		limit = most.(int64)
		r.Body = &upload{r.Body, http.NewResponseController(w)}
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if pattern != "" {
		s.mux.ServeHTTP(w, r) // not h: the mux fills in the path's values
		return
	}
	probe := &statusOnly{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		s.fail(w, r, Errorf(http.StatusMethodNotAllowed, "%s is not allowed here; use %s", r.Method, allow))
		return
	}
	s.fail(w, r, Errorf(http.StatusNotFound, "no such path; the program and its command may be of different versions"))
}

// upload is a body whose parts each have a deadline of their own.
type upload struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (u *upload) Read(p []byte) (int, error) {
	if err := u.rc.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return u.ReadCloser.Read(p)
}

// statusOnly keeps the header of an answer and forgets its body.
type statusOnly struct{ header http.Header }

func (p *statusOnly) Header() http.Header         { return p.header }
func (p *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
func (p *statusOnly) WriteHeader(int)             {}

var errInternal = errors.New("internal error; see the program's log")

// fail answers with {"error": ...}.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var e *Error
	if errors.As(err, &e) && e.Status >= 400 {
		status = e.Status
	}
	body, merr := json.Marshal(map[string]string{"error": s.public(r, err)})
	if merr != nil { // a map of strings always marshals
		body = []byte(`{"error":"internal error"}`)
	}
	writeJSON(w, status, body)
}

// public is the text of err for the caller; what the caller did not cause is logged.
func (s *Server) public(r *http.Request, err error) string {
	var e *Error
	if !errors.As(err, &e) {
		s.log.Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	return err.Error()
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone; there is nobody else to tell
}

// Decode reads the JSON body of a request strictly: unknown keys, a second value and more than MaxBody are errors of
// status 400.
func Decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return Errorf(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", MaxBody)
		case errors.Is(err, io.EOF):
			return Errorf(http.StatusBadRequest, "the request has no body")
		}
		return Errorf(http.StatusBadRequest, "the request is not as expected: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(http.StatusBadRequest, "the request holds more than one value")
	}
	return nil
}

// Listen creates the socket at path and serves in the background until Close.
func (s *Server) Listen(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket != nil {
		return fmt.Errorf("listening on %s: the server listens already", path)
	}
	sock, err := listen(path)
	if err != nil {
		return err
	}
	s.socket, s.done = sock, make(chan struct{})
	go func() {
		defer close(s.done)
		ln := &limited{Listener: sock.listener, slots: make(chan struct{}, maxConnections), closed: make(chan struct{})}
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin socket failed", "path", path, "err", err)
		}
	}()
	return nil
}

// Close ends the server and removes the socket. Requests that run may end until ctx does; streams are cut at once.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.socket == nil {
		return nil
	}
	s.socket.remove()
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.http.Shutdown(short); err != nil { // a stream is open: it would stay for ever
		_ = s.http.Close()
	}
	<-s.done
	s.socket = nil
	return nil
}

// limited bounds the connections that are open at once; Accept waits for a free slot.
type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{} // closed by Close
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slot{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// slot is a connection that gives its place back when it closes.
type slot struct {
	net.Conn
	release func()
}

func (c *slot) Close() error {
	c.release()
	return c.Conn.Close()
}
