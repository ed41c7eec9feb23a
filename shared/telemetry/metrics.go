package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// Namespace begins the name of each metric of ours: brickhouse_<program>_<name>.
const Namespace = "brickhouse"

// Metrics is the registry of one program. Names given to its methods are without the prefix, in snake case, with the unit
// and, for counters, "_total" at the end. A name given twice is a mistake of ours and panics at start.
type Metrics struct {
	program  string
	registry *prometheus.Registry
}

// NewMetrics returns a registry with the metrics of the Go runtime and of the process, and the build's version.
func NewMetrics(program, version string) *Metrics {
	m := &Metrics{program: program, registry: prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: Namespace, Subsystem: program, Name: "build_info", Help: "1; the label tells the version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds a collector of the caller's own.
func (m *Metrics) Register(c prometheus.Collector) { m.registry.MustRegister(c) }

// Counter adds a counter.
func (m *Metrics) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: Namespace, Subsystem: m.program, Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

// CounterVec adds a family of counters. Label values are words of ours, never what a stranger sent.
func (m *Metrics) CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: Namespace, Subsystem: m.program, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

// Gauge adds a value that is read when somebody asks. f must not block and may run on any goroutine.
func (m *Metrics) Gauge(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: Namespace, Subsystem: m.program, Name: name, Help: help}, f))
}

// Histogram adds a histogram with the given upper bounds, in the unit of its name.
func (m *Metrics) Histogram(name, help string, bounds []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: Namespace, Subsystem: m.program, Name: name, Help: help, Buckets: bounds,
	})
	m.registry.MustRegister(h)
	return h
}

// HistogramVec adds a family of histograms. Label values are words of ours, never what a stranger sent.
func (m *Metrics) HistogramVec(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: Namespace, Subsystem: m.program, Name: name, Help: help, Buckets: bounds,
	}, labels)
	m.registry.MustRegister(h)
	return h
}

// maxReasons bounds the reasons that one Reasons tells apart; those beyond are counted as "other".
const maxReasons = 256

// Reasons counts by verdict.Reason. Counting takes no lock and makes no garbage, apart from a reason's first time.
type Reasons struct {
	desc   *prometheus.Desc
	counts atomic.Pointer[map[verdict.Reason]*atomic.Uint64] // replaced, never changed
	mu     sync.Mutex                                        // one replaces at a time
}

// Reasons adds a family of counters with the label "reason".
func (m *Metrics) Reasons(name, help string) *Reasons {
	r := NewReasons(prometheus.BuildFQName(Namespace, m.program, name), help)
	m.registry.MustRegister(r)
	return r
}

// NewReasons returns counters that are in no registry, under their full name.
func NewReasons(name, help string) *Reasons {
	r := &Reasons{desc: prometheus.NewDesc(name, help, []string{"reason"}, nil)}
	r.counts.Store(&map[verdict.Reason]*atomic.Uint64{})
	return r
}

// Inc counts one.
func (r *Reasons) Inc(why verdict.Reason) { r.Add(why, 1) }

// Add counts n.
func (r *Reasons) Add(why verdict.Reason, n uint64) {
	c, ok := (*r.counts.Load())[why]
	if !ok {
		c = r.grow(why)
	}
	c.Add(n)
}

// grow adds a counter for why.
func (r *Reasons) grow(why verdict.Reason) *atomic.Uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.counts.Load()
	if len(old) >= maxReasons {
		why = "other"
	}
	if c, ok := old[why]; ok {
		return c
	}
	next, c := maps.Clone(old), new(atomic.Uint64)
	next[why] = c
	r.counts.Store(&next)
	return c
}

// Counts returns all counters that were ever moved.
func (r *Reasons) Counts() map[verdict.Reason]uint64 {
	out := map[verdict.Reason]uint64{}
	for why, c := range *r.counts.Load() {
		out[why] = c.Load()
	}
	return out
}

// Describe is for Prometheus.
func (r *Reasons) Describe(ch chan<- *prometheus.Desc) { ch <- r.desc }

// Collect is for Prometheus.
func (r *Reasons) Collect(ch chan<- prometheus.Metric) { collectReasons(ch, r.desc, r.Counts()) }

// ReasonsFunc adds a family of counters with the label "reason" that is counted elsewhere and read when somebody asks. f must
// not block and may run on any goroutine.
func (m *Metrics) ReasonsFunc(name, help string, f func() map[verdict.Reason]uint64) {
	desc := prometheus.NewDesc(prometheus.BuildFQName(Namespace, m.program, name), help, []string{"reason"}, nil)
	m.registry.MustRegister(reasonsFunc{desc, f})
}

type reasonsFunc struct {
	desc *prometheus.Desc
	f    func() map[verdict.Reason]uint64
}

func (r reasonsFunc) Describe(ch chan<- *prometheus.Desc) { ch <- r.desc }
func (r reasonsFunc) Collect(ch chan<- prometheus.Metric) { collectReasons(ch, r.desc, r.f()) }

func collectReasons(ch chan<- prometheus.Metric, desc *prometheus.Desc, counts map[verdict.Reason]uint64) {
	for why, n := range counts {
		label := string(why)
		if label == "" {
			label = "none"
		}
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), label)
	}
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// MetricsConfig is the metrics section of a program's file.
type MetricsConfig struct {
	Listen netip.AddrPort `yaml:"listen" doc:"Address and port that answers GET /metrics for Prometheus, over plain HTTP: a loopback or private address. Empty: only the admin socket answers."`
}

// Validate refuses an address that strangers can reach.
func (c MetricsConfig) Validate() []conffile.Fault {
	if a := c.Listen.Addr(); c.Listen.IsValid() && !a.IsLoopback() && !a.IsPrivate() {
		return []conffile.Fault{conffile.Badf("listen", "use a loopback or private address, as 127.0.0.1:9100",
			"%v would show the metrics to everybody", a)}
	}
	return nil
}

// MetricsServer answers over TCP.
type MetricsServer struct {
	ln   net.Listener
	http *http.Server
	done chan struct{}
}

// badListen is an address that can't be listened on.
type badListen struct {
	addr netip.AddrPort
	err  error
}

func (e *badListen) Error() string {
	if errors.Is(e.err, syscall.EADDRINUSE) {
		return fmt.Sprintf("metrics on %v: the port is taken; choose another", e.addr)
	}
	return fmt.Sprintf("metrics on %v: %v; choose an address of this machine", e.addr, e.err)
}

func (e *badListen) Unwrap() error  { return e.err }
func (e *badListen) BadInput() bool { return true }

// Listen serves the metrics at addr in the background until Close.
func (m *Metrics) Listen(addr netip.AddrPort, log *slog.Logger) (*MetricsServer, error) {
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		var oe *net.OpError
		if errors.As(err, &oe) {
			err = oe.Err
		}
		return nil, &badListen{addr, err}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	s := &MetricsServer{ln: ln, done: make(chan struct{}), http: &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics server failed", "listen", addr, "err", err)
		}
	}()
	return s, nil
}

// Addr is where the server listens.
func (s *MetricsServer) Addr() netip.AddrPort { return s.ln.Addr().(*net.TCPAddr).AddrPort() }

// Close ends the server; requests that run may end until ctx does.
func (s *MetricsServer) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}
