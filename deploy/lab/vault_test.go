package lab

import (
	"fmt"
	"strings"
	"testing"
)

func TestVault(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		v := l.Vault.RunVault(l.CA())
		v.EnableKV("secret")
		v.Policy("reader", `path "secret/data/brickhouse/*" { capabilities = ["read"] }`)
		v.must("POST", "v1/secret/data/brickhouse/a", map[string]any{"data": map[string]string{"ha1": "abc"}})
		v.must("POST", "v1/secret/data/other/b", map[string]any{"data": map[string]string{"ha1": "def"}})

		roleID, secretID := v.AppRole("exchange", "reader")
		v.AppRole("second") // the login is enabled once
		login := v.must("POST", "v1/auth/approle/login", map[string]string{"role_id": roleID, "secret_id": secretID})
		token := login["auth"].(map[string]any)["client_token"].(string)
		read := func(path string) (int, string) {
			status, answer, err := v.Do(token, "GET", path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return status, fmt.Sprint(answer["data"])
		}
		if status, data := read("v1/secret/data/brickhouse/a"); status != 200 || !strings.Contains(data, "ha1:abc") {
			t.Errorf("own secret: %d %s", status, data)
		}
		if status, _ := read("v1/secret/data/other/b"); status != 403 {
			t.Errorf("another's secret: %d, want 403", status)
		}
		v.Seal()
		if status, _ := read("v1/secret/data/brickhouse/a"); status != 503 {
			t.Errorf("sealed: %d, want 503", status)
		}
		v.Unseal()
		if status, _ := read("v1/secret/data/brickhouse/a"); status != 200 {
			t.Errorf("unsealed again: %d", status)
		}
	})
}
