package loopback

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// The WebSocket's part of a site that has one.
const (
	wssPort = 17443
	wsPort  = 17480
	page    = "https://phone.brickhouse.test"
)

// inBrowser is a phone in a browser, on a page.
func (s *site) inBrowser(number, origin string) siptest.Config {
	c := s.config(remote, number)
	c.Transport, c.Server, c.Path, c.Origin = siptest.WSS, net.JoinHostPort(s.addr(1), strconv.Itoa(wssPort)), "/sip", origin
	return c
}

// TestWebSocket registers phones over WebSockets and has them call and be called.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessWS = true })
	tell(t, s, 1950, []story{
		{"called and calling", func(s *site, x []string) {
			web, desk := s.register(s.inBrowser(x[0], page)), s.register(s.config(insideUDP, x[1]))
			p := connect(s.t, desk, web, x[0])
			p.talk(s.t)
			in := p.b.Request()
			if !strings.HasPrefix(in.Header("Via"), "SIP/2.0/WSS ") || !strings.Contains(in.Header("Contact"), ";transport=ws>") {
				s.t.Errorf("Via %q, Contact %q", in.Header("Via"), in.Header("Contact"))
			}
			p.hangup(s.t, true)
			q := connect(s.t, web, desk, x[1])
			q.talk(s.t)
			q.hangup(s.t, false)
			connect(s.t, web, s.register(s.config(remote, x[2])), x[2]).hangup(s.t, true)
		}},
		{"its connection is its registration", func(s *site, x []string) {
			web, desk := s.register(s.inBrowser(x[0], page)), s.register(s.config(insideUDP, x[1]))
			web.Close()
			eventually(s.t, "the call to be refused", func() string {
				if _, err := desk.Call(within(s.t, patience), x[0]); err == nil {
					return "it was answered"
				}
				return ""
			})
			connect(s.t, desk, s.register(s.inBrowser(x[0], page)), x[0]).hangup(s.t, true)
		}},
		{"no browser", func(s *site, x []string) {
			s.register(s.inBrowser(x[0], ""))
		}},
		{"without TLS", func(s *site, x []string) {
			c := s.config(remote, x[0])
			c.Transport, c.Server = siptest.WS, net.JoinHostPort(s.addr(1), strconv.Itoa(wsPort))
			if p := s.register(c); len(s.bound(x[0])) != 1 {
				s.t.Errorf("%s: bindings %+v", p.Name(), s.bound(x[0]))
			}
		}},
		{"another page", func(s *site, x []string) {
			c := s.inBrowser(x[0], "https://evil.example")
			for range 6 { // more than a rule needs: a page must not get its visitors banned
				err := s.phone(c).Register(within(s.t, patience), time.Hour)
				if err == nil || !strings.Contains(err.Error(), "403") {
					s.t.Errorf("%v, not refused with 403", err)
				}
			}
			s.awaitMetric("sbc", "refused_total", "origin-refused", 6)
			c.Origin = page
			s.register(c)
		}},
	})
}
