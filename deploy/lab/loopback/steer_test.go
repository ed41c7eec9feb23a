package loopback

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
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
