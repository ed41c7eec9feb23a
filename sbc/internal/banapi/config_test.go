package banapi

import (
	"strings"
	"testing"

	"brickhouse/shared/conffile"
)

func TestConfig(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	token := `{name: fail2ban, sha256: ` + sum + `}`
	type file struct {
		BanAPI Config `yaml:"ban_api"`
	}
	for text, want := range map[string]string{
		"{}": "",
		"{listen: 127.0.0.1:8780, tokens: [" + token + "]}":        "",
		"{listen: \"[::1]:8780\", tokens: [" + token + "]}":        "",
		"{tokens: [" + token + "]}":                                "",
		"{listen: 0.0.0.0:8780, tokens: [" + token + "]}":          "ban_api.listen: 0.0.0.0 is no loopback address",
		"{listen: 192.168.1.1:8780, tokens: [" + token + "]}":      "ban_api.listen: 192.168.1.1 is no loopback address",
		"{listen: \"[::]:8780\", tokens: [" + token + "]}":         "ban_api.listen: :: is no loopback address",
		"{listen: 127.0.0.1:0, tokens: [" + token + "]}":           "ban_api.listen: has no port",
		"{listen: 127.0.0.1:8780}":                                 "ban_api.tokens: is empty",
		"{tokens: [" + token + "," + token + "]}":                  `ban_api.tokens[1].name: "fail2ban" stands twice`,
		"{tokens: [" + token + ",{name: b, sha256: " + sum + "}]}": "ban_api.tokens[1].sha256: stands twice",
		"{tokens: [{name: \"a b\", sha256: " + sum + "}]}":         `ban_api.tokens[0].name: "a b" is no name`,
		"{tokens: [{name: a, sha256: abcd}]}":                      "ban_api.tokens[0].sha256: is no SHA-256",
		"{tokens: [{name: a, sha256: secret}]}":                    "ban_api.tokens[0].sha256: is no SHA-256",
		"{tokens: [{name: a, sha256: " + sum + ", scope: all}]}":   `ban_api.tokens[0].scope: "all" is not known here; use one of read, ban`,
		"{tokens: [{name: a, sha256: " + sum + ", max_ban: 0s}]}":  "ban_api.tokens[0].max_ban: 0s is out of range",
		"{tokens: [{name: a, sha256: " + sum + ", max_bans: 0}]}":  "ban_api.tokens[0].max_bans: 0 is out of range",
		"{tokens: [{name: a, sha256: " + sum + ", rate: 0}]}":      "ban_api.tokens[0].rate: 0 is out of range",
		"{tokens: [" + strings.Repeat("{},", 16) + "{}]}":          "ban_api.tokens: has 17 items",
	} {
		var f file
		_, err := conffile.Parse("f", []byte("ban_api: "+text), &f)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if want == "" && len(f.BanAPI.Tokens) == 1 && (f.BanAPI.Tokens[0].Scope != ScopeRead || f.BanAPI.Tokens[0].Rate != 50) {
			t.Errorf("defaults: %+v", f.BanAPI.Tokens[0])
		}
	}
}
