package follow

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// rig is a follower with what it talks to.
type rig struct {
	*Follower
	t   *testing.T
	dir string

	mu      sync.Mutex
	applied map[string]string // list → networks in force
	calls   int
	refuse  error         // what Apply answers
	change  chan struct{} // a token for each call
}

func newRig(t *testing.T, lists ...List) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), applied: map[string]string{}, change: make(chan struct{}, 1000)}
	r.open(lists...)
	return r
}

// open starts anew, as after a restart.
func (r *rig) open(lists ...List) {
	r.t.Helper()
	f, err := New(Config{Lists: lists}, Options{Dir: filepath.Join(r.dir, "kept"), Apply: r.apply, Log: slog.New(slog.DiscardHandler), Rand: func() float64 { return 0 }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Follower = f
}

func (r *rig) apply(name string, prefixes []netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.change <- struct{}{}
	if r.refuse != nil {
		return r.refuse
	}
	if prefixes == nil {
		delete(r.applied, name)
		return nil
	}
	r.applied[name] = strings.Trim(fmt.Sprint(prefixes), "[]")
	return nil
}

func (r *rig) setRefuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = err
}

// inForce is what was applied of a list; "none" if it was not.
func (r *rig) inForce(name string) (networks string, calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.applied[name]
	if !ok {
		s = "none"
	}
	return s, r.calls
}

// look is one look at the first list, and when the next will be.
func (r *rig) look() time.Duration { return (*r.lists.Load())[0].look(context.Background()) }

// expect says what is in force of the first list, how often anything was put in force, and what the error begins with.
func (r *rig) expect(networks string, calls int, errBegin string) {
	r.t.Helper()
	s := r.Status()[0]
	got, n := r.inForce(s.Name)
	if got != networks || n != calls || (errBegin == "") != (s.Error == "") || !strings.HasPrefix(s.Error, errBegin) {
		r.t.Errorf("in force: %s (after %d), error %q\nwant %s (after %d), error %q", got, n, s.Error, networks, calls, errBegin)
	}
	if networks != "none" && s.Entries != len(strings.Fields(networks)) {
		r.t.Errorf("%+v", s)
	}
}

func (r *rig) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// server is an HTTPS server whose answer can be changed.
type server struct {
	*httptest.Server
	ca string // path of its authority

	mu       sync.Mutex
	answer   http.HandlerFunc
	requests []*http.Request
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, req)
		answer := s.answer
		s.mu.Unlock()
		answer(w, req)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(s.ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) list() List { return List{Name: "feed", URL: s.URL + "/key-1234", CA: s.ca} }

func (s *server) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *server) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func (s *server) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// text answers with a text, by its ETag.
func (s *server) text(text string) {
	s.set(func(w http.ResponseWriter, req *http.Request) {
		etag := `"` + sum(text)[:8] + `"`
		w.Header().Set("ETag", etag)
		if req.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, text)
	})
}

var errFull = errors.New("table is full")
