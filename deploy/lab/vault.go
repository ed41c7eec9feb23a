package lab

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
)

// Vault is a real Vault server (deploy/vault/devserver) on a host. It keeps everything in memory: Kill or Stop loses it.
type Vault struct {
	URL   string
	Token string // root

	proc   *Process
	t      TB
	client *http.Client
	key    string // unseals it
}

var vaultSays = regexp.MustCompile(`(?m)^(\S+)\n(https?://\S+)\n(\S+)\n`)

// RunVault starts a Vault on the host, HTTPS on port 8200 with a certificate of the CA. Building it takes minutes the
// first time and nothing afterwards.
func (h *Host) RunVault(ca *CA) *Vault {
	h.lab.t.Helper()
	root, err := Root()
	if err != nil {
		h.lab.t.Fatalf("lab: %v", err)
	}
	binary, err := output1(root, nil, filepath.Join(root, "deploy/vault/build.sh"))
	if err != nil {
		h.lab.t.Fatalf("lab: building Vault: %v", err)
	}
	at := h.Port(h.wires[0], 8200)
	cert := ca.Issue("vault", at.Addr())
	v := &Vault{t: h.lab.t}
	v.proc = h.Run(Program{
		Name: "vault", Path: binary, Args: []string{"-addr", at.String(), "-tls-cert", cert.Cert, "-tls-key", cert.Key},
		Ready: AllOf(Says(vaultSays.String()), Listening("tcp", at)),
	})
	m := v.proc.WaitLine(vaultSays, patience)
	v.Token, v.URL, v.key = m[1], m[2], m[3]
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca.File)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		h.lab.t.Fatalf("lab: reading %s: %v", ca.File, err)
	}
	v.client = h.HTTP()
	v.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return v
}

// Proc is the server's process.
func (v *Vault) Proc() *Process { return v.proc }

// Do asks Vault with a token: "GET", "v1/sys/health", nil. A body becomes JSON; so does the answer, nil if it has none.
func (v *Vault) Do(token, method, path string, body any) (status int, answer map[string]any, err error) {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return 0, nil, fmt.Errorf("asking Vault: %w", err)
		}
	}
	req, err := http.NewRequest(method, v.URL+"/"+path, &b)
	if err != nil {
		return 0, nil, fmt.Errorf("asking Vault: %w", err)
	}
	req.Header.Set("X-Vault-Token", token)
	res, err := v.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("asking Vault: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		return res.StatusCode, nil, fmt.Errorf("reading Vault's answer: %w", err)
	}
	return res.StatusCode, answer, nil
}

// must asks with the root token and fails the test unless Vault agrees.
func (v *Vault) must(method, path string, body any) map[string]any {
	v.t.Helper()
	status, answer, err := v.Do(v.Token, method, path, body)
	if err != nil || status/100 != 2 {
		v.t.Fatalf("lab: vault: %s %s: status %d, %v, %v", method, path, status, answer, err)
	}
	return answer
}

// EnableKV mounts a KV engine, version 2, at a path.
func (v *Vault) EnableKV(mount string) {
	v.t.Helper()
	v.must("POST", "v1/sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
}

// Policy writes a policy in HCL.
func (v *Vault) Policy(name, hcl string) {
	v.t.Helper()
	v.must("PUT", "v1/sys/policies/acl/"+name, map[string]string{"policy": hcl})
}

// AppRole enables the AppRole login, makes a role with the policies, and returns what logs in.
func (v *Vault) AppRole(role string, policies ...string) (roleID, secretID string) {
	v.t.Helper()
	if _, on := v.must("GET", "v1/sys/auth", nil)["approle/"]; !on {
		v.must("POST", "v1/sys/auth/approle", map[string]string{"type": "approle"})
	}
	base := "v1/auth/approle/role/" + role
	v.must("POST", base, map[string]any{"token_policies": policies, "token_ttl": "1h"})
	field := func(answer map[string]any, name string) string {
		data, _ := answer["data"].(map[string]any)
		s, ok := data[name].(string)
		if !ok {
			v.t.Fatalf("lab: vault: no %s in %v", name, answer)
		}
		return s
	}
	return field(v.must("GET", base+"/role-id", nil), "role_id"), field(v.must("POST", base+"/secret-id", nil), "secret_id")
}

// Seal makes it answer 503 to everything, as after a restart.
func (v *Vault) Seal() { v.t.Helper(); v.must("PUT", "v1/sys/seal", nil) }

// Unseal opens it again.
func (v *Vault) Unseal() {
	v.t.Helper()
	v.must("PUT", "v1/sys/unseal", map[string]string{"key": v.key})
}
