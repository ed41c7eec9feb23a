package loopback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

const trunkUser, trunkSecret = "trunk-4930", "what only the exchange knows"

// trunked makes a site with a carrier that has gateways at .60 and .61, over a transport.
func trunked(t *testing.T, transport string, change ...func(*options)) *site {
	s := newSite(t, func(o *options) {
		for _, c := range change {
			c(o)
		}
	})
	s.opt.Username = trunkUser
	s.opt.Trunk = fmt.Sprintf(`    - name: carrier
      gateways:
        - {address: "%[1]s:17080", transport: %[3]s, priority: 1}
        - {address: "%[2]s:17080", transport: %[3]s, priority: 2}
      sources: ["%[1]s/31"]`, s.addr(60), s.addr(61), transport)
	s.opt.Dialplan = `  - {number: "0.", do: trunk, trunk: carrier, strip: 1}
  - {from: carrier, number: "49301234XX", strip: 8, prepend: "18"}`
	s.configure()
	s.startExchange()
	s.startBorder()
	r := command(t, trunkSecret+"\n", "pbx", "trunk", "passwd", "carrier", "--socket", s.path("pbx.sock"))
	if r.status != 0 {
		t.Fatalf("storing the trunk's password: %s", r.stderr)
	}
	s.extension("1801", "1802", "1803", "1804")
	return s
}

// gateway is one of the carrier's.
func (s *site) gateway(host int, transport siptest.Transport, change func(*siptest.CarrierConfig)) *siptest.Carrier {
	s.t.Helper()
	c := siptest.CarrierConfig{Config: siptest.Config{
		Name: fmt.Sprint(host), User: "4989555", Bind: s.ip(host), Port: trunkPort, Transport: transport,
		Server: s.addr(2) + fmt.Sprintf(":%d", trunkPort), Domain: s.addr(2), Tone: tones[host%len(tones)], UserAgent: "CarrierSwitch/1",
	}, TrunkUser: trunkUser, TrunkSecret: trunkSecret}
	if change != nil {
		change(&c)
	}
	g, err := siptest.NewCarrier(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		g.Close()
		for _, f := range g.Faults() {
			s.t.Errorf("gateway %s found fault: %s", g.Name(), f)
		}
		if s.t.Failed() {
			for _, m := range g.Ladder() {
				s.t.Logf("gateway %s sent=%v\n%s", g.Name(), m.Sent, m.Text)
			}
		}
	})
	return g
}

// Calls out and in over a trunk that asks for credentials either way.
func TestTrunk(t *testing.T) {
	t.Parallel()
	for _, code := range []int{401, 407} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			s := trunked(t, "udp")
			gw := s.gateway(60, siptest.UDP, func(c *siptest.CarrierConfig) { c.Challenge, c.AlwaysStale = code, 1 })
			var phones []*siptest.Phone
			for i, from := range []place{remote, insideUDP} {
				a := s.register(s.config(from, fmt.Sprint(1801+i)))
				phones = append(phones, a)
				p := connect(t, a, gw.Phone, "0123456")
				p.talk(t)
				if in := p.b.Request(); !strings.HasPrefix(in.URI, "sip:123456@"+s.addr(60)) {
					t.Errorf("the carrier is asked for %s", in.URI)
				}
				p.hangup(t, i == 0)
				if r := s.recorded(a.Name(), 1); r.Trunk != "carrier" || r.Direction != "outbound" || r.Disposition != "answered" || r.Dialled != "0123456" || r.Callee != "123456" {
					t.Errorf("call record %+v", r)
				}
			}
			if c := gw.Counts(); c.Wrong != 0 || c.Accepted != 2 || c.Stale != 1 || c.Challenged != 2 {
				t.Errorf("the carrier counted %+v", c)
			}
			s.secrets(gw)

			for i := range phones {
				p := connect(t, gw.Phone, phones[i], fmt.Sprintf("493012340%d", i+1))
				p.talk(t)
				p.hangup(t, i == 0)
			}
			if r := s.recorded("4989555", 2); r.Trunk != "carrier" || r.Direction != "inbound" || r.Realm != "peer" || r.Dialled != "4930123402" || r.Callee != "1802" {
				t.Errorf("call record %+v", r)
			}
			fails(t, gw.Phone, "4930999999", 404) // no such number
			fails(t, gw.Phone, "0123456", 404)    // a trunk may not call through a trunk
			fails(t, gw.Phone, "4930123404", 480) // not registered
			fails(t, gw.Phone, "*43", 404)        // services are for phones
		})
	}
}

// secrets wants that credentials left the border only as answers to the carrier's challenge, and nothing of any phone's.
func (s *site) secrets(gw *siptest.Carrier) {
	s.t.Helper()
	var nonces []string
	for _, m := range gw.Ladder() {
		if m.Sent {
			if msg, err := siptest.ParseMessage([]byte(m.Text)); err == nil {
				for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
					nonces = append(nonces, parameter(msg.Header(name), "nonce"))
				}
			}
			continue
		}
		if strings.Contains(m.Text, trunkSecret) || strings.Contains(m.Text, "username=\"18") {
			s.t.Errorf("the carrier received a secret:\n%s", m.Text)
		}
		msg, err := siptest.ParseMessage([]byte(m.Text))
		if err != nil {
			s.t.Errorf("the carrier received\n%s\n%v", m.Text, err)
			continue
		}
		for _, name := range []string{"Authorization", "Proxy-Authorization"} {
			for _, v := range msg.Headers(name) {
				if parameter(v, "username") != trunkUser || !slices.Contains(nonces, parameter(v, "nonce")) || msg.Method != "INVITE" && msg.Method != "ACK" {
					s.t.Errorf("%s with credentials that the carrier did not ask for: %s", msg.Method, v)
				}
			}
		}
	}
}

// parameter is a parameter of a challenge or of credentials.
func parameter(value, name string) string {
	_, rest, ok := strings.Cut(value, name+`="`)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// The next gateway is asked if the first can't take the call, and not if the callee does not want it.
func TestFailover(t *testing.T) {
	t.Parallel()
	t.Run("refused connection", func(t *testing.T) {
		t.Parallel()
		s := trunked(t, "tcp")
		second := s.gateway(61, siptest.TCP, nil)
		p := connect(t, s.register(s.config(remote, "1801")), second.Phone, "0123456")
		p.talk(t)
		p.hangup(t, true)
		p = connect(t, second.Phone, s.register(s.config(insideTCP, "1802")), "4930123402") // and in, over a connection
		p.talk(t)
		p.hangup(t, false)
		second.Close()
		fails(t, s.register(s.config(insideUDP, "1803")), "0123456", 503)
		s.ended("1803", 503, "target-failed", "failed")
	})
	t.Run("by name", func(t *testing.T) {
		t.Parallel()
		s := trunked(t, "udp")
		s.opt.Trunk = strings.Replace(s.opt.Trunk, s.addr(60)+":17080", "no-such-gateway.invalid:17080", 1)
		s.configure()
		if failed := s.border.hup(); failed != "0" { // trunks are read again
			t.Fatal(s.border.faulty())
		}
		second := s.gateway(61, siptest.UDP, nil)
		p := connect(t, s.register(s.config(remote, "1801")), second.Phone, "0123456")
		p.hangup(t, true)
	})
	t.Run("answers", failoverByAnswer)
}

// failoverByAnswer has the first gateway refuse, and sees whether the second is asked.
func failoverByAnswer(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	first := s.gateway(60, siptest.UDP, nil)
	second := s.gateway(61, siptest.UDP, nil)
	a := s.register(s.config(remote, "1801"))
	for _, c := range []struct {
		code int
		goes bool // on to the second gateway
	}{{503, true}, {500, true}, {408, true}, {486, false}, {603, false}, {404, false}} {
		first.SetAnswer(siptest.RefuseWith(c.code))
		call := invite(t, a, "0123456")
		if c.goes {
			in := incoming(t, second.Phone)
			if r := settled(t, call); !r.OK() {
				t.Fatalf("first gateway %d: %s", c.code, r)
			}
			if err := call.Hangup(within(t, patience)); err != nil {
				t.Error(err)
			}
			await(t, in.Done(), "the end at the second gateway")
		} else if r := settled(t, call); r.Code != c.code {
			t.Errorf("first gateway %d: the caller gets %s", c.code, r)
		}
		incoming(t, first.Phone)
	}
	select {
	case c := <-second.Incoming():
		t.Errorf("the second gateway was asked although the callee had refused: %s", c.Request().URI)
	default:
	}
	// Both are out of order, by their own word.
	first.SetAnswer(siptest.RefuseWith(503))
	second.SetAnswer(siptest.RefuseWith(503))
	fails(t, a, "0123456", 503)
}

// A carrier whose realm is not the configured one gets no credentials.
func TestTrunkRealm(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	s.opt.AuthRealm = "carrier"
	s.configure()
	s.pbx.kill()
	s.startExchange()
	s.awaitLink()
	gw := s.gateway(60, siptest.UDP, func(c *siptest.CarrierConfig) { c.Challenge, c.Realm = 407, "somebody else" })
	a := s.register(s.config(insideUDP, "1801"))
	if _, err := a.Call(within(t, patience), "0123456"); err == nil {
		t.Error("the call was answered")
	}
	if c := gw.Counts(); c.Wrong+c.Accepted+c.Stale != 0 || c.Challenged == 0 {
		t.Errorf("the carrier counted %+v", c)
	}
	s.secrets(gw)
}

// Who is no carrier of ours hears nothing on the carriers' side.
func TestStrangerAtThePeerSide(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	at := func(host int, network siptest.Transport) siptest.Config {
		return siptest.Config{Transport: network, Server: fmt.Sprintf("%s:%d", s.addr(2), trunkPort), Bind: s.ip(host)}
	}
	text := func(method, host string) []byte {
		return []byte(method + " sip:4930123401@" + s.addr(2) + " SIP/2.0\r\nVia: SIP/2.0/UDP " + host + ":5060;branch=z9hG4bKx;rport\r\n" +
			"Max-Forwards: 70\r\nFrom: <sip:4989555@" + host + ">;tag=a\r\nTo: <sip:4930123401@" + s.addr(2) + ">\r\nCall-ID: stranger-" + method + host +
			"\r\nCSeq: 1 " + method + "\r\nContact: <sip:x@" + host + ":5060>\r\nContent-Length: 0\r\n\r\n")
	}
	for _, network := range []siptest.Transport{siptest.UDP, siptest.TCP} {
		for i, method := range []string{"OPTIONS", "INVITE", "REGISTER", "BYE"} {
			before := s.metric("sbc", "refused_total", "unknown-peer")
			got, err := siptest.SendRaw(within(t, patience), at(80+i, network), text(method, s.addr(80+i)), 300*time.Millisecond)
			if len(got) > 0 || err != nil && network == siptest.UDP { // a connection may end before anything could be sent
				t.Errorf("%s over %s: a stranger gets %q, %v", method, network, got, err)
			}
			s.awaitMetric("sbc", "refused_total", "unknown-peer", before+1) // the connection may end before it is counted
		}
	}
	got, err := siptest.SendRaw(within(t, patience), at(60, siptest.UDP), text("OPTIONS", s.addr(60)), time.Second)
	if err != nil || !strings.HasPrefix(string(got), "SIP/2.0 200") {
		t.Errorf("the carrier's OPTIONS: %q, %v", got, err)
	}
}
