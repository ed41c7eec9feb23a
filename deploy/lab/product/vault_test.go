package product

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"brickhouse/deploy/lab"
)

// vaulted is an installation whose exchange keeps its secrets in a real Vault.
type vaulted struct {
	*Product
	vault      *lab.Vault
	alice, bob *lab.Baresip
}

// startVaulted starts both programs with Vault, registers a phone on each side and lets them call. login says how the exchange proves
// itself; it returns lines of the section vault.
func startVaulted(t *testing.T, login func(t *testing.T, l *lab.Lab, v *lab.Vault) string) *vaulted {
	t.Helper()
	l := lab.New(t)
	ca := l.CA()
	v := l.Vault.RunVault(ca)
	v.EnableKV("secret")
	root, err := lab.Root()
	if err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile(filepath.Join(root, "deploy/vault/pbx.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	v.Policy("brickhouse-pbx", string(policy))
	secrets := fmt.Sprintf("  store: vault\n  vault:\n    address: %s\n    ca_file: %s\n    timeout: 2s\n%s", v.URL, ca.File, login(t, l, v))
	p := &vaulted{Product: Start(t, l, Options{Secrets: secrets, Trunk: true}), vault: v}
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	p.Command("pbx", trunkPassword+"\n", "trunk", "passwd", "carrier")
	p.Border.WaitLine(coreUp, waits) // the first time
	p.again()
	return p
}

// call lets each side hear the other.
func (p *vaulted) call() {
	p.alice.Call("1002")
	p.bob.Answer()
	p.alice.WaitEstablished()
	p.alice.Hears(700)
	p.bob.Hears(440)
	p.alice.Hangup()
	p.bob.WaitClosed()
}

// again switches both phones off and on, and calls.
func (p *vaulted) again() {
	for _, ph := range []*lab.Baresip{p.alice, p.bob} {
		if ph != nil {
			ph.Unregister()
		}
	}
	p.alice = p.Lab.Remote.Baresip(p.RemoteAccount("1001", 440))
	p.bob = p.Lab.Desk.Baresip(p.InsideAccount("1002", 700))
	p.alice.Register()
	p.bob.Register()
	p.call()
}

// private is a file that only its owner can read.
func private(t *testing.T, l *lab.Lab, name, text string) string {
	t.Helper()
	path := filepath.Join(l.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// byToken logs in with a token of our policy.
func byToken(t *testing.T, l *lab.Lab, v *lab.Vault) string {
	t.Helper()
	status, answer, err := v.Do(v.Token, "POST", "v1/auth/token/create", map[string]any{"policies": []string{"brickhouse-pbx"}, "ttl": "1h"})
	auth, _ := answer["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	if err != nil || status != 200 || token == "" {
		t.Fatalf("making a token: %d, %v, %v", status, answer, err)
	}
	return "    token_file: " + private(t, l, "vault-token", token+"\n")
}

// byRole logs in with AppRole.
func byRole(t *testing.T, l *lab.Lab, v *lab.Vault) string {
	t.Helper()
	role, secret := v.AppRole("pbx", "brickhouse-pbx")
	return "    role_id: " + role + "\n    secret_id_file: " + private(t, l, "vault-secret-id", secret+"\n")
}

// Phones register and call with their secrets in Vault, by a token, under the policy that we ship. What is there are hashes. When
// Vault is sealed, and when it is dead, those who are there register again and call.
func TestVaultSealedAndDead(t *testing.T) {
	p := startVaulted(t, byToken)
	for path, want := range map[string]string{"extension/1001": "MD5", "trunk/carrier": trunkPassword} {
		status, answer, err := p.vault.Do(p.vault.Token, "GET", "v1/secret/data/brickhouse/"+path, nil)
		text := fmt.Sprint(answer)
		if err != nil || status != 200 || !strings.Contains(text, want) || strings.Contains(text, Password) {
			t.Errorf("%s: %d, %v, %v", path, status, answer, err)
		}
	}
	p.keptNowhere(t, trunkPassword)

	p.vault.Seal()
	p.again()
	if out, err := p.Try("pbx", "new\n", "extension", "passwd", "1001", "--password-stdin"); err == nil {
		t.Errorf("a new password while Vault is sealed: %s", out)
	}
	p.vault.Unseal()
	p.Extension("1001", "md5") // the same password again, now that it can be kept
	p.again()

	p.vault.Proc().Kill()
	p.again()
	if out, err := p.Try("pbx", "new\n", "extension", "passwd", "1001", "--password-stdin"); err == nil {
		t.Errorf("a new password while Vault is dead: %s", out)
	}
}

// waiting is what the exchange says while it can't start.
var waiting = regexp.MustCompile(`(?i)level=(WARN|ERROR) .*(vault|secret).*again.*`)

// Vault is out of reach when the exchange starts: it says so, tries again, and starts when Vault is there. Login is by AppRole.
func TestVaultLate(t *testing.T) {
	p := startVaulted(t, byRole)
	p.Exchange.Stop()
	before := len(p.Exchange.Output())
	p.Lab.Vault.Unplug(p.Lab.Core)
	said := make(chan string, 1)
	go func() { // Start waits until it serves
		defer p.Lab.Vault.Plug(p.Lab.Core)
		for range 200 {
			if line := waiting.FindString(p.Exchange.Output()[before:]); line != "" {
				said <- line
				return
			}
			<-bounded(t, waits/200).Done()
		}
		said <- ""
	}()
	p.Exchange.Start()
	line := <-said
	if line == "" {
		t.Errorf("it did not say what it waits for:\n%s", p.Exchange.Tail(20))
	}
	t.Log(line)
	p.Border.WaitLine(coreUp, waits)
	p.again()
}
