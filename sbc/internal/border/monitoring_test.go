package border

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/telemetry"
	"brickhouse/shared/verdict"
)

const monitoring = "../../../deploy/monitoring"

// exported are the names of all metrics that a border can show.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	r := prepare(t)
	r.exchange = r.newExchange(exchangeHost, "pbx.test")
	m := telemetry.NewMetrics("sbc", "test")
	r.startWith(m)
	r.b.metrics.refused.Inc(verdict.BadHeader)
	r.b.metrics.ended.Inc(verdict.Busy)
	r.b.metrics.banAPI("nobody", "token")
	r.b.metrics.answers.count(access, sip.INVITE, 200)
	r.b.metrics.trunk("carrier", "in", verdict.Busy)
	names := families(scrape(t, m))
	maps.Copy(names, families(sampleScrape(t)))
	names["brickhouse_sbc_media_dropped_total"] = true // shown once there was any
	return names
}

// TestMonitoring holds dashboard, alerts and the table of metrics to what is exported.
func TestMonitoring(t *testing.T) {
	names := exported(t)
	for file, least := range map[string]int{"dashboard.json": 20, "alerts.yaml": 10} {
		text := read(t, file)
		seen := map[string]bool{}
		for _, name := range regexp.MustCompile(`brickhouse_\w+`).FindAllString(text, -1) {
			seen[name] = true
			if !names[name] {
				t.Errorf("%s names %s, which is not exported", file, name)
			}
		}
		if len(seen) < least {
			t.Errorf("%s names only %d metrics", file, len(seen))
		}
	}
	table := map[string]bool{"brickhouse_sbc_build_info": true}
	for _, line := range regexp.MustCompile("(?m)^\\| (`\\w+`(?:, `\\w+`)*) \\|").FindAllStringSubmatch(read(t, "README.md"), -1) {
		for _, name := range strings.Split(line[1], ", ") {
			table["brickhouse_sbc_"+strings.Trim(name, "`")] = true
		}
	}
	if !maps.Equal(table, names) {
		t.Errorf("README.md documents\n%v\nexported are\n%v", slices.Sorted(maps.Keys(table)), slices.Sorted(maps.Keys(names)))
	}
}

// TestDashboard holds the form that Grafana needs: numbers and places of panels, and one data source, which is chosen on import.
func TestDashboard(t *testing.T) {
	type source struct{ Type, UID string }
	var d struct {
		UID, Title    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			Datasource  *source
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				Expr, RefID string
				Datasource  source
			}
		}
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Templating.List) != 2 || d.Templating.List[0].Type != "datasource" {
		t.Errorf("%+v", d.Templating)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	ours := source{"prometheus", "${datasource}"}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || *p.Datasource != ours || len(p.Targets) == 0 {
			t.Errorf("%q has no data source of ours", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource != ours || target.RefID == "" || !strings.Contains(target.Expr, `instance=~"$instance"`) {
				t.Errorf("%q: %+v", p.Title, target)
			}
		}
	}
}

// TestAlertRules lets Prometheus' own tool judge the rules and the expressions of the dashboard, where it is installed.
func TestAlertRules(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}, {"check", "rules", dashboardRules(t)}} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = monitoring
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// dashboardRules writes the dashboard's expressions as rules, so that they can be checked.
func dashboardRules(t *testing.T) string {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, m := range regexp.MustCompile(`"expr": ("(?:[^"\\]|\\.)*")`).FindAllStringSubmatch(read(t, "dashboard.json"), -1) {
		var expr string
		if err := json.Unmarshal([]byte(m[1]), &expr); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule{"panel:x:" + strings.Repeat("x", len(rules)), strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h").Replace(expr)})
	}
	if len(rules) < 20 {
		t.Fatalf("%d expressions", len(rules))
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err == nil {
		err = os.WriteFile(file, text, 0o600) // JSON is YAML
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
