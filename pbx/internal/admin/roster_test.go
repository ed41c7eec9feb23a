package admin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"brickhouse/pbx/internal/store"
)

func (r *rig) file(text string) string {
	r.Helper()
	path := filepath.Join(r.TempDir(), "extensions.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// TestRoster: what is exported can be imported, elsewhere too, and then is the same; a second import changes nothing.
func TestRoster(t *testing.T) {
	r := newRig(t)
	first := r.file(`
extensions:
  - {number: "1001", name: Alice, class: world, digest: [SHA-256], forwards: {busy: "1002", no-answer: "1003"}, after: 15, blocked: ["4930"], voicemail: true, email: a@example.com}
  - {number: "1002", password: a password for Bob, dnd: true, no_waiting: true, block_anonymous: true, agent: paused}
`)
	out := r.do("extension", "import", first)
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[1], "1001       new  ") || len(strings.Fields(lines[1])) != 3 || strings.Contains(lines[2], "Bob") {
		t.Fatalf("%s", out)
	}
	if pw := strings.Fields(lines[1])[2]; r.x.passwords["1001"] != pw || r.x.passwords["1002"] != "a password for Bob" {
		t.Errorf("%v, told %s", r.x.passwords, pw)
	}
	s := r.x.store.Services("1001")
	if e, _ := r.x.store.Extension("1001"); e.Name != "Alice" || e.Class != "world" || len(e.Algorithms) != 1 || s.Forward(store.Busy) != "1002" || s.After != 15 || !s.Voicemail || !s.Blocks("4930") {
		t.Errorf("%+v %+v", e, s)
	}
	if r.x.agents["1002"] != "paused" {
		t.Errorf("%v", r.x.agents)
	}
	text := r.do("extension", "export")
	if strings.Contains(text, "password") {
		t.Errorf("a password is exported: %s", text)
	}
	if out := r.do("extension", "import", r.file(text)); out != "nothing to do\n" {
		t.Errorf("the second time: %s", out)
	}
	other := newRig(t)
	other.do("extension", "import", other.file(text))
	if again := other.do("extension", "export"); again != text {
		t.Errorf("elsewhere:\n%s\nwas\n%s", again, text)
	}
	if out := r.do("extension", "import", "--replace", r.file("extensions: [{number: \"1001\", name: Ann, digest: [SHA-256]}]")); !strings.Contains(out, "1001       changed") || !strings.Contains(out, "1002       removed") {
		t.Errorf("%s", out)
	}
	if s := r.x.store.Services("1001"); len(s.Forwards) > 0 || s.After != 0 || s.Voicemail || s.Email != "" || s.Blocks("4930") {
		t.Errorf("what the file does not say is still set: %+v", s)
	}
	r.do("extension", "name", "1001", "Anna")
	if e, _ := r.x.store.Extension("1001"); e.Name != "Anna" {
		t.Errorf("%+v", e)
	}
}

// TestRosterRefused holds that a wrong list changes nothing and names all that is wrong, and that a setting that does not fit is told.
func TestRosterRefused(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	before := r.do("extension", "export")
	for text, want := range map[string]string{
		`extensions: [{number: "1002"}, {number: "a b"}]`:                             `extension 2 (a b): "a b" is no extension`,
		`extensions: [{number: "1002"}, {number: "1002"}]`:                            "stands twice",
		`extensions: [{number: "1002", class: moon}]`:                                 `no class "moon"`,
		`extensions: [{number: "1002", digest: [SHA-1]}]`:                             "no digest algorithm",
		`extensions: [{number: "1002", forwards: {never: "1"}}]`:                      "no condition",
		`extensions: [{number: "1002", email: x}]`:                                    "no mail address",
		`extensions: [{number: "1002", password: short}, {number: "1003", class: x}]`: "the password must have",
		`extensions: [{number: "1002", agent: asleep}]`:                               "in, out, paused",
		`extensions: [{number: "1002", nickname: x}]`:                                 "extensions.yaml:1: ",
		`extension: []`: "extensions.yaml:1: ",
	} {
		status, _, errs := r.run("extension", "import", r.file(text))
		if status != 2 || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %q, want %s", text, status, errs, want)
		}
	}
	if status, _, errs := r.run("extension", "import", "/not/there.yaml"); status != 2 || !strings.Contains(errs, "no such file") {
		t.Errorf("%d %s", status, errs)
	}
	if after := r.do("extension", "export"); after != before {
		t.Errorf("something has changed:\n%s", after)
	}
	status, out, errs := r.run("extension", "import", "--json", r.file(`extensions: [{number: "1001", forwards: {always: "112"}, dnd: true}]`))
	var answer importAnswer
	if err := json.Unmarshal([]byte(out), &answer); err != nil || status != 1 || len(answer.Faults) != 1 || !strings.Contains(answer.Faults[0], "extension 1001: nobody may be forwarded there") || !strings.Contains(errs, "1 settings") {
		t.Errorf("%d %s %s (%v)", status, out, errs, err)
	}
	if !r.x.store.Services("1001").DND {
		t.Error("what fits is not done")
	}
}
