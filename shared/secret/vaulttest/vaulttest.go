// Package vaulttest starts a real Vault server for tests: deploy/vault/devserver, built once by deploy/vault/build.sh.
package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a running, unsealed server that stores in memory. It is killed when the test ends.
type Server struct {
	URL       string // as http://127.0.0.1:34567
	Addr      string // host:port
	RootToken string
	UnsealKey string // base64

	Client *http.Client // what Call uses; for a server with -tls-cert set one that trusts it

	t    testing.TB
	cmd  *exec.Cmd
	once sync.Once // enables the AppRole login
}

// Start starts a server on a free port of 127.0.0.1. args are further flags of the devserver.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	cmd := exec.Command(Binary(t), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errText bytes.Buffer
	cmd.Stderr = &errText
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	s := &Server{Client: &http.Client{Timeout: 20 * time.Second}, t: t, cmd: cmd}
	t.Cleanup(s.Kill)
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	lines := bufio.NewScanner(out)
	for _, field := range []*string{&s.RootToken, &s.URL, &s.UnsealKey} {
		if !lines.Scan() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("Vault did not start: %s", errText.String())
		}
		*field = lines.Text()
	}
	_, s.Addr, _ = strings.Cut(s.URL, "://")
	return s
}

// Binary builds the server if that has not been done yet, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		script := filepath.Join(dir, "deploy", "vault", "build.sh")
		if _, err := os.Stat(script); err == nil {
			cmd := exec.Command(script)
			cmd.Stderr = os.Stderr
			path, err := cmd.Output()
			if err != nil {
				t.Fatalf("building Vault with %s: %v", script, err)
			}
			return strings.TrimSpace(string(path))
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("deploy/vault/build.sh is not above this directory")
		}
	}
}

// Kill ends the server at once, as kill -9 does. It may be called twice.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Call sends one request as root and returns the answer's data; path is without "v1/". An error ends the test.
func (s *Server) Call(method, path string, in any) map[string]any {
	s.t.Helper()
	out, err := s.call(method, path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *Server) call(method, path string, in any) (map[string]any, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", s.RootToken)
	res, err := s.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, res.StatusCode, text)
	}
	var out struct {
		Data map[string]any `json:"data"`
		Auth map[string]any `json:"auth"`
	}
	if err := json.Unmarshal(text, &out); err != nil && len(text) > 0 {
		return nil, err
	}
	if out.Auth != nil {
		return out.Auth, nil
	}
	return out.Data, nil
}

// EnableKV mounts a KV version 2 engine and waits until it is ready: Vault upgrades it in the background.
func (s *Server) EnableKV(mount string) {
	s.t.Helper()
	s.Call("POST", "sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err = s.call("POST", mount+"/data/ready", map[string]any{"data": map[string]string{"a": "b"}}); err == nil {
			s.Call("DELETE", mount+"/metadata/ready", nil)
			return
		}
	}
	s.t.Fatal(err)
}

// Policy writes a policy that allows everything that a store needs below mount and prefix.
func (s *Server) Policy(name, mount, prefix string) {
	s.t.Helper()
	rule := func(kind string) string {
		return fmt.Sprintf("path %q { capabilities = [\"create\",\"read\",\"update\",\"delete\",\"list\"] }\n", mount+"/"+kind+"/"+prefix+"/*")
	}
	text := rule("data") + rule("metadata") +
		fmt.Sprintf("path %q { capabilities = [\"list\"] }\n", mount+"/metadata/"+prefix)
	s.Call("PUT", "sys/policies/acl/"+name, map[string]any{"policy": text})
}

// Token makes a token with that policy. period 0 makes one that ends after ttl; otherwise it can be renewed for ever.
func (s *Server) Token(policy, ttl, period string) string {
	s.t.Helper()
	in := map[string]any{"policies": []string{policy}, "ttl": ttl}
	if period != "" {
		in["period"] = period
	}
	return s.Call("POST", "auth/token/create", in)["client_token"].(string)
}

// AppRole enables the login the first time, and makes a role with that policy and those lives of its tokens.
func (s *Server) AppRole(name, policy, ttl, maxTTL string) (roleID, secretID string) {
	s.t.Helper()
	s.once.Do(func() { s.Call("POST", "sys/auth/approle", map[string]any{"type": "approle"}) })
	s.Call("POST", "auth/approle/role/"+name, map[string]any{
		"token_policies": policy, "token_ttl": ttl, "token_max_ttl": maxTTL, "token_no_default_policy": false})
	roleID = s.Call("GET", "auth/approle/role/"+name+"/role-id", nil)["role_id"].(string)
	secretID = s.Call("POST", "auth/approle/role/"+name+"/secret-id", nil)["secret_id"].(string)
	return roleID, secretID
}

// Seal seals the server: every request is answered with 503 until Unseal.
func (s *Server) Seal() { s.t.Helper(); s.Call("PUT", "sys/seal", nil) }

// Unseal unseals the server.
func (s *Server) Unseal() {
	s.t.Helper()
	s.Call("PUT", "sys/unseal", map[string]any{"key": s.UnsealKey})
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err = s.call("GET", "auth/token/lookup-self", nil); err == nil {
			return
		}
	}
	s.t.Fatal(errors.Join(errors.New("unsealed, but it does not come back"), err))
}
