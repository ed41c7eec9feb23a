package secret

import (
	"net/netip"
	"net/url"
	"time"

	"brickhouse/shared/conffile"
)

// VaultConfig says where the Vault server is and who we are to it.
type VaultConfig struct {
	Address      string        `yaml:"address" doc:"URL of the server, as https://vault.example.org:8200. Plain http is taken for a loopback address only."`
	CAFile       string        `yaml:"ca_file" doc:"PEM file with the authority that issued the server's certificate. Empty: those of the system."`
	ServerName   string        `yaml:"server_name" doc:"Name in the server's certificate, if it is not the one in the address."`
	Namespace    string        `yaml:"namespace" doc:"Namespace of Vault Enterprise. Empty: none."`
	Mount        string        `yaml:"mount" doc:"Where the KV version 2 engine is mounted."`
	Prefix       string        `yaml:"prefix" doc:"Path below the mount that is ours. The policy needs create, read, update, delete and list below <mount>/data/<prefix> and <mount>/metadata/<prefix>."`
	TokenFile    string        `yaml:"token_file" doc:"File (mode 0600) with a token, renewed while it can be; it is read again when the token ends. Either this or AppRole."`
	RoleID       string        `yaml:"role_id" doc:"Role of the AppRole login. It is a name, not a secret."`
	SecretIDFile string        `yaml:"secret_id_file" doc:"File (mode 0600) with the SecretID of the AppRole login; it is read at each login."`
	AppRoleMount string        `yaml:"approle_mount" doc:"Where the AppRole login is mounted."`
	Timeout      time.Duration `yaml:"timeout" doc:"How long one request may take."`
}

// DefaultVault returns the defaults; the address and the login are the operator's.
func DefaultVault() VaultConfig {
	return VaultConfig{
		Address: "https://127.0.0.1:8200", Mount: "secret", Prefix: "brickhouse", AppRoleMount: "approle", Timeout: 5 * time.Second,
	}
}

func (c VaultConfig) faults() []conffile.Fault {
	var out []conffile.Fault
	bad := func(key, problem, remedy string) { out = append(out, conffile.Bad(key, problem, remedy)) }
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		bad("address", "is not a URL", "write it as https://vault.example.org:8200")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		bad("address", "holds more than a server", "write it as https://vault.example.org:8200")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		bad("address", "would send secrets unencrypted", "use https, or a loopback address")
	}
	switch token, role := c.TokenFile != "", c.RoleID != "" || c.SecretIDFile != ""; {
	case token && role:
		bad("token_file", "stands beside role_id or secret_id_file", "keep one of the two logins")
	case !token && !role:
		bad("token_file", "no login is given", "set token_file, or role_id and secret_id_file")
	case role && c.RoleID == "":
		bad("role_id", "is missing", "set it beside secret_id_file")
	case role && c.SecretIDFile == "":
		bad("secret_id_file", "is missing", "set it beside role_id")
	}
	for _, f := range []struct{ key, path string }{{"mount", c.Mount}, {"prefix", c.Prefix}, {"approle_mount", c.AppRoleMount}} {
		if checkPath(f.path) != nil {
			bad(f.key, "is not a path of names joined by /", "write it as "+map[string]string{
				"mount": "secret", "prefix": "brickhouse", "approle_mount": "approle"}[f.key])
		}
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute {
		bad("timeout", "is out of range", "write 100ms to 1m")
	}
	return out
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
