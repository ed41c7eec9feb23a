package product

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/shared/siptest"
)

// until polls until cond returns "", which says what is still missing.
func until(t *testing.T, within time.Duration, what string, cond func() string) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		missing := cond()
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s: %s", within, what, missing)
		}
	}
}

// bounded is a context that ends with the test or after a while.
func bounded(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// waits bounds what a test phone waits for.
const waits = 30 * time.Second

// trust is what phones outside know of the border.
func (p *Product) trust(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(p.CA())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in " + p.CA())
	}
	return &tls.Config{RootCAs: pool, ServerName: Domain}
}

// outsider is a test phone on the Internet: TLS and SRTP.
func (p *Product) outsider(t *testing.T, h *lab.Host, number string, hz float64) siptest.Config {
	return siptest.Config{
		User: number, Password: Password, Domain: Domain, Transport: siptest.TLS, Server: p.Outside().String(), TLS: p.trust(t),
		Bind: h.Addr(), Within: h.Do, SRTP: []siptest.Suite{siptest.AESGCM}, Tone: hz,
	}
}

// tester makes a test phone, which is closed at the end of the test.
func tester(t *testing.T, c siptest.Config) *siptest.Phone {
	t.Helper()
	ph, err := siptest.NewPhone(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ph.Close()
		if t.Failed() {
			for _, m := range ph.Ladder() {
				t.Logf("%s %s sent=%v\n%s", m.Time.Format("05.000"), ph.Name(), m.Sent, m.Text)
			}
		}
	})
	return ph
}

// enrol registers a test phone.
func enrol(t *testing.T, ph *siptest.Phone) {
	t.Helper()
	if err := ph.Register(bounded(t, waits), time.Hour); err != nil {
		t.Fatalf("registering %s: %v", ph.Name(), err)
	}
}

// record is a line of the call records.
type record struct {
	ID, Caller, Callee, Dialled, Direction, Trunk, Disposition, Reason string

	Code               int
	Start, Answer, End string
}

// records reads all call records.
func (p *Product) records(t *testing.T) []record {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.CDRs(), "cdr-*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []record
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !strings.HasSuffix(line, "\n") {
				continue // being written
			}
			var r record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v: %q", f, err, line)
			}
			out = append(out, r)
		}
	}
	return out
}

// recorded are the call records of a caller.
func (p *Product) recorded(t *testing.T, caller string) []record {
	t.Helper()
	var out []record
	for _, r := range p.records(t) {
		if r.Caller == caller {
			out = append(out, r)
		}
	}
	return out
}

// coreUp is what the border says each time that it has reached the exchange.
var coreUp = regexp.MustCompile(`core link is up`)
