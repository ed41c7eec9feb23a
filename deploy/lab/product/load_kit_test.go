package product

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
)

// measure reads /metrics of a program over its admin socket.
func (p *Product) measure(t *testing.T, program string) string {
	t.Helper()
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.path(program+".sock"))
		}}}
	res, err := c.Get("http://socket/v1/metrics")
	if err != nil {
		t.Fatalf("metrics of %s: %v", program, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("metrics of %s: %s, %v", program, res.Status, err)
	}
	return string(b)
}

// gauge is one sample of a program's metrics.
func (p *Product) gauge(t *testing.T, program, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(p.measure(t, program))
	if m == nil {
		t.Fatalf("%s has no metric %s", program, name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// watched is a program under load.
type watched struct {
	name string
	proc *lab.Process
	cpu  time.Duration // before the load
	rss  []int64       // a sample each second, bytes
	open float64       // file descriptors before
	work float64       // goroutines before
}

func (p *Product) watch(t *testing.T, name string, proc *lab.Process) *watched {
	return &watched{name: name, proc: proc, cpu: cpuTime(t, proc.Pid()), open: p.gauge(t, name, "process_open_fds"), work: p.gauge(t, name, "go_goroutines")}
}

// peak is the most memory that the program had in a range of seconds.
func (w *watched) peak(from, to int) int64 {
	var most int64
	for _, b := range w.rss[min(from, len(w.rss)):min(to, len(w.rss))] {
		most = max(most, b)
	}
	return most
}

// cpuTime is what a process has used so far (proc(5): utime and stime, in ticks of 10 ms).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("reading /proc/%d/stat: %v, %v", pid, err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
