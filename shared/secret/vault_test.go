package secret

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/pki"
	"brickhouse/shared/secret/vaulttest"
)

var hush = map[string]string{"password": "swordfish"}

func vault(t *testing.T) *vaulttest.Server {
	t.Helper()
	v := vaulttest.Start(t)
	v.EnableKV("kv")
	return v
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("does not happen: %s", what)
}

func TestSealedAndKilled(t *testing.T) {
	v := vault(t)
	s, ctx := tokenStore(t, v, "p"), deadline(t)
	if err := s.Put(ctx, "a", hush); err != nil {
		t.Fatal(err)
	}
	v.Seal()
	_, err := s.Get(ctx, "a")
	if !errors.Is(err, ErrUnavailable) || err.Error() != "vault "+v.URL+": is sealed; unseal it" {
		t.Errorf("sealed: %v", err)
	}
	if err := s.Put(ctx, "a", hush); !errors.Is(err, ErrUnavailable) {
		t.Errorf("sealed: %v", err)
	}
	if _, err := OpenVault(ctx, s.(*vaultStore).cfg, quiet()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("opening a sealed one: %v", err)
	}
	v.Unseal()
	if got, err := s.Get(ctx, "a"); err != nil || got["password"] != "swordfish" {
		t.Errorf("unsealed: %v %v", got, err)
	}
	v.Kill()
	_, err = s.Get(ctx, "a")
	var e *Error
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &e) || e.BadInput() || strings.Contains(err.Error(), "\n") {
		t.Errorf("killed: %v", err)
	}
	if _, err := OpenVault(ctx, s.(*vaultStore).cfg, quiet()); !errors.Is(err, ErrUnavailable) ||
		err.Error() != "vault "+v.URL+": dial: connection refused; check that it runs and is reachable" {
		t.Errorf("opening a dead one: %v", err)
	}
}

// A server that takes connections and says nothing: the deadline holds.
func TestBlackHole(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := DefaultVault()
	c.Address, c.TokenFile, c.Timeout = "http://"+ln.Addr().String(), write(t, "tok"), 100*time.Millisecond
	if _, err := OpenVault(deadline(t), c, quiet()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no answer in 100ms") {
		t.Error(err)
	}
}

func TestRetryUntilUnsealed(t *testing.T) {
	v := vault(t)
	v.Policy("p", "kv", "p")
	c := vaultConfig(v, "p")
	c.TokenFile = write(t, v.Token("p", "1h", ""))
	v.Seal()
	opened := make(chan error, 1)
	tries := make(chan struct{}, 1000)
	ctx := deadline(t)
	go func() {
		s, err := Retry(ctx, quiet(), 10*time.Millisecond, 50*time.Millisecond, func(ctx context.Context) (Store, error) {
			tries <- struct{}{}
			return OpenVault(ctx, c, quiet())
		})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	for range 3 {
		<-tries
	}
	v.Unseal()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// What the operator did wrong is said, is not waited for, and holds no secret.
func TestVaultFaults(t *testing.T) {
	v := vault(t)
	v.Policy("p", "kv", "p")
	v.Call("POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	v.Call("PUT", "sys/policies/acl/old", map[string]any{"policy": `path "old/*" { capabilities = ["read"] }`})
	role, id := v.AppRole("r", "p", "1h", "2h")
	good := func() VaultConfig {
		c := vaultConfig(v, "p")
		c.TokenFile = write(t, v.Token("p", "1h", ""))
		return c
	}
	appRole := func(role, id string) VaultConfig {
		c := vaultConfig(v, "p")
		c.RoleID, c.SecretIDFile = role, write(t, id)
		return c
	}
	with := func(c VaultConfig, change func(*VaultConfig)) VaultConfig { change(&c); return c }
	for name, tc := range map[string]struct {
		c    VaultConfig
		want string
	}{
		"bad token":     {with(good(), func(c *VaultConfig) { c.TokenFile = write(t, "swordfish") }), "is refused; write a valid one into the file"},
		"no token file": {with(good(), func(c *VaultConfig) { c.TokenFile = "/nonexistent/t" }), "/nonexistent/t: no such file"},
		"open token file": {with(good(), func(c *VaultConfig) {
			if err := os.Chmod(c.TokenFile, 0o644); err != nil {
				t.Fatal(err)
			}
		}), "is open to others (mode 0644); run chmod 600"},
		"empty token file":   {with(good(), func(c *VaultConfig) { c.TokenFile = write(t, "\n") }), "does not hold one line of text"},
		"token of two lines": {with(good(), func(c *VaultConfig) { c.TokenFile = write(t, "swordfish\nx") }), "does not hold one line of text"},
		"wrong secret id":    {appRole(role, "swordfish"), "the AppRole login is refused; check role_id, the SecretID in"},
		"wrong role id":      {appRole("swordfish-role", id), "the AppRole login is refused"},
		"wrong role mount":   {with(appRole(role, id), func(c *VaultConfig) { c.AppRoleMount = "none" }), "the AppRole login is refused"},
		"no such mount":      {with(good(), func(c *VaultConfig) { c.Mount = "none" }), "mount none: is not there, or our policies grant nothing in it"},
		"mount of version 1": {with(good(), func(c *VaultConfig) { c.Mount = "old"; c.TokenFile = write(t, v.Token("old", "1h", "")) }),
			"mount old: is no KV engine of version 2; enable one with: vault secrets enable -path=old kv-v2"},
		"no CA file": {with(good(), func(c *VaultConfig) { c.CAFile = "/nonexistent/ca" }), "/nonexistent/ca: no such file"},
		"no login":   {vaultConfig(v, "p"), "vault: token_file no login is given"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenVault(deadline(t), tc.c, quiet())
			var bad interface{ BadInput() bool }
			switch {
			case err == nil || !strings.Contains(err.Error(), tc.want):
				t.Errorf("got %v, want %s", err, tc.want)
			case !errors.As(err, &bad) || !bad.BadInput() || errors.Is(err, ErrUnavailable):
				t.Errorf("not the operator's fault: %v", err)
			case strings.Contains(err.Error(), "swordfish ") || strings.Contains(err.Error(), id) || strings.Contains(err.Error(), "\n"):
				t.Errorf("shows too much: %v", err)
			}
		})
	}
	// A policy that does not cover the path: refused, and no new login is tried for ever.
	c := with(good(), func(c *VaultConfig) { c.Prefix = "other" })
	s := openVault(t, c)
	if err := s.Put(deadline(t), "a", hush); !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "swordfish") {
		t.Error(err)
	}
}

// Tokens of 2 seconds: the store works on, far beyond their life, by renewing and by logging in again.
func TestTokensAreKeptAlive(t *testing.T) {
	v := vault(t)
	for name, config := range map[string]func(t *testing.T) VaultConfig{
		"renewed":   func(t *testing.T) VaultConfig { return appRoleConfig(t, v, "renewed", "2s", "1h") },
		"logged in": func(t *testing.T) VaultConfig { return appRoleConfig(t, v, "again", "2s", "3s") }, // no renewal goes beyond 3 s
		"renewed token": func(t *testing.T) VaultConfig {
			v.Policy("rt", "kv", "rt")
			c := vaultConfig(v, "rt")
			c.TokenFile = write(t, v.Token("rt", "2s", "2s"))
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ctx := openVault(t, config(t)), deadline(t)
			if err := s.Put(ctx, "a", hush); err != nil {
				t.Fatal(err)
			}
			generation := s.(*vaultStore).state().generation
			for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if _, err := s.Get(ctx, "a"); err != nil {
					t.Fatal(err)
				}
			}
			again := s.(*vaultStore).state().generation - generation
			if name == "logged in" && again == 0 || name != "logged in" && again > 0 {
				t.Errorf("logged in again %d times", again)
			}
		})
	}
}

// A token that somebody revoked: the next request logs in again and succeeds.
func TestRevokedTokenLogsInAgain(t *testing.T) {
	v := vault(t)
	s, ctx := openVault(t, appRoleConfig(t, v, "p", "1h", "2h")), deadline(t)
	if err := s.Put(ctx, "a", hush); err != nil {
		t.Fatal(err)
	}
	v.Call("POST", "auth/token/revoke", map[string]any{"token": s.(*vaultStore).client.Token()})
	if got, err := s.Get(ctx, "a"); err != nil || got["password"] != "swordfish" {
		t.Error(got, err)
	}
	// Without a SecretID that works there is no way back, and the error says so.
	v.Call("POST", "auth/token/revoke", map[string]any{"token": s.(*vaultStore).client.Token()})
	if err := os.WriteFile(s.(*vaultStore).cfg.SecretIDFile, []byte("marlin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a"); !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "marlin") {
		t.Error(err)
	}
}

// The token in the file is replaced, as an agent does: the store takes the new one when the old one ends.
func TestTokenFileIsReadAgain(t *testing.T) {
	v := vault(t)
	v.Policy("p", "kv", "p")
	c := vaultConfig(v, "p")
	first := v.Token("p", "1h", "")
	c.TokenFile = write(t, first)
	s, ctx := openVault(t, c), deadline(t)
	if err := os.WriteFile(c.TokenFile, []byte(v.Token("p", "1h", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	v.Call("POST", "auth/token/revoke", map[string]any{"token": first})
	if err := s.Put(ctx, "a", hush); err != nil {
		t.Error(err)
	}
}

func TestCloseRevokesOnlyOurOwnToken(t *testing.T) {
	v := vault(t)
	v.Policy("p", "kv", "p")
	c := vaultConfig(v, "p")
	operators := v.Token("p", "1h", "")
	c.TokenFile = write(t, operators)
	openVault(t, c).Close()
	v.Call("POST", "auth/token/lookup", map[string]any{"token": operators}) // ends the test if it is gone

	s := openVault(t, appRoleConfig(t, v, "r", "1h", "2h"))
	ours := s.(*vaultStore).client.Token()
	s.Close()
	req, err := http.NewRequest("GET", v.URL+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", ours)
	res, err := v.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 403 {
		t.Errorf("our token lives on: status %d", res.StatusCode)
	}
}

// Deleting leaves no old version behind.
func TestDeleteRemovesHistory(t *testing.T) {
	v := vault(t)
	s, ctx := tokenStore(t, v, "p"), deadline(t)
	if err := errors.Join(s.Put(ctx, "a", hush), s.Put(ctx, "a", map[string]string{"b": "c"}), s.Delete(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", v.URL+"/v1/kv/data/p/a?version=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.RootToken)
	res, err := v.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 404 {
		t.Errorf("version 1 is still there: status %d", res.StatusCode)
	}
}

// Others write with Vault's own tools: a deleted newest version is not there, a number is a fault.
func TestWhatOthersWrote(t *testing.T) {
	v := vault(t)
	s, ctx := tokenStore(t, v, "p"), deadline(t)
	if err := s.Put(ctx, "a", hush); err != nil {
		t.Fatal(err)
	}
	v.Call("DELETE", "kv/data/p/a", nil) // only the newest version
	if _, err := s.Get(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	v.Call("POST", "kv/data/p/n", map[string]any{"data": map[string]any{"pin": 1234}})
	if _, err := s.Get(ctx, "n"); err == nil || !strings.Contains(err.Error(), "the value pin of n is not a text") || strings.Contains(err.Error(), "1234") {
		t.Error(err)
	}
}

// The environment of the process must not redirect us: Vault's client reads many variables.
func TestEnvironmentIsIgnored(t *testing.T) {
	v := vault(t)
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "marlin", "VAULT_NAMESPACE": "ns",
		"VAULT_HEADERS": `{"X-Odd":"1"}`, "HTTP_PROXY": "http://127.0.0.1:1", "VAULT_MAX_RETRIES": "50",
	} {
		t.Setenv(name, value)
	}
	s := tokenStore(t, v, "p")
	if err := s.Put(deadline(t), "a", hush); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	now := time.Now()
	ca, err := pki.NewAuthority("test", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := ca.Issue(pki.Request{Name: "vault", DNS: []string{"vault.example.org"}, IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Use: pki.Server, Life: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, caFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")
	if err := errors.Join(p.Write(cert, key), pki.WriteFile(caFile, ca.CertPEM())); err != nil {
		t.Fatal(err)
	}
	v := vaulttest.Start(t, "-tls-cert", cert, "-tls-key", key)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = pool
	v.Client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	v.EnableKV("kv")
	v.Policy("p", "kv", "p")
	c := vaultConfig(v, "p")
	c.TokenFile = write(t, v.Token("p", "1h", ""))
	if _, err := OpenVault(deadline(t), c, quiet()); err == nil || errors.Is(err, ErrUnavailable) ||
		!strings.Contains(err.Error(), "TLS: certificate signed by unknown authority; check ca_file") {
		t.Errorf("an unknown authority: %v", err)
	}
	c.CAFile, c.ServerName = caFile, "other.example.org"
	if _, err := OpenVault(deadline(t), c, quiet()); err == nil || !strings.Contains(err.Error(), "TLS: certificate is valid for vault.example.org") {
		t.Errorf("another name: %v", err)
	}
	c.ServerName = "vault.example.org"
	if err := openVault(t, c).Put(deadline(t), "a", hush); err != nil {
		t.Error(err)
	}
	c.Address = "http://" + v.Addr
	if _, err := OpenVault(deadline(t), c, quiet()); err == nil {
		t.Error("spoke HTTP to a TLS port")
	}
}

// Calls go on with what is in hand while the server is sealed, and go back to it after.
func TestCacheInFrontOfASealedVault(t *testing.T) {
	v := vault(t)
	c := NewCache(tokenStore(t, v, "p"), CacheConfig{Refresh: time.Millisecond, Keep: time.Hour, Entries: 100}, time.Now, quiet())
	t.Cleanup(func() { c.Close() })
	ctx := deadline(t)
	if err := errors.Join(c.Put(ctx, "x/a", hush), c.Put(ctx, "x/b", hush), c.Put(ctx, "x/y/c", hush)); err != nil {
		t.Fatal(err)
	}
	v.Seal()
	for range 50 {
		for _, path := range []string{"x/a", "x/b", "x/y/c"} {
			if got, err := c.Get(ctx, path); err != nil || got["password"] != "swordfish" {
				t.Fatalf("%s while sealed: %v %v", path, got, err)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	if away, n := c.Status(); away.IsZero() || n != 3 {
		t.Errorf("away since %v, %d in hand", away, n)
	}
	if _, err := c.Get(ctx, "x/other"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if err := c.Put(ctx, "x/a", map[string]string{"password": "marlin"}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	v.Unseal()
	v.Call("POST", "kv/data/p/x/a", map[string]any{"data": map[string]any{"password": "tuna"}})
	eventually(t, "the new password is seen", func() bool {
		got, err := c.Get(ctx, "x/a")
		return err == nil && got["password"] == "tuna"
	})
	if away, _ := c.Status(); !away.IsZero() {
		t.Error("still said to be away")
	}
	v.Kill()
	if got, err := c.Get(ctx, "x/b"); err != nil || got["password"] != "swordfish" {
		t.Errorf("after kill -9: %v %v", got, err)
	}
}

// Nothing that is secret reaches the log, whatever goes wrong, at debug level.
func TestLogHoldsNoSecret(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := vault(t)
	cfg := appRoleConfig(t, v, "p", "2s", "2s")
	ctx := deadline(t)
	s, err := OpenVault(ctx, cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCache(s, CacheConfig{Refresh: time.Millisecond, Keep: time.Hour, Entries: 100}, time.Now, log)
	if err := c.Put(ctx, "a", hush); err != nil {
		t.Fatal(err)
	}
	v.Seal()
	for range 20 {
		_, _ = c.Get(ctx, "a")
		time.Sleep(100 * time.Millisecond)
	}
	token := s.(*vaultStore).client.Token()
	c.Close()
	secretID, err := os.ReadFile(cfg.SecretIDFile)
	if err != nil {
		t.Fatal(err)
	}
	text := buf.String()
	if !strings.Contains(text, "secret store is away") || !strings.Contains(text, "renewing the Vault token") {
		t.Errorf("the log does not say what happened:\n%s", text)
	}
	for _, word := range []string{"swordfish", token, string(secretID), v.RootToken} {
		if word == "" || strings.Contains(text, word) {
			t.Errorf("the log holds %q:\n%s", word, text)
		}
	}
}

// The policy that we ship is enough for the store, and for nothing beside it.
func TestShippedPolicy(t *testing.T) {
	text, err := os.ReadFile("../../deploy/vault/pbx.hcl")
	if err != nil {
		t.Fatal(err)
	}
	v := vaulttest.Start(t)
	v.EnableKV("secret")
	v.Call("PUT", "sys/policies/acl/pbx", map[string]any{"policy": string(text)})
	role, id := v.AppRole("pbx", "pbx", "1h", "2h")
	c := DefaultVault()
	c.Address, c.RoleID, c.SecretIDFile = v.URL, role, write(t, id)
	s := openVault(t, c)
	token := s.(*vaultStore).client.Token()
	for path, want := range map[string]int{
		"secret/data/other/a": 403, "secret/metadata/?list=true": 403, "sys/mounts": 403, "sys/policies/acl/pbx": 403,
		"auth/approle/role/pbx": 403, "secret/data/brickhouse/none": 404,
	} {
		req, err := http.NewRequest("GET", v.URL+"/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", token)
		res, err := v.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, res.StatusCode, want)
		}
	}
	suite(t, s)
}
