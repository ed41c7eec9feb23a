package border

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/shared/conffile"
)

// minimal is the least that a border needs.
const minimal = `domain: example.com
access:
  interfaces: [{listen: "192.0.2.1:5061"}]
  tls: {certificate: a.crt, key: a.key}
core:
  exchange: "192.0.2.10:5070"
  certificate: c.crt
  key: c.key
  ca: ca.crt
`

// full has what can be wrong, right.
const full = `domain: example.com
aliases: [192.0.2.1]
state: /var/lib/x
control: /run/x.sock
access:
  interfaces:
    - {transport: tls, listen: "192.0.2.1:5061"}
  tls: {certificate: a.crt, key: a.key}
peer:
  interfaces:
    - {transport: udp, listen: "192.0.2.1:5080"}
  trunks:
    - name: carrier
      gateways:
        - {address: "198.51.100.1", transport: udp}
      sources: [198.51.100.0/24]
    - name: other
      gateways: [{address: "198.51.101.1"}]
core:
  exchange: "192.0.2.10:5070"
  server_name: pbx.example
  certificate: c.crt
  key: c.key
  ca: ca.crt
media: {min_port: 20000, max_port: 20999}
guard: {hold: 30s}
limits: {calls: 10, bindings: 10, connections: 10, per_source: 2, ring: 1m}
`

func parse(text string) (Config, error) {
	cfg := Default()
	_, err := conffile.Parse("f", []byte(text), &cfg)
	return cfg, err
}

func TestMinimalAndFull(t *testing.T) {
	for _, text := range []string{minimal, full} {
		if _, err := parse(text); err != nil {
			t.Error(err)
		}
	}
	cfg, _ := parse(minimal)
	if cfg.Access.SRTP != "require" || cfg.Peer.SRTP != "allow" || cfg.Access.Interfaces[0].Transport != "tls" || len(cfg.Guard.Rules) == 0 {
		t.Errorf("defaults: %+v", cfg)
	}
	if cfg, _ := parse(full); cfg.Peer.Trunks[1].Gateways[0].Transport != "udp" {
		t.Error("a gateway without a transport is not UDP")
	}
}

// TestFaults holds that each fault names its key and the line where it stands.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no domain":          {"domain: example.com\naliases", "aliases", "f: domain: is no host name"},
		"bad domain":         {"domain: example.com", "domain: sip:example.com", "f:1: domain: is no host name"},
		"bad alias":          {"[192.0.2.1]", "[192.0.2.1, \"192.0.2.1:5060\"]", `f:2: aliases[1]: "192.0.2.1:5060" is neither`},
		"relative state":     {"/var/lib/x", "x", "f:3: state: is no absolute path"},
		"relative socket":    {"/run/x.sock", "x", "f:4: control: is no absolute path"},
		"no port":            {`"192.0.2.1:5061"`, `"192.0.2.1:0"`, "f:7: access.interfaces[0].listen: is no address:port"},
		"no certificate":     {"  tls: {certificate: a.crt, key: a.key}\n", "", "f:5: access.tls: certificate and key"},
		"unknown srtp":       {"  tls: {certificate: a.crt", "  srtp: maybe\n  tls: {certificate: a.crt", "f:8: access.srtp: \"maybe\" is not known here; use one of require, allow, never"},
		"port twice":         {`udp, listen: "192.0.2.1:5080"`, `tcp, listen: "192.0.2.1:5061"`, "f:11: peer.interfaces[0].listen: is also access.interfaces[0]"},
		"trunk's name":       {"name: carrier", "name: a b", `f:13: peer.trunks[0].name: "a b" is no name`},
		"trunk twice":        {"name: other", "name: carrier", `f:17: peer.trunks[1].name: "carrier" stands twice`},
		"no gateway":         {`[{address: "198.51.101.1"}]`, "[]", "f:18: peer.trunks[1].gateways: is empty"},
		"gateway":            {`"198.51.100.1", transport`, `"a b", transport`, "f:15: peer.trunks[0].gateways[0].address: \"a b\" is neither"},
		"gateway's way":      {`"198.51.100.1", transport: udp`, `"198.51.100.1", transport: tls`, "f:15: peer.trunks[0].gateways[0].transport: the peer side has no tls"},
		"named, no sources":  {"198.51.101.1", "gw.example", "f:17: peer.trunks[1].sources: is missing"},
		"bad source":         {"198.51.100.0/24", "198.51.100.0/99", "f:16: peer.trunks[0].sources[0]"},
		"exchange":           {`"192.0.2.10:5070"`, "192.0.2.10", `f:20: core.exchange: "192.0.2.10" is no address:port`},
		"exchange's name":    {"pbx.example", `"a b"`, "f:21: core.server_name: "},
		"no core key":        {"  key: c.key\n", "", "f:19: core.key: is missing"},
		"no core cert":       {"  certificate: c.crt\n", "", "f:19: core.certificate: is missing"},
		"no authority":       {"  ca: ca.crt\n", "", "f:19: core.ca: is missing"},
		"media ports":        {"max_port: 20999", "max_port: 20000", "f:25: media: min_port and max_port"},
		"guard":              {"hold: 30s", "hold: 1h", "f:26: guard.hold: "},
		"calls":              {"calls: 10", "calls: 0", "f:27: limits.calls: must be above 0"},
		"bindings":           {"bindings: 10", "bindings: -1", "f:27: limits.bindings: must be above 0"},
		"connections":        {"connections: 10", "connections: 0", "f:27: limits.connections: must be above 0"},
		"per source":         {"per_source: 2", "per_source: 0", "f:27: limits.per_source: must be above 0"},
		"ring":               {"ring: 1m", "ring: 0s", "f:27: limits.ring: must be at least 1s"},
		"unknown key":        {"ring: 1m", "rings: 1m", "f:27: limits.rings: "},
		"listens nowhere":    {"access:\n  interfaces:\n    - {transport: tls, listen: \"192.0.2.1:5061\"}\n  tls: {certificate: a.crt, key: a.key}\npeer:\n  interfaces:\n    - {transport: udp, listen: \"192.0.2.1:5080\"}\n", "peer:\n", "access.interfaces: neither access nor peer listens anywhere"},
		"trunks, no way out": {"  interfaces:\n    - {transport: udp, listen: \"192.0.2.1:5080\"}\n", "", "f:9: peer.interfaces: there are trunks but no interface"},
	} {
		text := strings.Replace(full, c.old, c.new, 1)
		if text == full {
			t.Fatalf("%s: %q is not there", name, c.old)
		}
		_, err := parse(text)
		var fs conffile.Faults
		if !errors.As(err, &fs) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
			continue
		}
		for _, f := range fs {
			if f.Remedy == "" && !strings.HasPrefix(f.Key, "guard.") {
				t.Errorf("%s: %v has no remedy", name, f)
			}
		}
	}
}

// TestDescribe loads what describe prints.
func TestDescribe(t *testing.T) {
	var b bytes.Buffer
	if err := conffile.Describe(&b, Default()); err != nil {
		t.Fatal(err)
	}
	_, err := parse(b.String())
	var fs conffile.Faults
	if err != nil && !errors.As(err, &fs) {
		t.Fatal(err)
	}
	for _, f := range fs { // what nobody but the operator can know
		switch f.Key {
		case "domain", "access.interfaces", "core.exchange", "core.certificate", "core.key", "core.ca":
		default:
			t.Errorf("%v", f)
		}
	}
	for _, key := range []string{"domain:", "access:", "peer:", "core:", "guard:", "limits:", "per_source: 16"} {
		if !strings.Contains(b.String(), key) {
			t.Errorf("no %s in\n%s", key, b.String())
		}
	}
}

// TestExample loads the example that is shipped.
func TestExample(t *testing.T) {
	cfg := Default()
	if err := conffile.Load(filepath.Join("..", "..", "..", "deploy", "config", "sbc.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Peer.Trunks) == 0 || cfg.Access.SRTP != "require" {
		t.Errorf("%+v", cfg)
	}
}
