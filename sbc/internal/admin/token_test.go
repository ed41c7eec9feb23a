package admin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/shared/conffile"
)

// runToken runs sbc ban with the arguments; no border runs.
func runToken(args ...string) (string, error) {
	var out bytes.Buffer
	c := Commands("/nonexistent/sbc.sock")[0]
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.Execute()
	return out.String(), err
}

// What the command prints is what the configuration takes, and the token belongs to the sum.
func TestToken(t *testing.T) {
	out, err := runToken("token", "null") // a word that YAML knows
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)\n  ([\w-]{43})\n.*\n  (- \{.*\})\n$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatal(out)
	}
	var cfg struct {
		BanAPI banapi.Config `yaml:"ban_api"`
	}
	if _, err := conffile.Parse("f", []byte("ban_api:\n  listen: 127.0.0.1:8780\n  tokens:\n  "+m[2]+"\n"), &cfg); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(m[1]))
	if got := cfg.BanAPI.Tokens[0]; got.Name != "null" || got.SHA256 != hex.EncodeToString(sum[:]) || got.Scope != banapi.ScopeBan {
		t.Errorf("%+v", got)
	}
}

func TestTokenJSON(t *testing.T) {
	out, err := runToken("token", "bouncer", "--scope", "read", "--json")
	var got newToken
	if err == nil {
		err = json.Unmarshal([]byte(out), &got)
	}
	if err != nil || got.Name != "bouncer" || got.Scope != banapi.ScopeRead || len(got.Token) != 43 || len(got.SHA256) != 64 {
		t.Error(err, out)
	}
}

func TestTokenRefusals(t *testing.T) {
	for _, args := range [][]string{{"token"}, {"token", "a b"}, {"token", `a", wide: true, x: "`}, {"token", "a", "--scope", "all"}, {"token", "a", "b"}} {
		if out, err := runToken(args...); err == nil || strings.Contains(out, "sha256") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
