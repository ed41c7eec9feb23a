package banapi

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bouncer runs CrowdSec's own bouncer against the endpoint; it calls a script for each decision. told returns what the script
// was told: lines of "add" or "del", and the address.
func bouncer(t *testing.T, r *rig) (told func() string) {
	t.Helper()
	tool, err := exec.LookPath("crowdsec-custom-bouncer")
	if err != nil {
		t.Skip("crowdsec-custom-bouncer is not installed (Debian)")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	script := fmt.Sprintf("#!/bin/sh\necho \"$1 $2\" >> %s\n", path("told"))
	config := fmt.Sprintf("bin_path: %s\nfeed_via_stdin: false\npiddir: %s\nupdate_frequency: 1s\ncache_retention_duration: 1s\ndaemonize: false\n"+
		"log_mode: file\nlog_dir: %s\nlog_level: info\napi_url: http://%s/\napi_key: %s\nprometheus: {enabled: false}\n",
		path("script"), dir, dir, r.server.Addr(), r.keys["read"])
	for name, text := range map[string]string{"script": script, "config.yaml": config} {
		if err := os.WriteFile(path(name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tool, "-c", path("config.yaml"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(path("crowdsec-custom-bouncer.log"))
			t.Logf("%s", text)
		}
	})
	return func() string {
		text, _ := os.ReadFile(path("told"))
		return string(text)
	}
}

// TestBouncer holds the stream to a bouncer that CrowdSec wrote: it hears what is there, what is new, and what has ended.
func TestBouncer(t *testing.T) {
	r := newRig(t, nil)
	if err := r.server.Listen(); err != nil {
		t.Fatal(err)
	}
	defer r.server.Close()
	r.ban("192.0.2.1/32", time.Hour, "anna")
	r.ban("203.0.113.0/24", time.Hour, "anna")
	told := bouncer(t, r)
	until := func(line string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !strings.Contains(told(), line+"\n"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s was not told, but\n%s", line, told())
			}
		}
	}
	until("add 192.0.2.1")
	until("add 203.0.113.0/24")
	r.do("ban", "POST", "/v1/alerts", alert("4h", "ip", "2001:db8::7"), 201)
	until("add 2001:db8::7")
	r.do("ban", "DELETE", "/v1/decisions?ip=2001:db8::7", "", 200)
	until("del 2001:db8::7")
	r.move(2 * time.Hour)
	until("del 192.0.2.1")
	until("del 203.0.113.0/24")
	if n := strings.Count(told(), "\n"); n != 6 {
		t.Errorf("%d lines:\n%s", n, told())
	}
}
