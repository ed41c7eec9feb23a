package command

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/control"
	"brickhouse/shared/telemetry"
)

const patience = 20 * time.Second

// core is a program that notes what happens to it.
type core struct {
	mu  sync.Mutex
	log []string
	ran chan struct{} // closed when Run has ended
}

func (c *core) note(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, s)
}

func (c *core) notes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.log, " ")
}

func (c *core) Run(ctx context.Context) {
	defer close(c.ran)
	c.note("run")
	<-ctx.Done()
}

func (c *core) Close() { c.note("close") }

// service is a program with an admin socket and metrics.
func service(t *testing.T) (Service, *core) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &core{ran: make(chan struct{})}
	return Service{
		Name: "prog", Version: "1.2", Log: telemetry.DefaultLog(), Control: filepath.Join(dir, "s"),
		Metrics: telemetry.MetricsConfig{Listen: free(t)},
		Build: func(_ context.Context, _ *slog.Logger, m *telemetry.Metrics, a *control.Server) (Core, error) {
			c.note("build")
			m.Gauge("own", "Of the program.", func() float64 { return 7 })
			a.Handle("GET /own", func(*http.Request) (any, error) { return "own", nil })
			return c, nil
		},
	}, c
}

// free is an address that nobody listens on.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func ask(t *testing.T, s Service, path string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := control.NewClient(s.Control)
	defer c.Close()
	var out []byte
	err := c.Do(ctx, "GET", path, nil, &out)
	return string(out), err
}

// serving starts s, and waits until all of it works. The function stops it and returns its error.
func serving(t *testing.T, s Service, c *core, reload func(context.Context, Core, *slog.Logger) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, s, reload) }()
	eventually(t, "the program", func() bool {
		_, err := ask(t, s, "/own")
		return err == nil && strings.Contains(c.notes(), "run") && scraped(s) == nil
	})
	return func() error {
		cancel()
		return ended(t, done)
	}
}

func ended(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("it does not end")
		return nil
	}
}

func scraped(s Service) error {
	res, err := http.Get("http://" + s.Metrics.Listen.String() + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && !strings.Contains(string(text), "prog_own 7") {
		err = errors.New("not the program's metrics: " + string(text))
	}
	return err
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waiting for %s in vain", what)
}

func TestServe(t *testing.T) {
	s, c := service(t)
	reloads := make(chan Core, 1)
	stop := serving(t, s, c, func(_ context.Context, core Core, _ *slog.Logger) error {
		reloads <- core
		return errors.New("the file is bad")
	})
	if got, err := ask(t, s, "/version"); err != nil || strings.TrimSpace(got) != `{"version":"1.2"}` {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := ask(t, s, "/metrics"); err != nil || !strings.Contains(got, "prog_own 7") {
		t.Errorf("%q, %v", got, err)
	}
	if st, err := os.Stat(s.Control); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-reloads:
		if got != Core(c) {
			t.Errorf("reloaded %v", got)
		}
	case <-time.After(patience):
		t.Fatal("SIGHUP reloads nothing")
	}
	if _, err := ask(t, s, "/own"); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-c.ran
	if got := c.notes(); got != "build run close" {
		t.Errorf("%s", got)
	}
	if _, err := os.Stat(s.Control); err == nil {
		t.Error("the socket stays")
	}
	if scraped(s) == nil {
		t.Error("metrics are still there")
	}
}

func TestServeEndsWithASignal(t *testing.T) {
	s, c := service(t)
	done := make(chan error, 1)
	go func() { done <- Serve(context.Background(), s, nil) }()
	eventually(t, "the program", func() bool { return strings.Contains(c.notes(), "run") && scraped(s) == nil })
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, done); err != nil {
		t.Error(err)
	}
	if got := c.notes(); got != "build run close" {
		t.Errorf("%s", got)
	}
}

// TestServeFails holds that a program which can't start leaves nothing behind, and says whose fault it is.
func TestServeFails(t *testing.T) {
	t.Run("build", func(t *testing.T) {
		s, c := service(t)
		s.Build = func(context.Context, *slog.Logger, *telemetry.Metrics, *control.Server) (Core, error) {
			return nil, Badf("the port is taken")
		}
		err := Serve(t.Context(), s, nil)
		if err == nil || !strings.Contains(err.Error(), "the port is taken") || status(ranError{err}) != BadInput {
			t.Errorf("%v", err)
		}
		if _, serr := os.Stat(s.Control); serr == nil || c.notes() != "" {
			t.Errorf("something is left: %s", c.notes())
		}
	})
	t.Run("second instance", func(t *testing.T) {
		s, c := service(t)
		stop := serving(t, s, c, nil)
		second, other := service(t)
		second.Control = s.Control
		if err := Serve(t.Context(), second, nil); err == nil || other.notes() != "" || status(ranError{err}) != BadInput {
			t.Errorf("%v, %s", err, other.notes())
		}
		if _, err := ask(t, s, "/own"); err != nil {
			t.Errorf("the first one: %v", err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		s, c := service(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s.Metrics.Listen = l.Addr().(*net.TCPAddr).AddrPort()
		if err := Serve(t.Context(), s, nil); err == nil || !strings.Contains(err.Error(), s.Metrics.Listen.String()) || status(ranError{err}) != BadInput {
			t.Errorf("%v", err)
		}
		if got := c.notes(); strings.Contains(got, "build") && !strings.HasSuffix(got, "close") {
			t.Errorf("the core was not closed: %s", got)
		}
	})
}
