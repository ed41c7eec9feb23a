package loopback

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/pki"
	"brickhouse/shared/siptest"
)

// logs waits until a program's log holds a line with all these words.
func (p *program) logs(words ...string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s to log %q", p.name, words), func() string {
	next:
		for line := range strings.Lines(p.out.String()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue next
				}
			}
			return ""
		}
		return "no such line"
	})
}

// The border starts without an exchange, says whom it can't reach, answers phones, and connects once there is one.
func TestExchangeAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.startBorder()
	s.border.logs(`"level":"ERROR"`, s.addr(10)+":17070")
	p := s.phone(s.config(remote, "1001"))
	var no *siptest.RefusedError
	if err := p.Register(within(t, patience), time.Hour); !errors.As(err, &no) || no.Code != 503 || no.Response.Header("Retry-After") == "" {
		t.Errorf("REGISTER: %v", err)
	}
	fails(t, p, "1002", 503)
	s.startExchange()
	s.awaitLink()
	s.extension("1961")
	s.register(s.config(remote, "1961"))

	// A border that is not the one that the exchange was told of is not let in, and both logs say so.
	s.border.kill()
	s.certify("sbc-core", pki.Request{DNS: []string{"another.brickhouse.internal"}, Use: pki.Client})
	s.border.start()
	s.border.logs(`"level":"ERROR"`, "exchange ends the connection")
	s.pbx.logs(`"level":"WARN"`, "handshake-failed")
	if s.metric("sbc", "core_link_up", "") != 0 {
		t.Error("the link is up")
	}
	// Nor is an exchange that is not the one that the border was told of.
	s.certify("sbc-core", pki.Request{DNS: []string{"sbc.brickhouse.internal"}, Use: pki.Client})
	s.certify("pbx", pki.Request{DNS: []string{"another.brickhouse.internal"}, Use: pki.Server})
	for _, prog := range []*program{s.pbx, s.border} {
		prog.signal(syscall.SIGHUP)
	}
	s.border.logs(`"level":"ERROR"`, "another.brickhouse.internal")
}

// A Vault server that can't be reached at the start is waited for, and the log says where it should be.
func TestVaultAway(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.write("token", "hvs.token")
	good := s.read("pbx.yaml")
	i := strings.Index(good, "secrets:")
	j := strings.Index(good, "dialplan:")
	s.write("pbx.yaml", good[:i]+"secrets:\n  store: vault\n  vault: {address: \"http://127.0.0.1:9\", token_file: "+s.path("token")+", timeout: 1s}\n"+good[j:])
	must(t, "pbx", "check", "-c", s.path("pbx.yaml"))
	p := launch(t, "pbx", "serve", "-c", s.path("pbx.yaml"))
	p.logs("127.0.0.1:9")
	if strings.Contains(p.out.String(), "hvs.token") {
		t.Error("the log holds the token")
	}
	if !p.running() {
		t.Fatalf("the exchange ended:\n%s", p.out)
	}
	for _, k := range p.sockets() {
		if k.listening {
			t.Errorf("without its secrets, the exchange listens at %s", k)
		}
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(); status != 0 {
		t.Errorf("asked to end while it waits, it ends with status %d:\n%s", status, p.out)
	}
	// Faults of the configuration are said before any waiting.
	for _, c := range [][2]string{
		{"token_file: " + s.path("token"), "token_file: " + s.path("none")},
		{"http://127.0.0.1:9", "http://vault.example.com:9"},
		{s.path("pbx.crt"), s.path("none.crt")},
	} {
		text := s.read("pbx.yaml")
		s.write("pbx.yaml", strings.Replace(text, c[0], c[1], 1))
		if r := command(t, "", "pbx", "serve", "-c", s.path("pbx.yaml")); r.status != 2 || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %+v", c[1], r)
		}
		s.write("pbx.yaml", text)
	}
}
