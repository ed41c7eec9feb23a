// Package control is the administration of a running program: JSON over HTTP/1.1 on a Unix socket that only its
// owner may open (mode 0600), and with TLS for who has a key. The server belongs to the program, the Client to its commands.
//
// What a Route does is described: the server makes the OpenAPI document from its Go types, and refuses what is not as the document says. Only
// such routes can be asked with a key; a change is noted in the audit before it is answered.
//
// Handlers return a value or an error; the server turns either into JSON. Streams send one JSON value a line (ndjson)
// until the caller goes away. Requests, their number and the time that each may take are bounded. Who calls is known
// from the kernel (SO_PEERCRED), or by the key: Caller.
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

	"github.com/danielgtaylor/huma/v2"
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

// Handler answers one request with a value that becomes JSON; nil: the answer has no body (204).
type Handler func(r *http.Request) (any, error)

// Stream answers one request with any number of values, whose first key must not be "error": that marks the end by an error.
type Stream func(r *http.Request, send func(any) error) error

// Server holds the routes and, once it listens, the socket.
type Server struct {
	log  *slog.Logger
	mux  *http.ServeMux
	http *http.Server // on the Unix socket
	// How large a body may be that is no JSON: an int64 by pattern. Requests are answered while routes are still added.
	uploads sync.Map

	described  sync.RWMutex
	doc        *huma.OpenAPI
	operations map[string]Operation // by pattern, with the prefix
	note       func(context.Context, Change) error

	mu         sync.Mutex
	socket     *socket
	done       chan struct{} // closed when serving ended; made by Listen
	remote     *http.Server  // with TLS and keys; nil: none
	remoteDone chan struct{}
}

// documentPattern is where the OpenAPI document is.
const documentPattern = "GET " + Prefix + "/openapi.json"

// NewServer returns a server without routes but that of its OpenAPI document.
func NewServer(log *slog.Logger) *Server {
	s := &Server{log: log, mux: http.NewServeMux(), doc: newDocument(), operations: map[string]Operation{}}
	s.http = newHTTP(log, http.HandlerFunc(s.route))
	s.http.ConnContext = withUser
	s.mux.HandleFunc(documentPattern, s.document)
	return s
}

// Handle adds a route that only commands of this program's version use; pattern is that of http.ServeMux with its method and without
// Prefix, as "GET /bans/{address}". Routes may be added while the server listens.
func (s *Server) Handle(pattern string, h Handler) {
	pattern = Pattern(pattern)
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
			w.WriteHeader(http.StatusNoContent)
			return
		}
		body, err := json.Marshal(v)
		if err != nil {
			s.fail(w, r, fmt.Errorf("encoding the answer: %w", err))
			return
		}
		write(w, http.StatusOK, jsonType, body)
	})
}

// HandleUpload is Handle for a request whose body is a file of at most limit bytes, and not JSON. It may take as long as it likes, as long
// as some of it comes: the limit of a request's time holds for each part.
func (s *Server) HandleUpload(pattern string, limit int64, h Handler) {
	s.uploads.Store(Pattern(pattern), limit)
	s.Handle(pattern, h)
}

// Stream adds a route that answers with ndjson.
func (s *Server) Stream(pattern string, h Stream) {
	s.mux.HandleFunc(Pattern(pattern), func(w http.ResponseWriter, r *http.Request) {
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
func (s *Server) HandleHTTP(pattern string, h http.Handler) { s.mux.Handle(Pattern(pattern), h) }

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

func write(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone; there is nobody else to tell
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
		if err := s.http.Serve(bounded(sock.listener)); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin socket failed", "path", path, "err", err)
		}
	}()
	return nil
}

// Close ends the server, with TLS too, and removes the socket. Requests that run may end until ctx does; streams are cut at once.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remote != nil {
		end(ctx, s.remote)
		<-s.remoteDone
		s.remote = nil
	}
	if s.socket != nil {
		s.socket.remove()
		end(ctx, s.http)
		<-s.done
		s.socket = nil
	}
	return nil
}

// limited bounds the connections that are open at once; Accept waits for a free slot.
type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{} // closed by Close
}

func bounded(ln net.Listener) net.Listener {
	return &limited{Listener: ln, slots: make(chan struct{}, maxConnections), closed: make(chan struct{})}
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
