package admin

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/shared/control"
)

// file writes a file for a test, and returns its path.
func (r *rig) file(name, text string) string {
	r.Helper()
	path := filepath.Join(r.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// expectBanned says who must be banned and who not.
func (r *rig) expectBanned(banned bool, addrs ...string) {
	r.Helper()
	for _, a := range addrs {
		if r.g.Admit(netip.MustParseAddr(a)).OK() == banned {
			r.Errorf("%s: banned should be %v", a, banned)
		}
	}
}

func TestImportExport(t *testing.T) {
	r := newRig(t)
	list := r.file("list", "198.51.100.0/25\n198.51.100.128/25 # the other half\n203.0.113.7\n2001:db8::/48\nnot-an-address\n10.0.0.1\n10.0.0.3\n10.0.0.5\n10.0.0.7\n10.0.0.9\n10.0.0.11\n")
	if out := r.do("ban", "import", "scanners", list); !strings.HasPrefix(out, "the list scanners is in force: ") || !strings.Contains(out, "10 ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
	r.expectBanned(true, "198.51.100.9", "198.51.100.200", "203.0.113.7", "2001:db8::1")
	if out := r.do("ban", "why", "203.0.113.7"); out != "203.0.113.7: drop: host-banned\n  banned by list scanners\n" {
		t.Errorf("%q", out)
	}
	if out := r.do("ban", "stats"); !strings.Contains(out, "list scanners  ban   10 ") {
		t.Errorf("%s", out)
	}
	plain := r.do("ban", "export", "--list", "scanners")
	if !strings.HasSuffix(plain, "\n198.51.100.0/24\n203.0.113.7\n2001:db8::/48\n") {
		t.Errorf("%q", plain)
	}
	for _, format := range []string{"plain", "csv", "drop-json"} {
		out := r.do("ban", "export", "--list", "scanners", "--format", format)
		r.do("ban", "import", "again", r.file("again", out), "--does", "monitor")
		if got := r.do("ban", "export", "--list", "again"); got != plain {
			t.Errorf("%s: %q\nwant %q", format, got, plain)
		}
	}
	r.do("ban", "import", "scanners", r.file("csv", "name;network\na;203.0.113.9\nb;203.0.113.11\n"), "--format", "csv", "--column", "network")
	r.expectBanned(false, "198.51.100.9", "203.0.113.7")
	r.expectBanned(true, "203.0.113.9")
	r.do("ban", "import", "friends", r.file("f", "203.0.113.9\n"), "--does", "allow")
	r.expectBanned(false, "203.0.113.9")
	if out := r.do("ban", "import", "scanners", "--drop"); out != "the list scanners is dropped\n" {
		t.Errorf("%q", out)
	}
	r.expectBanned(false, "203.0.113.11")
	if out := r.do("ban", "export"); out != "" {
		t.Errorf("nobody is banned, and %q", out)
	}
	r.do("ban", "add", "198.51.100.7", "--for", "24h")
	if out := r.do("ban", "export"); out != "198.51.100.7\n" {
		t.Errorf("%q", out)
	}
}

// The fields of --json are what scripts rely on.
func TestListsJSON(t *testing.T) {
	r := newRig(t)
	out := r.do("ban", "import", "l", r.file("l", "198.51.100.7\n203.0.113.0/24\n"), "--json")
	expectKeys(t, out, "read", "entries", "format")
	if out := r.do("ban", "export", "--list", "l", "--json"); out != `{"cidr":"198.51.100.7/32"}`+"\n"+`{"cidr":"203.0.113.0/24"}`+"\n"+`{"type":"metadata","records":2}`+"\n" {
		t.Errorf("%q", out)
	}
	if out := r.do("ban", "import", "l", "--drop", "--json"); strings.Join(strings.Fields(out), "") != `{"dropped":"l"}` {
		t.Errorf("%q", out)
	}
}

// expectKeys holds that a JSON object has keys.
func expectKeys(t *testing.T, text string, keys ...string) {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Errorf("%v: %q", err, text)
		return
	}
	for _, k := range keys {
		if _, ok := m[k]; !ok {
			t.Errorf("no key %q in %s", k, text)
		}
	}
}

func TestWrongLists(t *testing.T) {
	r := newRig(t)
	r.lists = []follow.Status{{Name: "drop"}} // in the configuration, and not fetched yet
	good, garbage, empty := r.file("good", "198.51.100.7\n"), r.file("html", "<html>\n"), r.file("empty", "# nothing\n")
	r.do("ban", "import", "mine", good)
	for _, c := range []struct{ args, want string }{
		{"import", "wrong number of arguments"},
		{"import a b c", "wrong number of arguments"},
		{"import l", "name the file, or - for standard input; or --drop the list"},
		{"import l /not/there", "/not/there: no such file or directory"},
		{"import l " + r.TempDir(), "is a directory"},
		{"import l " + garbage, "is no list of networks"},
		{"import l " + empty, "has no entries"},
		{"import l " + good + " --does sing", `"sing" is nothing that a list does; use ban, monitor or allow`},
		{"import l " + good + " --format xml", `no such format: "xml"`},
		{"import l " + good + " --format csv --column network", "column"},
		{"import a.b " + good, `list "a.b": letters, digits, - and _ only, at most 32`},
		{"import ../x " + good, "letters, digits, - and _ only"},
		{"import drop " + good, "list drop: the configuration has a list of that name"},
		{"import nosuch --drop", "there is no imported list nosuch"},
		{"import a.b --drop", "letters, digits, - and _ only"},
		{"import mine " + good + " --drop", "--drop takes no file"},
		{"export x", "wrong number of arguments"},
		{"export --format xml", `not as "xml"`},
		{"export --list nosuch", "there is no list nosuch"},
	} {
		r.expectWrong(c.args, c.want)
	}
	r.expectBanned(true, "198.51.100.7")
}

// expectWrong holds that a ban command ends with status 2 and one line that names the fault.
func (r *rig) expectWrong(args, want string) {
	r.Helper()
	status, out, errs := r.run(append([]string{"ban"}, strings.Fields(args)...)...)
	if status != 2 || out != "" || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
		r.Errorf("%s: status %d, %q %q, want %s", args, status, out, errs, want)
	}
}

// A file over the limit is refused as such, and nothing of it is in force.
func TestImportTooLarge(t *testing.T) {
	r := newRig(t)
	big, err := os.Create(filepath.Join(t.TempDir(), "big"))
	if err == nil {
		_, err = big.WriteString("198.51.100.7\n#")
	}
	if err = errors.Join(err, big.Truncate(maxImport+1), big.Close()); err != nil { // a hole: no disk holds it
		t.Fatal(err)
	}
	r.expectWrong("import l "+big.Name(), "the file is larger than 128 MiB")
	r.expectBanned(false, "198.51.100.7")
	var e *control.Error
	c := control.NewClient(r.path)
	defer c.Close()
	if err := c.Do(t.Context(), "GET", "/bans/export?list=l", nil, nil); !errors.As(err, &e) || e.Status != 404 {
		t.Error(err)
	}
}
