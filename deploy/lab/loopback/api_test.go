package loopback

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// curl asks the exchange's API as a program of somebody else does, and returns the status and the body.
func (s *site) curl(token, method, path, body string) (status int, answer string) {
	s.t.Helper()
	args := []string{
		"--silent", "--show-error", "--max-time", "20", "--cacert", s.path("ca.crt"), "--request", method,
		"--header", "Authorization: Bearer " + token, "--write-out", "\n%{http_code}",
		"--connect-to", "localhost:443:" + s.addr(10) + ":" + strconv.Itoa(apiPort),
	}
	if body != "" {
		args = append(args, "--header", "Content-Type: application/json", "--data", body)
	}
	out, err := exec.Command("curl", append(args, "https://localhost/v1"+path)...).Output()
	if err != nil {
		s.t.Fatalf("curl %s %s: %v", method, path, err)
	}
	end := strings.LastIndexByte(string(out), '\n')
	if status, err = strconv.Atoi(string(out[end+1:])); err != nil {
		s.t.Fatal(err)
	}
	return status, string(out[:end])
}

// TestAPI: a program changes what becomes of the next call; the exchange is killed; key, change and audit are still there.
func TestAPI(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here:", err)
	}
	s := open(t, func(o *options) { o.API = true })
	s.extension("1931", "1932")
	a := s.register(s.config(remote, "1931"))
	s.register(s.config(insideUDP, "1932"))
	token := strings.TrimSpace(must(t, "pbx", "key", "add", "console", "--scope", "extensions:write,audit:read,calls:read", "--socket", s.path("pbx.sock")))
	if status, answer := s.curl(token, "PUT", "/extensions/1932/dnd", `{"on":true}`); status != 204 {
		t.Fatalf("%d %s", status, answer)
	}
	s.pbx.kill()
	s.startExchange()
	s.awaitLink()
	if r := settled(t, invite(t, a, "1932")); r.Code != 486 {
		t.Errorf("a call to a phone that may not be disturbed: %s", r)
	}
	for _, c := range []struct {
		token, method, path, body, want string
		status                          int
	}{
		{token, "GET", "/extensions", "", `"number":"1932"`, 200},
		{token, "GET", "/openapi.json", "", `"openapi":"3.1.0"`, 200},
		{token, "PUT", "/extensions/1932/dnd", `{"on":true,"on":false}`, "duplicate", 400},
		{token, "DELETE", "/calls/x", "", "calls:write", 403},
		{token + "x", "GET", "/extensions", "", "no such key", 401},
		{"", "GET", "/extensions", "", "no such key", 401},
	} {
		if status, answer := s.curl(c.token, c.method, c.path, c.body); status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, answer, c.status, c.want)
		}
	}
	s.write("dialplan.yaml", strings.Replace(s.render(dialplanYAML), "*43", "*47", 1))
	s.pbx.signal(syscall.SIGHUP)
	type entry struct{ Who, From, Operation, Target, Before, After json.RawMessage }
	eventually(t, "the audit of the dialplan", func() string {
		_, answer := s.curl(token, "GET", "/audit?target=dialplan", "")
		var list []entry
		if err := json.Unmarshal([]byte(answer), &list); err != nil {
			t.Fatal(answer)
		}
		if len(list) == 1 && string(list[0].From) == `"signal"` && strings.Contains(string(list[0].Before), "*43") && strings.Contains(string(list[0].After), "*47") {
			return ""
		}
		return answer
	})
	_, answer := s.curl(token, "GET", "/audit?target=/v1/extensions/1932/dnd", "")
	if !strings.Contains(answer, `"who":"key console (`) || !strings.Contains(answer, `"operation":"setDND"`) {
		t.Errorf("the audit: %s", answer)
	}
}
