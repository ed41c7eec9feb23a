package exchange

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// minimal is the least that an exchange needs.
const minimal = `domain: example.com
phones:
  interfaces: [{transport: udp, listen: "10.0.0.1:5060"}]
dialplan: dialplan.yaml
`

// full has what can be wrong, right.
const full = `domain: example.com
aliases: [10.0.0.1]
state: /var/lib/x
cdr: /var/lib/x/cdr
control: /run/x.sock
core:
  listen: "192.0.2.10:5070"
  certificate: c.crt
  key: c.key
  ca: ca.crt
  border: sbc.test
phones:
  interfaces:
    - {transport: udp, listen: "10.0.0.1:5060"}
  networks: [10.0.0.0/8]
media: {min_port: 20000, max_port: 20999}
trunks:
  - name: carrier
    domain: carrier.example
    from_host: from.example
    from_user: "4930"
  - {name: other, domain: 198.51.100.1}
dialplan: dialplan.yaml
digest: {nonce_life: 1m}
limits: {calls: 10, connections: 10, contacts: 2, min_expires: 1m, max_expires: 1h, ring: 1m}
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
	if cfg.cdrDir() != "/var/lib/brickhouse/pbx/cdr" || !cfg.Digest.MD5 || cfg.Secrets.Store != "file" || cfg.Core.Listen.IsValid() {
		t.Errorf("defaults: %+v", cfg)
	}
	if cfg, _ := parse(strings.Replace(full, "x/cdr", "y", 1)); cfg.cdrDir() != "/var/lib/y" {
		t.Errorf("records go to %s", cfg.cdrDir())
	}
}

// TestFaults holds that each fault names its key and the line where it stands.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no domain":       {"domain: example.com\naliases", "aliases", "f: domain: is no host name"},
		"bad domain":      {"domain: example.com", "domain: a b", "f:1: domain: is no host name"},
		"bad alias":       {"[10.0.0.1]", "[sip:x]", `f:2: aliases[0]: "sip:x" is neither`},
		"state":           {"state: /var/lib/x", "state: x", "f:3: state: is no absolute path"},
		"cdr":             {"cdr: /var/lib/x/cdr", "cdr: cdr", "f:4: cdr: is no absolute path"},
		"socket":          {"/run/x.sock", "x", "f:5: control: is no absolute path"},
		"core port":       {"10:5070", "10:0", "f:7: core.listen: has no port"},
		"core cert":       {"  certificate: c.crt\n", "", "f:6: core.certificate: is missing"},
		"core key":        {"  key: c.key\n", "", "f:6: core.key: is missing"},
		"core authority":  {"  ca: ca.crt\n", "", "f:6: core.ca: is missing"},
		"API elsewhere":   {"core:\n", "api: {listen: \"192.0.2.1:5075\", certificate: c.crt, key: c.key}\ncore:\n", "f:6: api.listen: 192.0.2.1:5075 is no port of a loopback address"},
		"API's cert":      {"core:\n", "api: {listen: \"127.0.0.1:5075\", key: c.key}\ncore:\n", "f:6: api.certificate: is missing"},
		"records":         {"core:\n", "keep_cdr: -1\ncore:\n", "f:6: keep_cdr: is not from 0 to 36500 days"},
		"audit":           {"core:\n", "api: {audit: 0}\ncore:\n", "f:6: api.audit: is not from 1 to 36500 days"},
		"border":          {"sbc.test", `"a b"`, `f:11: core.border: "a b" is no host name`},
		"interface":       {"udp, listen", "sctp, listen", "f:14: phones.interfaces[0].transport"},
		"core's port":     {`udp, listen: "10.0.0.1:5060"`, `tcp, listen: "192.0.2.10:5070"`, "f:14: phones.interfaces[0].listen: is also core.listen"},
		"no certificate":  {"udp, listen", "tls, listen", "f:12: phones.tls: certificate and key"},
		"network":         {"[10.0.0.0/8]", "[10.0.0.0]", "f:15: phones.networks[0]"},
		"media":           {"min_port: 20000", "min_port: 20999", "f:16: media: min_port and max_port"},
		"trunk's name":    {"name: carrier", "name: a/b", `f:18: trunks[0].name: "a/b" is no name`},
		"trunk twice":     {"name: other", "name: carrier", `f:22: trunks[1].name: "carrier" stands twice`},
		"trunk's domain":  {"domain: carrier.example", "domain: a/b", `f:19: trunks[0].domain: "a/b" is no host name`},
		"trunk, domain":   {"    domain: carrier.example\n", "", `f:18: trunks[0].domain: "" is no host name`},
		"from host":       {"from.example", `"a b"`, `f:20: trunks[0].from_host: "a b" is no host name`},
		"from user":       {`"4930"`, `"a@b"`, `f:21: trunks[0].from_user: "a@b" is no user part`},
		"no dialplan":     {"dialplan: dialplan.yaml\n", "", "f: dialplan: is missing"},
		"nonce life":      {"nonce_life: 1m", "nonce_life: 1s", "f:24: digest.nonce_life: must be at least 10s"},
		"calls":           {"calls: 10", "calls: 0", "f:25: limits.calls: must be above 0"},
		"connections":     {"connections: 10", "connections: -1", "f:25: limits.connections: must be above 0"},
		"contacts":        {"contacts: 2", "contacts: 0", "f:25: limits.contacts: must be above 0"},
		"expires, order":  {"max_expires: 1h", "max_expires: 30s", "f:25: limits.min_expires: must be at least 1s and at most max_expires"},
		"expires":         {"min_expires: 1m", "min_expires: 0s", "f:25: limits.min_expires: must be at least 1s"},
		"ring":            {"ring: 1m", "ring: 1ms", "f:25: limits.ring: must be at least 1s"},
		"unknown key":     {"ring: 1m", "rang: 1m", "f:25: limits.rang: "},
		"secrets":         {"digest:", "secrets: {file: {path: \"\"}}\ndigest:", "f:24: secrets.file.path"},
		"listens nowhere": {full[strings.Index(full, "core:"):strings.Index(full, "media:")], "", "f: phones.interfaces: neither phones nor a border"},
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
			if f.Remedy == "" {
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
		case "domain", "phones.interfaces", "dialplan":
		default:
			t.Errorf("%v", f)
		}
	}
	for _, key := range []string{"domain:", "phones:", "secrets:", "trunks:", "contacts: 8", "md5: true"} {
		if !strings.Contains(b.String(), key) {
			t.Errorf("no %s in\n%s", key, b.String())
		}
	}
}

// TestExamples loads the examples that are shipped, and holds that they fit together.
func TestExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "deploy", "config")
	cfg := Default()
	if err := conffile.Load(filepath.Join(dir, "pbx.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Dialplan = filepath.Join(dir, "dialplan.yaml")
	p, err := loadDialplan(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[string]dialplan.Action{
		"*43": {Kind: dialplan.Echo, Number: "*43"}, "0301234": {Kind: dialplan.Trunk, Number: "+49301234", Trunk: "carrier"},
		"0041441234": {Kind: dialplan.Trunk, Number: "+41441234", Trunk: "carrier"}, "112": {Kind: dialplan.Trunk, Number: "112", Trunk: "carrier", Emergency: true},
	} {
		if got, ok := p.Lookup("", number, dialplan.Moment{}); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", number, got, want)
		}
	}
	for number, want := range map[string]verdict.Reason{
		"0301234567": "", "0041441234567": "", "0900123456": verdict.PremiumDenied, "00881612345678": verdict.SatelliteDenied, "002250712345": verdict.CountryDenied,
	} {
		a, _ := p.Lookup("", number, dialplan.Moment{})
		if got := p.Right("default", p.Number(a)); got.Reason != want {
			t.Errorf("%s: %+v, want %q", number, got, want)
		}
	}
}

func TestDialplanNamesTrunks(t *testing.T) {
	r := prepare(t)
	for text, want := range map[string]string{
		"rules: [{number: \"0.\", do: trunk, trunk: nobody}]":       `trunk "nobody" is not in the configuration`,
		"rules: [{number: \"0.\", from: nobody}]":                   `trunk "nobody" is not in the configuration`,
		"rules: [{number: \"[\"}]":                                  "dialplan.yaml:1: rules[0].number",
		"rulez: []":                                                 "dialplan.yaml:1: rulez",
		"rules: [{number: \"0.\", do: trunk, trunk: carrier}]":      "",
		"rules: [{number: \"0.\", from: trunks, extension: \"1\"}]": "",
	} {
		r.write("dialplan.yaml", text)
		_, err := loadDialplan(&r.cfg)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	r.cfg.Dialplan = r.path("nothing")
	if err := Check(&r.cfg); err == nil || !strings.Contains(err.Error(), r.path("nothing")) {
		t.Errorf("%v", err)
	}
}
