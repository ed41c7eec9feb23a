package house

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// pkg is what `go list` tells of a package.
type pkg struct {
	ImportPath  string
	Dir         string
	Name        string
	Doc         string
	Imports     []string
	GoFiles     []string
	TestGoFiles []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// walls are the imports that only some rooms may have: prefix of what is imported → prefixes of who may.
var walls = map[string][]string{
	"brickhouse/bpf":                      {"brickhouse/bpf", "brickhouse/sbc/internal/guard", "brickhouse/deploy/lab"},
	"brickhouse/sbc/":                     {"brickhouse/sbc"},
	"brickhouse/pbx/":                     {"brickhouse/pbx"},
	"brickhouse/deploy/":                  {"brickhouse/deploy"},
	"github.com/cilium/ebpf":              {"brickhouse/bpf", "brickhouse/deploy/lab/flood/bench"},
	"github.com/nats-io/":                 {"brickhouse/shared/state/natslog"},
	"github.com/hashicorp/vault":          {"brickhouse/shared/secret"},
	"modernc.org/sqlite":                  {"brickhouse/pbx/internal/database"},
	"github.com/pressly/goose":            {"brickhouse/pbx/internal/database"},
	"github.com/danielgtaylor/huma":       {"brickhouse/shared/control"},
	"github.com/hashicorp/go-memdb":       {"brickhouse/pbx/internal/store"},
	"github.com/goccy/go-yaml":            {"brickhouse/shared/conffile"},
	"github.com/prometheus/client_golang": {"brickhouse/shared/telemetry"},
	"github.com/oschwald/maxminddb":       {"brickhouse/sbc/internal/banlist/geo"},
	"github.com/gopacket/gopacket":        {"brickhouse/sbc/internal/admin"},
	"github.com/pion/srtp":                {"brickhouse/sbc/internal/media", "brickhouse/shared/siptest"},
	"brickhouse/shared/siptest":           {"brickhouse/shared/siptest", "brickhouse/deploy"},
}

func TestWalls(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for wall, allowed := range walls {
				if strings.HasPrefix(imp+"/", wall) && !anyPrefix(p.ImportPath, allowed) {
					t.Errorf("%s imports %s, which only %v may", p.ImportPath, imp, allowed)
				}
			}
		}
	}
}

func anyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// pure rooms take values and return values: no sockets, no files, no clock of their own.
var pure = []string{
	"brickhouse/sbc/internal/topology", "brickhouse/sbc/internal/sanitize", "brickhouse/sbc/internal/rules", "brickhouse/sbc/internal/admission",
	"brickhouse/sbc/internal/media/keying", "brickhouse/pbx/internal/dialplan", "brickhouse/shared/dialog",
	"brickhouse/shared/corelink", "brickhouse/shared/sdp", "brickhouse/shared/tone", "brickhouse/shared/sipmsg", "brickhouse/shared/verdict",
}

func TestPureRooms(t *testing.T) {
	list := map[string]pkg{}
	for _, p := range packages(t) {
		list[p.ImportPath] = p
	}
	for _, name := range pure {
		p, ok := list[name]
		if !ok {
			t.Errorf("%s does not exist", name)
		}
		for _, imp := range p.Imports {
			switch imp {
			case "time":
				readsNoClock(t, p)
			case "net", "os", "syscall", "net/http":
				t.Errorf("%s imports %s", name, imp)
			}
		}
	}
}

// clocks are what package time has beside values.
var clocks = regexp.MustCompile(`\btime\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTimer|NewTicker)\b`)

func readsNoClock(t *testing.T, p pkg) {
	t.Helper()
	for _, name := range p.GoFiles {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if use := clocks.Find(src); use != nil {
			t.Errorf("%s uses %s", filepath.Join(p.ImportPath, name), use)
		}
	}
}

func TestMediaRelayKnowsNoSIP(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "brickhouse/sbc/internal/media/relay" {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(imp, "sip") || strings.HasSuffix(imp, "/sdp") {
				t.Errorf("relay imports %s", imp)
			}
		}
	}
}

func TestEveryRoomSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && len(p.Doc) < 20 {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
		if strings.HasPrefix(p.Doc, "Copyright") || strings.Contains(p.Doc, "SPDX") {
			t.Errorf("%s: a licence header stands where the package doc should", p.ImportPath)
		}
	}
}

// TestNoInit keeps hidden work out of the start.
func TestNoInit(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s/%s has an init function", p.ImportPath, file)
				}
			}
		}
	}
}

func TestTopLevel(t *testing.T) {
	want := map[string]bool{
		"sbc": true, "pbx": true, "bpf": true, "shared": true, "deploy": true, "go.mod": true, "go.sum": true,
		"Makefile": true, "README.md": true, "LICENSE": true,
	}
	out, err := exec.Command("git", "-C", root, "ls-tree", "--name-only", "HEAD").Output()
	if err != nil {
		t.Skipf("no git here: %v", err)
	}
	for _, name := range strings.Fields(string(out)) {
		if !want[name] && !strings.HasPrefix(name, ".") {
			t.Errorf("%s stands at the top level", name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing at the top level", name)
	}
}

// TestRFCTable holds deploy/docs/rfc.md to the code: what it lists is cited somewhere, and what is cited is listed.
func TestRFCTable(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(root, "deploy/docs/rfc.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3,5}) \|`).FindAllStringSubmatch(string(table), -1) {
		listed[m[1]] = true
	}
	cited := map[string]string{}
	cite := regexp.MustCompile(`RFC (\d{3,5})`)
	for _, p := range packages(t) {
		if strings.HasPrefix(p.ImportPath, "brickhouse/deploy") || strings.HasPrefix(p.ImportPath, "brickhouse/shared/siptest") {
			continue
		}
		for _, file := range append(p.GoFiles, p.TestGoFiles...) {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range cite.FindAllStringSubmatch(string(text), -1) {
				cited[m[1]] = p.ImportPath + "/" + file
			}
		}
	}
	for rfc, where := range cited {
		if !listed[rfc] {
			t.Errorf("RFC %s is cited in %s, and not in deploy/docs/rfc.md", rfc, where)
		}
	}
	for rfc := range listed {
		if cited[rfc] == "" {
			t.Errorf("RFC %s is in deploy/docs/rfc.md, and cited nowhere", rfc)
		}
	}
}
