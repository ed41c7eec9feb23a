package loopback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/siptest"
)

// ladders asks a program for the ladders of a call.
func (s *site) ladders(program, id string) []b2bua.Record {
	s.t.Helper()
	out, err := exec.Command(filepath.Join(binDir, program), "call", "show", id, "--json", "--socket", s.path(program+".sock")).Output()
	if err != nil {
		s.t.Fatalf("%s call show %s: %v", program, id, err)
	}
	var list []b2bua.Record
	if err := json.Unmarshal(out, &list); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// TestLadder: one trace finds the call in both programs and in the CDR, and each shows both of its legs.
func TestLadder(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1921", "1922")
	a, b := s.register(s.config(remote, "1921")), s.register(s.config(insideUDP, "1922"))
	p := connect(t, a, b, "1922")
	p.talk(t)
	p.hangup(t, true)
	trace := s.recorded("1921", 1).Trace
	for program, legs := range map[string]string{"sbc": "exchange", "pbx": "1922"} {
		list := s.ladders(program, trace)
		if len(list) != 1 {
			t.Fatalf("%s: %d calls of trace %s", program, len(list), trace)
		}
		var got []string
		for _, st := range list[0].Steps {
			if st.Code == 0 && st.Method != "ACK" {
				got = append(got, st.Side+" "+string(st.Method))
			}
			if st.Side == "b" && st.Leg != legs {
				t.Errorf("%s: leg %q", program, st.Leg)
			}
		}
		if want := "a INVITE, b INVITE, a BYE, b BYE"; strings.Join(got, ", ") != want {
			t.Errorf("%s: %q", program, got)
		}
		if r := list[0]; r.Code != 200 || r.Reason != "normal-clearing" || r.Ended.IsZero() {
			t.Errorf("%s: %+v", program, r)
		}
	}
}

// TestDrain: who is asked to end lets calls end, takes no new ones, and leaves when the last has ended.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.Drain = "1m" })
	s.extension("1921", "1922", "1923")
	a, b, c := s.register(s.config(remote, "1921")), s.register(s.config(insideUDP, "1922")), s.register(s.config(remote, "1923"))
	p := connect(t, a, b, "1922")
	p.talk(t)
	s.border.signal(syscall.SIGTERM)
	eventually(t, "a new call to be refused", func() string {
		call, err := c.Call(within(t, patience), "1922")
		if err == nil {
			_ = call.Hangup(within(t, patience))
			return "it was taken"
		}
		var no *siptest.RefusedError
		if !errors.As(err, &no) || no.Code != 503 || no.Response.Header("Retry-After") == "" {
			return err.Error()
		}
		return ""
	})
	p.talk(t)
	began := time.Now()
	p.hangup(t, true)
	if status := s.border.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if time.Since(began) > 30*time.Second {
		t.Error("it waited on although no call was left")
	}
}

// TestDrainByHand: an operator takes a program out of service. A carrier's and a phone's OPTIONS say so, new calls go elsewhere, emergency
// calls pass, and afterwards all is as before.
func TestDrainByHand(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	gw := s.gateway(60, siptest.UDP, nil)
	s.write("dialplan.yaml", tollDialplan)
	s.exchange("reload")
	outside, inside := s.register(s.config(remote, "1801")), s.register(s.config(insideUDP, "1802"))
	pings := map[string]func() string{
		"carrier": func() string { return s.ping(siptest.Config{Server: s.at(2, trunkPort), Bind: s.ip(60)}) },
		"desk":    func() string { return s.ping(siptest.Config{Server: s.at(10, 17060), Bind: s.ip(70)}) },
	}
	for _, c := range []struct {
		program, pinger string
		caller          *siptest.Phone
	}{{"sbc", "carrier", outside}, {"pbx", "desk", inside}} {
		if got := pings[c.pinger](); got != "200" {
			t.Errorf("%s answers OPTIONS with %s", c.program, got)
		}
		if r := command(t, "", c.program, "drain", "--socket", s.path(c.program+".sock")); r.status != 0 || !strings.Contains(r.stdout, "no new calls are taken") {
			t.Fatalf("%s drain: %+v", c.program, r)
		}
		if got := pings[c.pinger](); got != "503, Retry-After" {
			t.Errorf("draining, %s answers OPTIONS with %s", c.program, got)
		}
		fails(t, c.caller, "030123456", 503)
		p := connect(t, c.caller, gw.Phone, "112")
		p.talk(t)
		p.hangup(t, true)
		if r := command(t, "", c.program, "drain", "--off", "--socket", s.path(c.program+".sock")); r.status != 0 {
			t.Fatalf("%s drain --off: %+v", c.program, r)
		}
		p = connect(t, c.caller, gw.Phone, "030123456")
		p.hangup(t, true)
	}
	s.pbx.kill()
	s.awaitMetric("sbc", "core_link_up", "", 0)
	if got := pings["carrier"](); got != "503, Retry-After" {
		t.Errorf("without an exchange, sbc answers OPTIONS with %s", got)
	}
}

// at is an address of the site's.
func (s *site) at(host, port int) string { return net.JoinHostPort(s.addr(host), strconv.Itoa(port)) }

// ping sends an OPTIONS over UDP and returns the code of the answer, and whether it says when to come back.
func (s *site) ping(c siptest.Config) string {
	s.t.Helper()
	c.Transport = siptest.UDP
	text := fmt.Sprintf("OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bK%[3]d;rport\r\nMax-Forwards: 70\r\nFrom: <sip:%[2]s>;tag=%[3]d\r\n"+
		"To: <sip:%[1]s>\r\nCall-ID: %[3]d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", c.Server, c.Bind, time.Now().UnixNano())
	got, err := siptest.SendRaw(within(s.t, patience), c, []byte(text), time.Second)
	if err != nil || !bytes.HasPrefix(got, []byte("SIP/2.0 ")) || len(got) < 12 {
		s.t.Fatalf("OPTIONS to %s: %q, %v", c.Server, got, err)
	}
	answer := string(got[8:11])
	if bytes.Contains(got, []byte("\r\nRetry-After: ")) {
		answer += ", Retry-After"
	}
	return answer
}
