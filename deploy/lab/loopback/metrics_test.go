package loopback

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// metric reads one sample of /metrics: of a name without the program's prefix, and a reason or "".
func (s *site) metric(program, name, reason string) float64 {
	s.t.Helper()
	name = "brickhouse_" + program + "_" + name
	if reason != "" {
		name += fmt.Sprintf("{reason=%q}", reason)
	}
	re := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`)
	m := re.FindStringSubmatch(s.metrics(program))
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// metrics is all of /metrics, over the admin socket.
func (s *site) metrics(program string) string {
	s.t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.path(program+".sock"))
	}}}
	req, err := http.NewRequestWithContext(within(s.t, patience), "GET", "http://socket/v1/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatalf("metrics of %s: %v", program, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("metrics of %s: %s, %v", program, res.Status, err)
	}
	return string(b)
}

// refused are all counters of refusals of a program, by reason.
func (s *site) refused(program string) map[string]int {
	out := map[string]int{}
	for _, m := range refusedLine.FindAllStringSubmatch(s.metrics(program), -1) {
		n, _ := strconv.ParseFloat(strings.TrimSpace(m[2]), 64)
		out[m[1]] = int(n)
	}
	return out
}

var refusedLine = regexp.MustCompile(`(?m)^brickhouse_\w+_refused_total\{reason="([^"]+)"\} (\S+)$`)

// awaitMetric waits until a sample has a value.
func (s *site) awaitMetric(program, name, reason string, want float64) {
	s.t.Helper()
	s.awaitMetricFor(patience, program, name, reason, want)
}

// awaitMetricFor is awaitMetric with another deadline.
func (s *site) awaitMetricFor(limit time.Duration, program, name, reason string, want float64) {
	s.t.Helper()
	eventuallyFor(s.t, limit, program+" "+name+" "+reason, func() string {
		if got := s.metric(program, name, reason); got != want {
			return fmt.Sprintf("it is %v, not %v", got, want)
		}
		return ""
	})
}
