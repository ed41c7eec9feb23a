package verdict

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		v    Verdict
		ok   bool
		text string
	}{
		{Passed, true, "pass"},
		{Verdict{}, true, "pass"},
		{Dropped(HostBanned), false, "drop: host-banned"},
		{Rejected(404, UnknownNumber), false, "reject 404: unknown-number"},
		{Verdict{Action: 9, Reason: Internal}, false, "action(9): internal-error"},
	} {
		if c.v.OK() != c.ok || c.v.String() != c.text {
			t.Errorf("%+v: %v %q, want %v %q", c.v, c.v.OK(), c.v.String(), c.ok, c.text)
		}
	}
	if v := Rejected(486, Busy); v.Action != Reject || v.Code != 486 || v.Reason != Busy {
		t.Errorf("%+v", v)
	}
	if v := Dropped(Oversize); v.Action != Drop || v.Code != 0 || v.Reason != Oversize {
		t.Errorf("%+v", v)
	}
}

func TestAction(t *testing.T) {
	for a, want := range map[Action]string{Pass: "pass", Reject: "reject", Drop: "drop", 7: "action(7)"} {
		if got := a.String(); got != want {
			t.Errorf("%d: %s, want %s", a, got, want)
		}
	}
	if !(Pass < Reject && Reject < Drop) {
		t.Error("the actions are not from the mildest to the hardest")
	}
}

// TestReasons holds what makes the reasons one vocabulary: each word stands once, in the form of a metric label, and says
// what it means.
func TestReasons(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.ValueSpec)
		if !ok || len(s.Values) != 1 {
			return true
		}
		name := s.Names[0].Name
		word, err := strconv.Unquote(s.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if name == "None" {
			if word != "" {
				t.Errorf("None is %q", word)
			}
			return true
		}
		if id, ok := s.Type.(*ast.Ident); !ok || id.Name != "Reason" {
			t.Errorf("%s is no Reason", name)
		}
		if !form.MatchString(word) || len(word) > 32 {
			t.Errorf("%s: %q", name, word)
		}
		if other, twice := seen[word]; twice {
			t.Errorf("%s and %s are both %q", other, name, word)
		}
		seen[word] = name
		if s.Comment == nil || strings.TrimSpace(s.Comment.Text()) == "" {
			t.Errorf("%s does not say what it means", name)
		}
		return true
	})
	if len(seen) < 60 {
		t.Errorf("only %d reasons were found", len(seen))
	}
}

// TestLeaf holds that everybody may import this package: it imports nothing but fmt.
func TestLeaf(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if imp.Path.Value != `"fmt"` {
				t.Errorf("%s imports %s", e.Name(), imp.Path.Value)
			}
		}
	}
}
