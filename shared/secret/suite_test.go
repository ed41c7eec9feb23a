package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/secret/vaulttest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// write puts text into a new file with mode 0600.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newFile(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	path, key := filepath.Join(dir, "secrets"), filepath.Join(dir, "key")
	if err := CreateFile(path, key); err != nil {
		t.Fatal(err)
	}
	s, err := OpenFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// vaultConfig is a configuration for a test server; the login is the caller's.
func vaultConfig(v *vaulttest.Server, prefix string) VaultConfig {
	c := DefaultVault()
	c.Address, c.Mount, c.Prefix = v.URL, "kv", prefix
	return c
}

func openVault(t *testing.T, c VaultConfig) Store {
	t.Helper()
	s, err := OpenVault(deadline(t), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tokenStore(t *testing.T, v *vaulttest.Server, prefix string) Store {
	t.Helper()
	v.Policy(prefix, "kv", prefix)
	c := vaultConfig(v, prefix)
	c.TokenFile = write(t, v.Token(prefix, "1h", "")+"\n")
	return openVault(t, c)
}

func appRoleConfig(t *testing.T, v *vaulttest.Server, prefix, ttl, maxTTL string) VaultConfig {
	t.Helper()
	v.Policy(prefix, "kv", prefix)
	c := vaultConfig(v, prefix)
	role, id := v.AppRole(prefix, prefix, ttl, maxTTL)
	c.RoleID, c.SecretIDFile = role, write(t, id)
	return c
}

func newCache(s Store) *Cache { return NewCache(s, DefaultCache(), time.Now, quiet()) }

// One behaviour, whatever the store.
func TestEveryStore(t *testing.T) {
	v := vaulttest.Start(t)
	v.EnableKV("kv")
	for name, open := range map[string]func(t *testing.T) Store{
		"file":        newFile,
		"file cached": func(t *testing.T) Store { return newCache(newFile(t)) },
		"vault token": func(t *testing.T) Store { return tokenStore(t, v, "by-token") },
		"vault approle": func(t *testing.T) Store {
			return openVault(t, appRoleConfig(t, v, "by-role", "1h", "2h"))
		},
		"vault cached": func(t *testing.T) Store { return newCache(tokenStore(t, v, "cached/deep")) },
	} {
		t.Run(name, func(t *testing.T) { suite(t, open(t)) })
	}
}

func suite(t *testing.T, s Store) {
	ctx := deadline(t)
	v1 := map[string]string{"ha1-sha256": "0123", "empty": "", "odd \"key\"\n": "ä\x00\u202e\n"}
	v2 := map[string]string{"ha1-md5": "4567"}
	get := func(path string, want map[string]string) {
		t.Helper()
		got, err := s.Get(ctx, path)
		if want == nil {
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: got %v, %v", path, got, err)
			}
			return
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
		if got != nil {
			got["changed"] = "by the caller" // a copy: the next Get must not see it
		}
	}
	list := func(prefix string, want ...string) {
		t.Helper()
		if got, err := s.List(ctx, prefix); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("list %q: got %q, %v; want %q", prefix, got, err, want)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	get("extensions/100", nil)
	list("")
	list("extensions")
	check(s.Delete(ctx, "extensions/100"))
	check(s.Put(ctx, "extensions/100", v1))
	v1Copy := map[string]string{"ha1-sha256": "0123", "empty": "", "odd \"key\"\n": "ä\x00\u202e\n"}
	v1["changed"] = "after Put"
	get("extensions/100", v1Copy)
	get("extensions/100", v1Copy)
	check(s.Put(ctx, "extensions/100", v2))
	get("extensions/100", v2)
	check(s.Put(ctx, "extensions/100/below", v2))
	check(s.Put(ctx, "extensions/099", v2))
	check(s.Put(ctx, "trunks/a.b@c+d-e_f", v2))
	list("", "extensions/", "trunks/")
	list("extensions", "099", "100", "100/")
	list("extensions/", "099", "100", "100/")
	list("extensions/100", "below")
	list("ext")
	check(s.Delete(ctx, "extensions/100"))
	get("extensions/100", nil)
	get("extensions/100/below", v2)
	list("extensions", "099", "100/")
	for _, path := range []string{"", "/", "a/", "/a", "a//b", "..", "a/../b", "a b", "a%2fb", "a?b", "ä", strings.Repeat("x", 300), "a\nb"} {
		if _, err := s.Get(ctx, path); !errors.Is(err, ErrPath) {
			t.Errorf("get %q: %v", path, err)
		}
		if err := s.Put(ctx, path, v2); !errors.Is(err, ErrPath) {
			t.Errorf("put %q: %v", path, err)
		}
		if err := s.Delete(ctx, path); !errors.Is(err, ErrPath) {
			t.Errorf("delete %q: %v", path, err)
		}
	}
	if _, err := s.List(ctx, "../x"); !errors.Is(err, ErrPath) {
		t.Errorf("list: %v", err)
	}
	large := map[string]string{"x": strings.Repeat("s", maxValue+1)}
	for _, bad := range []map[string]string{nil, {}, {"": "x"}, large} {
		if err := s.Put(ctx, "bad", bad); err == nil || strings.Contains(err.Error(), "ssss") {
			t.Errorf("put %d values: %v", len(bad), err)
		}
	}
	suiteTogether(t, s)
	check(s.Close())
	check(s.Close())
	if _, err := s.Get(ctx, "extensions/099"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// suiteTogether uses the store from several goroutines.
func suiteTogether(t *testing.T, s Store) {
	ctx := deadline(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5 {
				path := fmt.Sprintf("many/%d-%d", g, i)
				want := map[string]string{"v": path}
				if err := s.Put(ctx, path, want); err != nil {
					t.Error(err)
				}
				if got, err := s.Get(ctx, path); err != nil || !reflect.DeepEqual(got, want) {
					t.Error(got, err)
				}
			}
		})
	}
	wg.Wait()
	if names, err := s.List(ctx, "many"); err != nil || len(names) != 20 {
		t.Errorf("%d names, %v", len(names), err)
	}
}

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // key, problem; empty: no fault
	}{
		"defaults":       {func(*Config) {}, ""},
		"no file":        {func(c *Config) { c.File.Path = "" }, "file.path is empty"},
		"no key":         {func(c *Config) { c.File.Key = "" }, "file.key is empty"},
		"vault":          {func(c *Config) { c.Store = "vault"; c.Vault.TokenFile = "x" }, ""},
		"approle":        {func(c *Config) { c.Store = "vault"; c.Vault.RoleID, c.Vault.SecretIDFile = "r", "s" }, ""},
		"no login":       {func(c *Config) { c.Store = "vault" }, "vault.token_file no login is given"},
		"two logins":     {func(c *Config) { c.Store = "vault"; c.Vault.TokenFile, c.Vault.RoleID = "x", "r" }, "vault.token_file stands beside"},
		"no secret id":   {func(c *Config) { c.Store = "vault"; c.Vault.RoleID = "r" }, "vault.secret_id_file is missing"},
		"no role id":     {func(c *Config) { c.Store = "vault"; c.Vault.SecretIDFile = "r" }, "vault.role_id is missing"},
		"plain http":     {func(c *Config) { vaultAt(c, "http://192.0.2.1:8200") }, "vault.address would send secrets unencrypted"},
		"loopback":       {func(c *Config) { vaultAt(c, "http://127.0.0.1:8200") }, ""},
		"localhost":      {func(c *Config) { vaultAt(c, "http://localhost:8200") }, ""},
		"no URL":         {func(c *Config) { vaultAt(c, "vault.example.org") }, "vault.address is not a URL"},
		"password":       {func(c *Config) { vaultAt(c, "https://a:hush@b") }, "vault.address holds more than a server"},
		"bad mount":      {func(c *Config) { vaultAt(c, "https://b"); c.Vault.Mount = "a//b" }, "vault.mount is not a path"},
		"bad timeout":    {func(c *Config) { vaultAt(c, "https://b"); c.Vault.Timeout = 0 }, "vault.timeout is out of range"},
		"unused is free": {func(c *Config) { c.Vault.Address = "" }, ""},
	} {
		c := DefaultConfig()
		tc.change(&c)
		faults := c.Validate()
		switch {
		case tc.want == "" && len(faults) > 0:
			t.Errorf("%s: %v", name, faults)
		case tc.want != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0].Key+" "+faults[0].Problem, tc.want)):
			t.Errorf("%s: got %v, want %s", name, faults, tc.want)
		case len(faults) > 0 && strings.Contains(fmt.Sprint(faults), "hush"):
			t.Errorf("%s shows a password: %v", name, faults)
		}
	}
	if f := (CacheConfig{}).Validate(); len(f) != 2 {
		t.Error(f)
	}
	if f := (CacheConfig{Refresh: time.Hour, Entries: 1}).Validate(); len(f) != 1 {
		t.Error(f)
	}
	if f := DefaultCache().Validate(); f != nil {
		t.Error(f)
	}
}

func vaultAt(c *Config, address string) {
	c.Store, c.Vault.TokenFile, c.Vault.Address = "vault", "x", address
}

func TestOpenChoosesTheStore(t *testing.T) {
	c := DefaultConfig()
	dir := t.TempDir()
	c.File = FileConfig{Path: dir + "/s", Key: dir + "/k"}
	if err := CreateFile(c.File.Path, c.File.Key); err != nil {
		t.Fatal(err)
	}
	s, err := Open(deadline(t), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.Store = "vault"
	if _, err := Open(deadline(t), c, quiet()); err == nil || !strings.Contains(err.Error(), "no login is given") {
		t.Error(err)
	}
}

func TestRetry(t *testing.T) {
	n := 0
	away := &Error{Where: "vault", Problem: "is sealed", Kind: ErrUnavailable}
	s, err := Retry(deadline(t), quiet(), time.Millisecond, 2*time.Millisecond, func(context.Context) (Store, error) {
		if n++; n < 5 {
			return nil, away
		}
		return newFile(t), nil
	})
	if err != nil || n != 5 {
		t.Fatal(n, err)
	}
	s.Close()
	other := errors.New("wrong key")
	if _, err := Retry(deadline(t), quiet(), time.Millisecond, time.Millisecond, func(context.Context) (Store, error) { return nil, other }); err != other {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = Retry(ctx, quiet(), time.Millisecond, time.Millisecond, func(context.Context) (Store, error) { return nil, away })
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
