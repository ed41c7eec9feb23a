package quickstart

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/border"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/pki"
	"brickhouse/shared/setup"
)

func run(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := command.Program{Name: "sbc", Commands: []*cobra.Command{Command()}}
	status = command.Run(t.Context(), p, append([]string{"quickstart"}, args...), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// TestQuickstart writes a configuration that loads, with certificates that fit, for any kind of address and directory.
func TestQuickstart(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "192.0.2.1", "2001:db8::1"} {
		dir := filepath.Join(t.TempDir(), "a site: of \"mine\"")
		status, out, errs := run(t, dir, "--address", addr, "--domain", "phones.example", "--port-base", "7060")
		if status != 0 || errs != "" {
			t.Fatalf("%s: %d %s", addr, status, errs)
		}
		for _, want := range []string{filepath.Join(dir, "sbc.yaml"), filepath.Join(dir, "ca.crt"), addr + " port 7061", "phones.example"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", addr, want, out)
			}
		}
		cfg := border.Default()
		if err := conffile.Load(filepath.Join(dir, "sbc.yaml"), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := border.Check(&cfg); err != nil {
			t.Error(err)
		}
		if cfg.Domain != "phones.example" || cfg.Access.SRTP != "require" || cfg.Core.Exchange != "127.0.0.1:7070" || cfg.Core.ServerName != setup.ExchangeName ||
			cfg.State != filepath.Join(dir, "sbc-state") || cfg.Peer.Interfaces[0].Listen != netip.AddrPortFrom(netip.MustParseAddr(addr), 7080) {
			t.Errorf("%s: %+v", addr, cfg)
		}
		roots, err := pki.Roots(filepath.Join(dir, "ca.crt"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"phones.example", "localhost", "127.0.0.1", addr} {
			check := pki.Check{Now: time.Now(), Name: name, Use: pki.Server, Roots: roots}
			if _, err := pki.Load(cfg.Access.TLS.Certificate, cfg.Access.TLS.Key, check); err != nil {
				t.Errorf("%s: %v", addr, err)
			}
		}
		if _, err := pki.Load(cfg.Core.Certificate, cfg.Core.Key, pki.Check{Now: time.Now(), Name: setup.BorderName, Use: pki.Client, Roots: roots}); err != nil {
			t.Error(err)
		}
		private(t, dir)
	}
}

// private holds that nobody else may read what was written.
func private(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) < 7 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, e := range list {
		if st, err := e.Info(); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", e.Name(), st.Mode(), err)
		}
	}
}

// TestTwice replaces nothing.
func TestTwice(t *testing.T) {
	dir := t.TempDir()
	if status, _, errs := run(t, dir); status != 0 {
		t.Fatal(errs)
	}
	before, err := os.ReadFile(filepath.Join(dir, "sbc.key"))
	if err != nil {
		t.Fatal(err)
	}
	status, out, errs := run(t, dir)
	if status != 2 || out != "" || !strings.Contains(errs, "sbc.yaml exists; remove it, or name another directory") {
		t.Errorf("%d %q %q", status, out, errs)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "sbc.key")); !bytes.Equal(before, after) {
		t.Error("the key is another one")
	}
}
