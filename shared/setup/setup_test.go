package setup

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/command"
	"brickhouse/shared/pki"
)

func TestNewSite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b c")
	s, err := newSite(dir, "example.com", "::ffff:192.0.2.1", 7060)
	if err != nil {
		t.Fatal(err)
	}
	if s.Address.String() != "192.0.2.1" || s.Dir != dir || s.Domain != "example.com" {
		t.Errorf("%+v", s)
	}
	if ports := fmt.Sprint(s.PhonePort(), s.BorderPort(), s.CorePort(), s.TrunkPort()); ports != "7060 7061 7070 7080" {
		t.Errorf("ports %s", ports)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
	if got := s.File("x"); got != `"`+dir+`/x"` {
		t.Errorf("%s", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir, domain, address string
		base                 int
		want                 string
	}{
		"no address":        {dir, "example.com", "here", 5060, `--address: "here"`},
		"any address":       {dir, "example.com", "0.0.0.0", 5060, `--address: "0.0.0.0"`},
		"any address, IPv6": {dir, "example.com", "::", 5060, `--address: "::"`},
		"many addresses":    {dir, "example.com", "224.0.0.1", 5060, `--address: "224.0.0.1"`},
		"zone":              {dir, "example.com", "fe80::1%eth0", 5060, "--address: "},
		"no domain":         {dir, "", "192.0.2.1", 5060, `--domain: ""`},
		"bad domain":        {dir, "a_b", "192.0.2.1", 5060, `--domain: "a_b"`},
		"port too low":      {dir, "example.com", "192.0.2.1", 1023, "--port-base: 1023"},
		"port too high":     {dir, "example.com", "192.0.2.1", 65001, "--port-base: 65001"},
		"no directory":      {file, "example.com", "192.0.2.1", 5060, file},
	} {
		if _, err := newSite(c.dir, c.domain, c.address, c.base); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1":   "[localhost 127.0.0.1] [0.0.0.0] 127.0.0.1:5060",
		"192.0.2.1":   "[localhost 127.0.0.1 192.0.2.1] [0.0.0.0] 192.0.2.1:5060",
		"2001:db8::1": "[localhost 127.0.0.1 2001:db8::1] [0.0.0.0 ::] [2001:db8::1]:5060",
	} {
		s := Site{Address: netip.MustParseAddr(addr)}
		if got := fmt.Sprint(s.Aliases(), " ", s.Everywhere(), " ", s.At(s.Address, 5060)); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestFiles(t *testing.T) {
	s := Site{Dir: t.TempDir(), Domain: "example.com"}
	if err := s.Fresh("a"); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	if err := s.Write("a", "domain: {{.Domain}}\n", s); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(s.Path("a"))
	if text, _ := os.ReadFile(s.Path("a")); err != nil || st.Mode().Perm() != 0o600 || string(text) != "domain: example.com\n" {
		t.Errorf("%v, %q, %v", st.Mode(), text, err)
	}
	if err := s.Fresh("a"); err == nil || !strings.Contains(err.Error(), s.Path("a")+" exists") {
		t.Errorf("%v", err)
	}
	if err := os.Symlink("nowhere", s.Path("link")); err != nil {
		t.Fatal(err)
	}
	if s.Fresh("link") == nil {
		t.Error("a link that leads nowhere would be replaced")
	}
	for name, text := range map[string]string{"unknown field": "{{.Nothing}}", "no template": "{{"} {
		if err := s.Write("b", text, s); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
		if _, err := os.Stat(s.Path("b")); err == nil {
			t.Errorf("%s: half a file", name)
		}
	}
}

// TestAuthority makes one, and uses it again.
func TestAuthority(t *testing.T) {
	s := Site{Dir: t.TempDir(), Domain: "example.com"}
	first, err := s.Authority()
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Authority()
	if err != nil || !second.Cert.Equal(first.Cert) {
		t.Errorf("another authority: %v", err)
	}
	if !strings.Contains(first.Cert.Subject.CommonName, "example.com") || time.Until(first.Cert.NotAfter) < 9*365*24*time.Hour {
		t.Errorf("%s until %s", first.Cert.Subject, first.Cert.NotAfter)
	}
	if err := s.Issue(second, "x", pki.Request{DNS: []string{"x.test"}, Use: pki.Server}); err != nil {
		t.Fatal(err)
	}
	roots, err := pki.Roots(s.Path("ca.crt"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.Load(s.Path("x.crt"), s.Path("x.key"), pki.Check{Now: time.Now(), Name: "x.test", Use: pki.Server, Roots: roots})
	if err != nil || time.Until(cert.Leaf.NotAfter) > leafLife {
		t.Errorf("%v", err)
	}
	if err := s.Issue(second, "y", pki.Request{Use: pki.Server}); err == nil {
		t.Error("a server without a name")
	}
	for _, name := range []string{"ca.crt", "ca.key", "x.crt", "x.key"} {
		if st, err := os.Stat(s.Path(name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if err := os.Remove(s.Path("ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authority(); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("an authority without its key: %v", err)
	}
}

func TestCommand(t *testing.T) {
	var got Site
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		c := Command("Do it", func(_ *cobra.Command, s Site) error { got = s; return nil })
		return command.Run(t.Context(), command.Program{Name: "x", Commands: []*cobra.Command{c}}, append([]string{"quickstart"}, args...), &out, &errs), errs.String()
	}
	dir := filepath.Join(t.TempDir(), "site")
	if status, errs := run(dir); status != 0 || got.Dir != dir || got.Domain != "brickhouse.test" || got.Base != 5060 || got.Address.String() != "127.0.0.1" {
		t.Errorf("%d %s %+v", status, errs, got)
	}
	if status, errs := run(dir, "--domain", "a.b", "--address", "192.0.2.1", "--port-base", "7000"); status != 0 || got.Domain != "a.b" || got.Base != 7000 || got.Address.String() != "192.0.2.1" {
		t.Errorf("%d %s %+v", status, errs, got)
	}
	for _, args := range [][]string{{}, {dir, "x"}, {dir, "--address", "x"}, {dir, "--domain", "a b"}, {dir, "--port-base", "x"}, {dir, "--port-base", "1"}} {
		if status, errs := run(args...); status != 2 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: %d %q", args, status, errs)
		}
	}
}
