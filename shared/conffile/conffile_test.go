package conffile

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The Config of a small imaginary program.
type gateway struct {
	Address netip.AddrPort `yaml:"address" doc:"Where it listens."`
	Weight  int            `yaml:"weight" doc:"Share of the calls."`
}

func (g *gateway) SetDefaults() { g.Weight = 10 }

type trunk struct {
	_        struct{}  `doc:"A carrier."`
	Network  string    `yaml:"network" oneof:"udp|tcp|tls"`
	Gateways []gateway `yaml:"gateways" doc:"Tried in order."`
}

func (t *trunk) SetDefaults() { t.Network = "udp" }

func (t trunk) Validate() []Fault {
	if len(t.Gateways) == 0 {
		return []Fault{Bad("gateways", "is empty", "name one gateway or more")}
	}
	return nil
}

type realm struct {
	Listen    []netip.AddrPort `yaml:"listen" doc:"Addresses and ports."`
	Advertise netip.Addr       `yaml:"advertise"`
}

func (r *realm) Validate() []Fault {
	for i, l := range r.Listen {
		if l.Port() == 1 {
			return []Fault{Badf(joinIndex("listen", i), "choose another", "port %d is not for us", l.Port())}
		}
	}
	return nil
}

type common struct {
	Domain string `yaml:"domain" doc:"The SIP domain."`
}

type config struct {
	_       struct{} `doc:"A file of the imaginary program.\nSecond paragraph."`
	common  `yaml:",inline"`
	Name    string            `yaml:"name" doc:"Its name, which is a long text so that its documentation has to be wrapped into more than one comment line, as long texts have to."`
	Debug   bool              `yaml:"debug"`
	Max     uint16            `yaml:"max"`
	Offset  int               `yaml:"offset"`
	Share   float64           `yaml:"share"`
	Silence time.Duration     `yaml:"silence" doc:"How long nothing may be heard."`
	Buffer  Size              `yaml:"buffer"`
	Suites  []string          `yaml:"suites" oneof:"cm80|gcm"`
	Allow   []netip.Prefix    `yaml:"allow"`
	Access  realm             `yaml:"access"`
	Peer    *realm            `yaml:"peer" doc:"Optional."`
	Trunks  map[string]trunk  `yaml:"trunks" doc:"By name."`
	Hosts   map[string]*realm `yaml:"hosts"`
	Grid    [][]int           `yaml:"grid"`
	Pair    [2]int            `yaml:"pair"`
	Labels  map[string]string `yaml:"labels"`
	Hidden  string            `yaml:"-"`
	Plain   string
	secret  string
}

func defaults() config {
	return config{
		common: common{Domain: "example.org"}, Name: "house", Max: 100, Offset: -3, Share: 0.5, Silence: 5 * time.Minute,
		Buffer: 64 * KiB, Suites: []string{"gcm", "cm80"}, Pair: [2]int{1, 2}, Grid: [][]int{{1, 2}, {3}},
		Access: realm{Listen: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:5061")}},
		Labels: map[string]string{"a": "0100", "b c": "yes", "d": "x: #y", "e": ""},
		Plain:  "line\nbreak", secret: "s",
	}
}

func TestLoadEveryType(t *testing.T) {
	c := defaults()
	_, err := Parse("f", []byte(`
domain: sip.example.org
name: 0100          # stays text
debug: true
max: 65535
offset: -7
share: 0.25
silence: 1m30s
buffer: 10MB
suites: [cm80]
allow: [192.0.2.0/24, "2001:db8::/32"]
access:
  listen:
    - 192.0.2.1:5061
    - "[2001:db8::1]:5061"
  advertise: 198.51.100.7
peer:
  listen: []
trunks:
  carrier:
    gateways:
      - address: 192.0.2.9:5060
      - {address: 192.0.2.10:5060, weight: 1}
  "b.c":
    network: tls
    gateways: [{address: "192.0.2.11:5061"}]
hosts:
  h: {advertise: 192.0.2.1}
grid: [[1], [2, 3]]
pair: [8, 9]
labels:
  x: |
    text
plain: |
  two
  lines
`), &c)
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		common: common{Domain: "sip.example.org"}, Name: "0100", Debug: true, Max: 65535, Offset: -7, Share: 0.25,
		Silence: 90 * time.Second, Buffer: 10_000_000, Suites: []string{"cm80"},
		Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Access: realm{Listen: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5061"),
			netip.MustParseAddrPort("[2001:db8::1]:5061")}, Advertise: netip.MustParseAddr("198.51.100.7")},
		Peer: &realm{Listen: []netip.AddrPort{}},
		Trunks: map[string]trunk{
			"carrier": {Network: "udp", Gateways: []gateway{{netip.MustParseAddrPort("192.0.2.9:5060"), 10},
				{netip.MustParseAddrPort("192.0.2.10:5060"), 1}}},
			"b.c": {Network: "tls", Gateways: []gateway{{netip.MustParseAddrPort("192.0.2.11:5061"), 10}}},
		},
		Hosts: map[string]*realm{"h": {Advertise: netip.MustParseAddr("192.0.2.1")}},
		Grid:  [][]int{{1}, {2, 3}}, Pair: [2]int{8, 9}, Labels: map[string]string{"x": "text\n"},
		Plain: "two\nlines\n", secret: "s",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

func TestDefaultsStay(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "trunks:\naccess:\n", "{}"} {
		c, want := defaults(), defaults()
		if _, err := Parse("f", []byte(text), &c); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if c.Trunks != nil && len(c.Trunks) == 0 {
			c.Trunks = nil
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%q changed the defaults: %+v", text, c)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown", "nmae: x", `f:1: nmae: unknown key; did you mean "name"?`},
		{"unknown below", "access:\n  foo: 1", `f:2: access.foo: unknown key; use one of listen, advertise`},
		{"unknown far", "zzzzzz: 1", `f:1: zzzzzz: unknown key; take it out, or see describe for the keys that exist`},
		{"hidden field", "hidden: 1", `f:1: hidden: unknown key; take it out, or see describe for the keys that exist`},
		{"odd key", "\"a\\nb\": 1", `f:1: ["a\nb"]: unknown key; take it out, or see describe for the keys that exist`},
		{"twice", "name: a\nmax: 1\nname: b", `f:3: name: given twice, first in line 1; keep one`},
		{"bool", "debug: yes", `f:1: debug: "yes" is neither true nor false; write true or false`},
		{"uint", "max: 65536", `f:1: max: "65536" is not a number in range; write one from 0 to 65535`},
		{"negative uint", "max: -1", `f:1: max: "-1" is not a number in range; write one from 0 to 65535`},
		{"int", "offset: 1.5", `f:1: offset: "1.5" is not a whole number in range; write digits only, as 100`},
		{"float", "share: .nan", `f:1: share: ".nan" is not a number; write digits, as 0.5`},
		{"duration", "silence: 5", `f:1: silence: "5" is not a duration; write it with its unit, as 500ms, 5s, 5m or 1h`},
		{"negative duration", "silence: -5s", `f:1: silence: "-5s" is negative; write a duration of 0 or more`},
		{"size", "buffer: 5 apples", `f:1: buffer: "5 apples" is not a size; write it as 4096, 64KiB or 10MB`},
		{"size overflow", "buffer: 99999999TiB", `f:1: buffer: "99999999TiB" is too large a size; write a smaller one`},
		{"address", "access:\n  advertise: host", `f:2: access.advertise: "host" is not an IP address; write it as 192.0.2.1 or 2001:db8::1`},
		{"address and port", "access:\n  listen:\n    - 1.2.3.4:5060\n    - 1.2.3.4",
			`f:4: access.listen[1]: "1.2.3.4" is not an IP address and port; write it as 192.0.2.1:5061 or [2001:db8::1]:5061`},
		{"network", "allow: [1.2.3.4]", `f:1: allow[0]: "1.2.3.4" is not a network; write it as 192.0.2.0/24 or 2001:db8::/32`},
		{"one of", "trunks:\n  c:\n    network: sctp\n    gateways: [{address: 1.2.3.4:5}]",
			`f:3: trunks.c.network: "sctp" is not known here; use one of udp, tcp, tls`},
		{"one of list", "suites:\n  - gcm\n  - des", `f:3: suites[1]: "des" is not known here; use one of cm80, gcm`},
		{"no value", "silence:", `f:1: silence: has no value; write one, or take the line out to have the default`},
		{"scalar for table", "access: 5", `f:1: access: is a single value, but must be a table of keys; write its keys below it, indented`},
		{"scalar for list", "allow: 1.2.3.0/24",
			`f:1: allow: is a single value, but must be a list; write each item on a line of its own after a dash`},
		{"list for scalar", "name: [a]", `f:1: name: is a list, but must be a single value; write it behind the colon`},
		{"table for scalar", "name:\n  a: b", `f:2: name: is a table of keys, but must be a single value; write it behind the colon`},
		{"array", "pair: [1]", `f:1: pair: has 1 items, but must have 2; write that many`},
		{"list at the top", "- a", `f:1: is a list, but must be a table of keys; write its keys below it, indented`},
		{"anchor", "name: &x a", `f:1: name: YAML anchors, aliases and tags are not used here; write the value itself`},
		{"tag", "name: !!str a", `f:1: name: YAML anchors, aliases and tags are not used here; write the value itself`},
		{"two documents", "name: a\n---\nname: b", `f:3: a second document in one file; keep one, without ---`},
		{"tab", "access:\n\tlisten: []", `f:2: a tab in the indentation; use spaces`},
		{"control", "name: \x00", `f:1: a byte that is not text; save the file as UTF-8`},
		{"not UTF-8", "name: \xff", `f:1: a byte that is not text; save the file as UTF-8`},
		{"long line", "name: " + strings.Repeat("x", maxLine), `f:1: line is longer than 8192 bytes; break it`},
		{"deep", strings.Repeat("a: [\n", maxDepth+1), `f:257: too many brackets or dashes are open; close them`},
		{"dashes", strings.Repeat("- ", maxDepth+1), `f:1: too many brackets or dashes are open; close them`},
		{"indent", strings.Repeat(" ", maxIndent+1) + "a: b", `f:1: indented too far; use at most 256 columns`},
		{"large", strings.Repeat("#\n", MaxSize), `f: file is larger than 1048576 bytes; make it smaller`},
		{"validator", "trunks:\n  c:\n    network: tls", `f:2: trunks.c.gateways: is empty; name one gateway or more`},
		{"validator of a list", "access:\n  listen:\n    - 1.2.3.4:1", `f:3: access.listen[0]: port 1 is not for us; choose another`},
		{"validator behind a pointer", "hosts:\n  h:\n    listen: [1.2.3.4:1]", `f:3: hosts.h.listen[0]: port 1 is not for us; choose another`},
		{"quoted map key", "trunks:\n  \"a b.c\": {}", `f:2: trunks["a b.c"].gateways: is empty; name one gateway or more`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := defaults()
			_, err := Parse("f", []byte(tc.text), &c)
			if err == nil {
				t.Fatal("no fault")
			}
			if err.Error() != tc.want {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
			var bad interface{ BadInput() bool }
			if !errors.As(err, &bad) || !bad.BadInput() {
				t.Error("not marked as bad input")
			}
		})
	}
}

func TestSyntaxFaultsAreOneLine(t *testing.T) {
	for _, text := range []string{"a: b: c", "a: [", "a: \"x", "a:\n  - b\n c", "{", "\"", "a: |\nb", "? a", "%", "@", "a: b\n b: c"} {
		_, err := Parse("f", []byte(text), &config{})
		if err == nil {
			t.Errorf("%q: no fault", text)
			continue
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f:") {
				t.Errorf("%q: %q", text, line)
			}
		}
	}
}

func TestAllFaultsInOrderOfLines(t *testing.T) {
	c := defaults()
	_, err := Parse("f", []byte("max: x\nname: a\nname: b\naccess:\n  listen: [1.2.3.4:1]\ntrunks:\n  t: {}\nfoo: 1\n"), &c)
	var fs Faults
	if !errors.As(err, &fs) {
		t.Fatal(err)
	}
	var lines []int
	for _, f := range fs {
		lines = append(lines, f.Line)
	}
	if want := []int{1, 3, 5, 7, 8}; !reflect.DeepEqual(lines, want) {
		t.Errorf("lines %v, want %v:\n%v", lines, want, err)
	}
}

type strictRoot struct {
	Access realm `yaml:"access"`
	Max    int   `yaml:"max"`
}

func (strictRoot) Validate() []Fault {
	return []Fault{Bad("", "root was asked", ""), Bad("max", "too low", "")}
}

func TestMeaningIsNotAskedWhereFormIsWrong(t *testing.T) {
	var c strictRoot
	_, err := Parse("f", []byte("max: x\naccess:\n  listen: [1.2.3.4:1]"), &c)
	if err == nil || strings.Contains(err.Error(), "root was asked") || !strings.Contains(err.Error(), "not for us") {
		t.Errorf("got %v", err)
	}
	c = strictRoot{}
	_, err = Parse("f", []byte("max: 5"), &c)
	if want := "f: root was asked\nf:1: max: too low"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("name: x\naccess:\n  listen: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config
	f, err := Read(path, &c)
	if err != nil || c.Name != "x" {
		t.Fatal(err, c.Name)
	}
	for key, want := range map[string]int{"access.listen": 3, "access.listen[0].x": 3, "access.foo": 2, "name": 1, "other": 0, "": 0} {
		if got := f.Line(key); got != want {
			t.Errorf("line of %q is %d, want %d", key, got, want)
		}
	}
	got := f.Fault("access.listen[0]", "port 5061 is taken", "choose another").Error()
	if want := path + ":3: access.listen[0]: port 5061 is taken; choose another"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, want string }{
		{"", "no file is named; name one with -c FILE"},
		{dir, dir + ": is a directory; name the file in it"},
		{dir + "/none", dir + "/none: no such file; check the path, or write a new file with quickstart or describe"},
		{dir + "/pipe/x", dir + "/pipe/x: can't be read: not a directory; check the path"},
	} {
		if err := Load(tc.path, &config{}); err == nil || err.Error() != tc.want {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
	if err := Load(pipe, &config{}); err != nil { // empty, and does not hang
		t.Error(err)
	}
}

func TestDescribeLoads(t *testing.T) {
	want := defaults()
	want.Trunks = map[string]trunk{"b.c": {Network: "tls", Gateways: []gateway{{netip.MustParseAddrPort("1.2.3.4:5"), 1},
		{netip.MustParseAddrPort("[::1]:6"), 2}}}}
	for name, c := range map[string]config{"defaults": defaults(), "zero": {}, "filled": want} {
		var buf bytes.Buffer
		if err := Describe(&buf, c); err != nil {
			t.Fatal(err)
		}
		got := defaults()
		if _, err := Parse("f", buf.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, buf.String())
		}
		got.secret, c.secret = "", ""
		var again bytes.Buffer
		if err := Describe(&again, got); err != nil {
			t.Fatal(err)
		}
		if again.String() != buf.String() {
			t.Errorf("%s: not the same after reading it back:\n%s\n---\n%s", name, buf.String(), again.String())
		}
	}
}

func TestDescribeText(t *testing.T) {
	var buf bytes.Buffer
	c := defaults()
	if err := Describe(&buf, &c); err != nil {
		t.Fatal(err)
	}
	text := buf.String()
	for _, want := range []string{
		"# A file of the imaginary program.\n# Second paragraph.\n\n# The SIP domain.\ndomain: example.org\n",
		"silence: 5m\n", "buffer: 64KiB\n", "# One of: cm80, gcm.\nsuites: [gcm, cm80]\n", "listen: [\"[2001:db8::1]:5061\"]\n",
		"  advertise: \"\"\n", "# Optional.\n#peer:\n  ## Addresses and ports.\n  #listen: []\n", "\"b c\": \"yes\"\n", "a: \"0100\"\n",
		"# By name.\ntrunks: {}\n  #NAME:\n    ## One of: udp, tcp, tls.\n    #network: udp\n    ## Tried in order.\n    #gateways:\n" +
			"      ## Where it listens.\n      #- address: \"\"\n        ## Share of the calls.\n        #weight: 10\n",
		"grid:\n  - [1, 2]\n  - [3]\n", "plain: \"line\\nbreak\"\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing:\n%s\nin:\n%s", want, text)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if len(line) > wrapColumn && strings.Contains(line, "# ") {
			t.Errorf("comment too long: %s", line)
		}
	}
	if strings.Contains(text, "hidden") || strings.Contains(text, "secret") {
		t.Error("shows fields that are no keys")
	}
}

// The example in a comment must be right once it is uncommented.
func TestDescribeExampleLoads(t *testing.T) {
	var buf bytes.Buffer
	if err := Describe(&buf, config{}); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range strings.Split(buf.String(), "\n") {
		text := strings.TrimLeft(line, " ")
		if strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "# ") && text != "#" {
			line = strings.Replace(line, "#", "", 1)
		}
		line = strings.ReplaceAll(line, "trunks: {}", "trunks:")
		line = strings.ReplaceAll(line, "hosts: {}", "hosts:")
		out = append(out, line)
	}
	var c config
	if _, err := Parse("f", []byte(strings.Join(out, "\n")), &c); err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(out, "\n"))
	}
	if len(c.Trunks["NAME"].Gateways) != 1 || c.Peer == nil {
		t.Errorf("got %+v", c)
	}
}

func TestDescribeRefusesOtherThings(t *testing.T) {
	if err := Describe(&bytes.Buffer{}, 5); err == nil {
		t.Error("no error")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "4096": 4 * KiB, "64KiB": 64 * KiB, "64 KiB": 64 * KiB, "1GiB": GiB, "3kB": 3000, "7B": 7} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
	}
	for s, want := range map[Size]string{0: "0", 5: "5", KiB: "1KiB", 3 * MiB: "3MiB", 2 * GiB: "2GiB", 1500: "1500"} {
		if s.String() != want {
			t.Errorf("%d is %s, want %s", int64(s), s, want)
		}
	}
	for _, text := range []string{"", "-1", "x", "1.5MiB", "9223372036854775807KiB"} {
		var s Size
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q was taken as %d", text, s)
		}
	}
}

func TestParentPath(t *testing.T) {
	for path, want := range map[string]string{"a": "", "a.b": "a", "a.b[0]": "a.b", "a[0].b": "a[0]", `t["a.b]"]`: "t",
		`t["a.b"].c`: `t["a.b"]`, "": ""} {
		if got := parentPath(path); got != want {
			t.Errorf("parent of %s is %q, want %q", path, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	var buf bytes.Buffer
	if err := Describe(&buf, defaults()); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	for _, s := range []string{"", "a: b", "trunks: {c: {gateways: [{address: 1.2.3.4:5}]}}", "- - a", "? a\n: b", "a: &x 1\nb: *x",
		"<<: {a: b}", "name: !!binary x", "{[a]: b}", "a: |\n  x\n", "a: >-\n  x", "\"a\": 'b'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := defaults()
		_, err := Parse("f", data, &c)
		if err == nil {
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f:") || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
				t.Errorf("fault %q", line)
			}
		}
	})
}
