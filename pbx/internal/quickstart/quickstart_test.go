package quickstart

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/exchange"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/digest"
	"brickhouse/shared/pki"
	"brickhouse/shared/secret"
	"brickhouse/shared/setup"
)

func run(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := command.Program{Name: "pbx", Commands: []*cobra.Command{Command()}}
	status = command.Run(t.Context(), p, append([]string{"quickstart"}, args...), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// TestQuickstart writes a configuration that loads, for any kind of address and directory.
func TestQuickstart(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "192.0.2.1", "2001:db8::1"} {
		dir := filepath.Join(t.TempDir(), "a site: of \"mine\"")
		status, out, errs := run(t, dir, "--address", addr, "--domain", "phones.example", "--port-base", "7060")
		if status != 0 || errs != "" {
			t.Fatalf("%s: %d %s", addr, status, errs)
		}
		cfg := exchange.Default()
		if err := conffile.Load(filepath.Join(dir, "pbx.yaml"), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := exchange.Check(&cfg); err != nil {
			t.Error(err)
		}
		if cfg.Domain != "phones.example" || cfg.Core.Listen.String() != "127.0.0.1:7070" || cfg.Core.Border != setup.BorderName || len(cfg.Phones.Interfaces) != 2 ||
			cfg.Phones.Interfaces[0].Listen.Addr().String() != addr || cfg.Phones.Interfaces[0].Listen.Port() != 7060 || cfg.State != filepath.Join(dir, "pbx-state") {
			t.Errorf("%s: %+v", addr, cfg)
		}
		check := pki.Check{Now: time.Now(), Name: setup.ExchangeName, Use: pki.Server}
		if _, err := pki.Load(cfg.Core.Certificate, cfg.Core.Key, check); err != nil {
			t.Error(err)
		}
		accounts(t, dir, cfg, out)
		private(t, dir)
	}
}

// accounts holds that the two accounts exist, with the passwords that were told, and without them on the disk.
func accounts(t *testing.T, dir string, cfg exchange.Config, out string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "accounts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []account
	if err := json.Unmarshal(text, &list); err != nil || len(list) != 2 {
		t.Fatalf("%v: %s", err, text)
	}
	secrets, err := secret.Open(t.Context(), cfg.Secrets, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer secrets.Close()
	rows, err := exchange.OpenStore(t.Context(), cfg.State, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for _, a := range list {
		e, ok := rows.Extension(a.Number)
		if !ok || e.Name != a.Name || len(e.Algorithms) != 2 || e.CreatedAt.IsZero() {
			t.Errorf("%s: %+v", a.Number, e)
		}
		hashes, err := secrets.Get(t.Context(), "extension/"+a.Number)
		if err != nil || hashes[string(digest.SHA256)] != digest.HA1(digest.SHA256, a.Number, cfg.Domain, a.Password) || hashes[string(digest.MD5)] == "" || len(hashes) != 2 {
			t.Errorf("%s: %v, %v", a.Number, hashes, err)
		}
		if len(a.Password) != 24 || a.Realm != cfg.Domain || !strings.Contains(out, "user "+a.Number+"  password "+a.Password) {
			t.Errorf("%+v, told:\n%s", a, out)
		}
	}
	if list[0].Password == list[1].Password {
		t.Error("one password for both")
	}
}

// private holds that nobody else may read what was written.
func private(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir || strings.Contains(path, "pbx-state"+string(filepath.Separator)) {
			return err
		}
		n++
		if st, err := e.Info(); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
		return nil
	})
	if err != nil || n < 9 {
		t.Errorf("%d files, %v", n, err)
	}
}

// TestTwice replaces nothing, whichever file is left of the first time.
func TestTwice(t *testing.T) {
	dir := t.TempDir()
	if status, _, errs := run(t, dir); status != 0 {
		t.Fatal(errs)
	}
	for _, name := range []string{"pbx.yaml", "dialplan.yaml", "accounts.json", "secrets", "secrets.key", "pbx-state"} {
		path := filepath.Join(dir, name)
		before, _ := os.ReadFile(filepath.Join(dir, "pbx.key"))
		status, out, errs := run(t, dir)
		if status != 2 || out != "" || !strings.Contains(errs, path+" exists") {
			t.Errorf("%s: %d %q %q", name, status, out, errs)
		}
		if after, _ := os.ReadFile(filepath.Join(dir, "pbx.key")); !bytes.Equal(before, after) {
			t.Errorf("%s: the key is another one", name)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, errs := run(t, dir); status != 0 {
		t.Errorf("with the authority of the first time: %s", errs)
	}
}
