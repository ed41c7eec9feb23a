package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start serves on a socket in a temporary directory.
func start(t *testing.T, s *Server) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s.sock")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c := NewClient(path)
	t.Cleanup(c.Close)
	return c
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

type ban struct {
	Address string `json:"address"`
	By      string `json:"by"`
}

func banServer() *Server {
	s := NewServer(quiet())
	s.Handle("POST /bans", func(r *http.Request) (any, error) {
		var b ban
		if err := Decode(r, &b); err != nil {
			return nil, err
		}
		b.By = Caller(r.Context())
		return b, nil
	})
	s.Handle("GET /bans/{address}", func(r *http.Request) (any, error) {
		if a := r.PathValue("address"); a != "192.0.2.1" {
			return nil, Errorf(http.StatusNotFound, "no ban on %s", a)
		}
		return ban{Address: "192.0.2.1"}, nil
	})
	s.Handle("GET /nothing", func(*http.Request) (any, error) { return nil, nil })
	s.Handle("GET /fail", func(*http.Request) (any, error) { return nil, errors.New("disk is full") })
	s.Handle("GET /panic", func(*http.Request) (any, error) { panic("x") })
	s.Handle("GET /unencodable", func(*http.Request) (any, error) { return make(chan int), nil })
	s.HandleHTTP("GET /metrics", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a 1\n") }))
	return s
}

func TestHandlers(t *testing.T) {
	c, ctx := start(t, banServer()), deadline(t)
	var got ban
	if err := c.Do(ctx, "POST", "/bans", ban{Address: "192.0.2.1"}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Address != "192.0.2.1" || got.By == "" || got.By == "unknown" {
		t.Errorf("got %+v", got)
	}
	if err := c.Get(ctx, "/bans/192.0.2.1", &got); err != nil {
		t.Error(err)
	}
	var raw []byte
	if err := c.Get(ctx, "/metrics", &raw); err != nil || string(raw) != "a 1\n" {
		t.Errorf("%q %v", raw, err)
	}
	if err := c.Get(ctx, "/nothing", nil); err != nil {
		t.Error(err)
	}
	if err := c.Get(ctx, "/metrics", &got); err == nil {
		t.Error("text was understood as JSON")
	}
}

func TestErrorsAreJSON(t *testing.T) {
	c, ctx := start(t, banServer()), deadline(t)
	for _, tc := range []struct {
		method, path string
		in           any
		status       int
		text         string
	}{
		{"GET", "/bans/192.0.2.2", nil, 404, "no ban on 192.0.2.2"},
		{"GET", "/fail", nil, 500, "disk is full"},
		{"GET", "/panic", nil, 500, "internal error"},
		{"GET", "/unencodable", nil, 500, "encoding the answer"},
		{"GET", "/v2", nil, 404, "no such path"},
		{"DELETE", "/bans", nil, 405, "DELETE is not allowed here; use POST"},
		{"POST", "/bans", nil, 400, "no body"},
		{"POST", "/bans", map[string]int{"x": 1}, 400, "unknown object member name"},
		{"POST", "/bans", json.RawMessage(`{"address":"a"}   `), 200, ""},
		{"POST", "/bans", ban{Address: strings.Repeat("x", MaxBody)}, 413, "larger than"},
	} {
		err := c.Do(ctx, tc.method, tc.path, tc.in, nil)
		var e *Error
		if tc.status == 200 {
			if err != nil {
				t.Errorf("%s %s: %v", tc.method, tc.path, err)
			}
			continue
		}
		if !errors.As(err, &e) || e.Status != tc.status || !strings.Contains(e.Message, tc.text) {
			t.Errorf("%s %s: got %v, want %d %s", tc.method, tc.path, err, tc.status, tc.text)
		}
	}
}

func TestDecodeRefusesTwoValues(t *testing.T) {
	r, err := http.NewRequest("POST", "/", strings.NewReader(`{"address":"a"}{}`))
	if err != nil {
		t.Fatal(err)
	}
	var b ban
	if err := Decode(r, &b); err == nil || !strings.Contains(err.Error(), "after top-level value") {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	s := NewServer(quiet())
	ended := make(chan struct{})
	s.Stream("GET /count/{n}", func(r *http.Request, send func(any) error) error {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			return Errorf(http.StatusBadRequest, "%s is not a number", r.PathValue("n"))
		}
		for i := range n {
			if err := send(i); err != nil {
				return err
			}
		}
		return nil
	})
	s.Stream("GET /breaks", func(r *http.Request, send func(any) error) error {
		if err := send(1); err != nil {
			return err
		}
		return errors.New("source is gone")
	})
	s.Stream("GET /watch", func(r *http.Request, send func(any) error) error {
		defer close(ended)
		if err := Ready(r); err != nil {
			return err
		}
		<-r.Context().Done()
		return r.Context().Err()
	})
	c, ctx := start(t, s), deadline(t)
	n := 0
	count := func(json.RawMessage) error { n++; return nil }
	if err := c.Stream(ctx, "/count/5000", count); err != nil || n != 5000 {
		t.Errorf("%d lines, %v", n, err)
	}
	var e *Error
	if err := c.Stream(ctx, "/count/x", count); !errors.As(err, &e) || e.Status != 400 {
		t.Error(err)
	}
	if n = 0; true {
		if err := c.Stream(ctx, "/breaks", count); err == nil || err.Error() != "source is gone" || n != 1 {
			t.Errorf("%d lines, %v", n, err)
		}
	}
	stop := errors.New("enough")
	if err := c.Stream(ctx, "/count/10", func(json.RawMessage) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	watch, cancel := context.WithCancel(ctx)
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := c.Stream(watch, "/watch", count); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("the handler did not notice that the caller is gone")
	}
}

func TestCloseCutsStreamsAndRemovesTheSocket(t *testing.T) {
	s := NewServer(quiet())
	s.Stream("GET /watch", func(r *http.Request, send func(any) error) error {
		if err := Ready(r); err != nil {
			return err
		}
		<-r.Context().Done()
		return nil
	})
	path := filepath.Join(t.TempDir(), "s")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(path); err == nil {
		t.Error("listens twice")
	}
	c, ctx := NewClient(path), deadline(t)
	done := make(chan error, 1)
	go func() { done <- c.Stream(ctx, "/watch", func(json.RawMessage) error { return nil }) }()
	time.Sleep(50 * time.Millisecond)
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the stream goes on")
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	var nr *NotRunning
	if err := c.Get(ctx, "/x", nil); !errors.As(err, &nr) || !strings.Contains(err.Error(), "nobody listens on it; start the program") {
		t.Error(err)
	}
}

func TestSocketMode(t *testing.T) {
	s := NewServer(quiet())
	path := filepath.Join(t.TempDir(), "new", "s")
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	for p, want := range map[string]os.FileMode{path: 0o600 | os.ModeSocket, filepath.Dir(path): 0o700 | os.ModeDir} {
		if st, err := os.Lstat(p); err != nil || st.Mode() != want {
			t.Errorf("%s: %v %v, want %v", p, st.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("leftovers: %v %v", entries, err)
	}
}

// The mode must be right from the first moment, not only after a chmod.
func TestSocketIsBornWith0600(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

func TestSocketInTheWay(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	s := NewServer(quiet())
	if err := s.Listen(live); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, want string }{
		{live, fmt.Sprintf("admin socket %s: the process %d listens on it; stop that one, or choose another path", live, os.Getpid())},
		{file, "something else is there; remove it"},
		{dir, "something else is there"},
		{file + "/x", "its directory can't be locked: not a directory"},
		{dir + "/no/such/dir", "its directory can't be made: no such file or directory"},
		{dir + "/" + strings.Repeat("x", 108), "bytes; use 1 to"},
		{"", "the path has 0 bytes"},
	} {
		err := NewServer(quiet()).Listen(tc.path)
		var bad *BadSocket
		if !errors.As(err, &bad) || !bad.BadInput() || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %s", tc.path, err, tc.want)
		}
	}
	if err := NewClient(live).Get(deadline(t), "/", nil); err == nil || !strings.Contains(err.Error(), "no such path") {
		t.Errorf("the living socket was harmed: %v", err)
	}
}

// A process that is killed leaves its socket; the next one replaces it.
func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0], "-test.run=TestHelperHoldsSocket")
	cmd.Env = append(os.Environ(), "CONTROL_TEST_SOCKET="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("the process %d listens on it", cmd.Process.Pid)
	if err := NewServer(quiet()).Listen(path); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it says "killed"
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no stale socket to test with: %v", err)
	}
	s := NewServer(quiet())
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestHelperHoldsSocket(t *testing.T) {
	path := os.Getenv("CONTROL_TEST_SOCKET")
	if path == "" {
		return // the child of TestStaleSocketIsReplaced only
	}
	if err := NewServer(quiet()).Listen(path); err != nil {
		t.Fatal(err)
	}
	fmt.Print("ready\n")
	time.Sleep(time.Minute)
}

// Of many that start at once exactly one gets the socket, and it works.
func TestOneOfManyWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*Server
	for range 8 {
		wg.Go(func() {
			s := banServer()
			if err := s.Listen(path); err == nil {
				mu.Lock()
				won = append(won, s)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d servers have the socket", len(won))
	}
	if err := NewClient(path).Get(deadline(t), "/nothing", nil); err != nil {
		t.Error(err)
	}
	_ = won[0].Close(context.Background())
}

func TestCloseLeavesAnotherSocketAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := NewServer(quiet())
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := NewServer(quiet())
	if err := other.Listen(path); err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("took the other's socket away: %v", err)
	}
}

// Silent connections use up the slots; when they go, others get in.
func TestConnectionLimit(t *testing.T) {
	s := banServer()
	c, ctx := start(t, s), deadline(t)
	var conns []net.Conn
	for range maxConnections {
		conn, err := net.Dial("unix", c.path)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	var nr *NotRunning
	if err := c.Get(short, "/nothing", nil); !errors.As(err, &nr) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("served beyond the limit: %v", err)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	if err := c.Get(ctx, "/nothing", nil); err != nil {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	tab := &Table{Columns: []string{"ADDRESS", "WHY", "LEFT"}, Empty: "no bans"}
	tab.Add("192.0.2.1", "bad-credentials", 5*time.Minute)
	tab.Add("2001:db8::1", "\x1b[31mred\nline\u202e", "")
	tab.Add("ä", "x", 1)
	var b bytes.Buffer
	if err := tab.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := "ADDRESS      WHY              LEFT\n" +
		"192.0.2.1    bad-credentials  5m0s\n" +
		"2001:db8::1  ?[31mred?line?   -\n" +
		"ä            x                1\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := (&Table{Columns: []string{"A"}, Empty: "no bans"}).Write(&b); err != nil || b.String() != "no bans\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestPrint(t *testing.T) {
	v := []ban{{Address: "<a>"}}
	table := func() *Table { return &Table{Columns: []string{"X"}} }
	var b bytes.Buffer
	if err := Print(&b, true, v, table); err != nil {
		t.Fatal(err)
	}
	var back []ban
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back[0] != v[0] || !strings.Contains(b.String(), "<a>") {
		t.Errorf("%s %v", b.String(), err)
	}
	b.Reset()
	if err := Print(&b, false, v, table); err != nil || b.String() != "X\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}
