package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// logger returns a logger and what it wrote, line by line.
func logger(c LogConfig, clk *clock) (*slog.Logger, *Sampler, func() []map[string]any) {
	var buf bytes.Buffer
	log, s := NewLogger(&buf, c, clk.now)
	return log, s, func() []map[string]any {
		var out []map[string]any
		for _, line := range strings.Split(strings.TrimSpace(buf.String()), "\n") {
			if line == "" {
				continue
			}
			m := map[string]any{}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				panic(err)
			}
			out = append(out, m)
		}
		buf.Reset()
		return out
	}
}

func TestSampling(t *testing.T) {
	c := DefaultLog()
	c.Burst, c.Window = 3, 10*time.Second
	clk := newClock()
	log, s, lines := logger(c, clk)
	for range 10 {
		log.Warn("bad packet")
		log.With("x", 1).WithGroup("g").Warn("bad packet") // shares the allowance
		log.Info("bad packet")                             // another level has its own
		log.Debug("bad packet")                            // is not written at all
	}
	log.Warn("other")
	if got := len(lines()); got != 3+3+1 {
		t.Errorf("%d lines, want 7", got)
	}
	clk.move(10 * time.Second)
	log.Warn("bad packet", "n", 5)
	got := lines()
	if len(got) != 1 || got[0]["suppressed"] != 17.0 || got[0]["n"] != 5.0 {
		t.Errorf("got %v", got)
	}
	if err := s.Flush(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	got = lines()
	if len(got) != 1 || got[0]["message"] != "bad packet" || got[0]["suppressed"] != 7.0 || got[0]["level"] != "INFO" ||
		got[0]["msg"] != "log lines suppressed" {
		t.Errorf("got %v", got)
	}
	if n := len(s.state.seen); n != 1 {
		t.Errorf("%d messages are remembered, want the one of this window", n)
	}
	clk.move(-time.Hour) // the clock was set back: the window starts anew
	log.Warn("bad packet")
	if got := lines(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestSamplerRunFlushesAtTheEnd(t *testing.T) {
	c := DefaultLog()
	c.Burst = 1
	log, s, lines := logger(c, newClock())
	log.Error("x")
	log.Error("x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Run(ctx)
	if got := lines(); len(got) != 2 || got[1]["suppressed"] != 1.0 {
		t.Errorf("got %v", got)
	}
	var none *Sampler
	none.Run(context.Background())
}

func TestSamplerIsBounded(t *testing.T) {
	log, s, _ := logger(DefaultLog(), newClock())
	for i := range maxMessages * 3 {
		log.Info(fmt.Sprint("message ", i))
	}
	if n := len(s.state.seen); n > maxMessages+1 {
		t.Errorf("%d messages are remembered", n)
	}
}

func TestNoSampling(t *testing.T) {
	c := DefaultLog()
	c.Burst = 0
	log, s, lines := logger(c, newClock())
	for range 100 {
		log.Info("x")
	}
	if s != nil || len(lines()) != 100 {
		t.Error("sampled")
	}
}

func TestForeignBytesStayBelowInfo(t *testing.T) {
	evil := []byte("INVITE\r\n\x1b[31m secret")
	c := DefaultLog()
	c.Level = slog.LevelDebug
	log, _, lines := logger(c, newClock())
	log.Debug("m", Foreign("data", evil))
	log.Info("m", Foreign("data", evil))
	log.Error("m", slog.Group("g", Foreign("data", evil), "n", 1))
	log.With(Foreign("data", evil)).Debug("m")
	got := lines()
	if want := `"INVITE\r\n\x1b[31m secret"`; got[0]["data"] != want {
		t.Errorf("debug: %v, want %s", got[0]["data"], want)
	}
	if got[1]["data"] != "(20 bytes)" || got[2]["g"].(map[string]any)["data"] != "(20 bytes)" || got[3]["data"] != "(20 bytes)" {
		t.Errorf("got %v", got[1:])
	}
}

func TestQuote(t *testing.T) {
	if got := Quote([]byte("ä\u202e\x00")); got != `"\u00e4\u202e\x00"` {
		t.Error(got)
	}
	if got := Quote(make([]byte, 10000)); len(got) > 4*maxForeign+40 || !strings.HasSuffix(got, "(10000 bytes)") {
		t.Error(len(got))
	}
}

func TestFormats(t *testing.T) {
	c := DefaultLog()
	log, _, lines := logger(c, newClock())
	log.Info("x", "took", 1500*time.Millisecond)
	if got := lines(); got[0]["took"] != "1.5s" {
		t.Errorf("got %v", got)
	}
	var buf bytes.Buffer
	c.Format = "text"
	log, _ = NewLogger(&buf, c, newClock().now)
	log.Info("x", "took", time.Second)
	if !strings.Contains(buf.String(), "msg=x took=1s") {
		t.Error(buf.String())
	}
}

func TestConfigs(t *testing.T) {
	type file struct {
		Log     LogConfig     `yaml:"log"`
		Metrics MetricsConfig `yaml:"metrics"`
	}
	for text, want := range map[string]string{
		"log: {level: debug, format: text, burst: 5, window: 1s}\nmetrics: {listen: 127.0.0.1:9100}": "",
		"metrics: {listen: 10.0.0.1:9100}":      "",
		"log: {burst: 0, window: 0s}":           "",
		"log: {burst: -1}":                      "f:1: log.burst: -1 lines; write 0 or more",
		"log: {window: 1ms}":                    "f:1: log.window: 1ms is too short; write 1s or more",
		"metrics: {listen: 0.0.0.0:9100}":       "f:1: metrics.listen: 0.0.0.0 would show the metrics to everybody; use a loopback or private address, as 127.0.0.1:9100",
		"metrics: {listen: 203.0.113.5:9100}":   "f:1: metrics.listen: 203.0.113.5 would show the metrics to everybody; use a loopback or private address, as 127.0.0.1:9100",
		"log: {level: loud}":                    `f:1: log.level: slog: level string "loud": unknown name; see describe for what this key holds`,
		"log: {format: xml}":                    `f:1: log.format: "xml" is not known here; use one of json, text`,
		"metrics: {listen: \"[fd00::1]:9100\"}": "",
	} {
		c := file{Log: DefaultLog()}
		_, err := conffile.Parse("f", []byte(text), &c)
		if got := fmt.Sprint(err); err != nil && got != want || err == nil && want != "" {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// scrape returns what Prometheus would read.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body.String())
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics("sbc", "1.2.3")
	m.Counter("calls_total", "Calls.").Add(2)
	m.CounterVec("messages_total", "Messages.", "network").WithLabelValues("udp").Inc()
	m.Gauge("flows", "Flows.", func() float64 { return 7 })
	m.Histogram("setup_seconds", "Setup.", []float64{0.1, 1}).Observe(0.5)
	drops := m.Reasons("drops_total", "Drops.")
	m.ReasonsFunc("media_total", "Media.", func() map[verdict.Reason]uint64 { return map[verdict.Reason]uint64{verdict.MediaLate: 7} })
	drops.Inc(verdict.BadHeader)
	drops.Add(verdict.Overload, 5)
	drops.Inc(verdict.None)
	text := scrape(t, m)
	for _, want := range []string{
		`brickhouse_sbc_build_info{version="1.2.3"} 1`, "brickhouse_sbc_calls_total 2",
		`brickhouse_sbc_messages_total{network="udp"} 1`, "brickhouse_sbc_flows 7",
		`brickhouse_sbc_setup_seconds_bucket{le="1"} 1`, `brickhouse_sbc_drops_total{reason="bad-header"} 1`,
		`brickhouse_sbc_drops_total{reason="overload"} 5`, `brickhouse_sbc_drops_total{reason="none"} 1`, "go_goroutines",
		`brickhouse_sbc_media_total{reason="media-late"} 7`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if got := drops.Counts(); got[verdict.Overload] != 5 || len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestNameTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("taken twice")
		}
	}()
	m := NewMetrics("sbc", "")
	m.Counter("x_total", "")
	m.Counter("x_total", "")
}

func TestReasonsFromManyGoroutines(t *testing.T) {
	r := NewReasons("x_total", "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 10_000 {
				r.Inc(verdict.Reason(fmt.Sprint(i % 50)))
			}
		})
	}
	wg.Wait()
	sum := uint64(0)
	for _, n := range r.Counts() {
		sum += n
	}
	if sum != 80_000 || len(r.Counts()) != 50 {
		t.Errorf("%d in %d", sum, len(r.Counts()))
	}
}

func TestReasonsAreBounded(t *testing.T) {
	r := NewReasons("x_total", "")
	for i := range maxReasons * 2 {
		r.Inc(verdict.Reason(fmt.Sprint(i)))
	}
	if n := len(r.Counts()); n > maxReasons+1 {
		t.Errorf("%d counters", n)
	}
	if r.Counts()["other"] == 0 {
		t.Error("the others are not counted")
	}
}

func TestCountingMakesNoGarbage(t *testing.T) {
	r := NewReasons("x_total", "")
	r.Inc(verdict.Overload)
	if n := testing.AllocsPerRun(1000, func() { r.Inc(verdict.Overload) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMetricsServer(t *testing.T) {
	m := NewMetrics("pbx", "1")
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := m.Listen(netip.MustParseAddrPort("127.0.0.1:0"), log)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{"/metrics": 200, "/": 404} {
		res, err := client.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
	_, err = m.Listen(s.Addr(), log)
	var bad interface{ BadInput() bool }
	if err == nil || !strings.HasSuffix(err.Error(), "the port is taken; choose another") || !errors.As(err, &bad) {
		t.Error(err)
	}
	if _, err := m.Listen(netip.MustParseAddrPort("192.0.2.1:9100"), log); err == nil || !strings.Contains(err.Error(), "choose an address") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func BenchmarkReasons(b *testing.B) {
	r := NewReasons("x_total", "")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Inc(verdict.Overload)
		}
	})
}
