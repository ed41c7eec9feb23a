package calladmin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// calls is a program with calls.
type calls struct {
	list    []b2bua.Info
	records map[string][]b2bua.Record
	ended   []string
	drain   bool
}

func (c *calls) Records(id string) []b2bua.Record { return c.records[id] }

func (c *calls) Drain(on bool) { c.drain = on }

func (c *calls) Draining() bool { return c.drain }

func (c *calls) Calls() []b2bua.Info { return c.list }

func (c *calls) Hangup(id string) bool {
	for _, i := range c.list {
		if i.ID == id {
			c.ended = append(c.ended, id)
			return true
		}
	}
	return false
}

// serve puts x behind a socket, and returns what runs commands on it.
func serve(t *testing.T, x Calls) func(args ...string) (status int, out, errs string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	server := control.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)))
	Routes(server, x)
	if err := server.Listen(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	t.Setenv("BRICKHOUSE_TEST_SOCKET", path)
	return func(args ...string) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		p := command.Program{Name: "x", Commands: []*cobra.Command{Command("BRICKHOUSE_TEST_SOCKET", "/not/there"), DrainCommand("BRICKHOUSE_TEST_SOCKET", "/not/there")}}
		if args[0] != "drain" {
			args = append([]string{"call"}, args...)
		}
		status := command.Run(t.Context(), p, args, &out, &errs)
		return status, out.String(), errs.String()
	}
}

func TestList(t *testing.T) {
	x := &calls{list: []b2bua.Info{}}
	run := serve(t, x)
	if status, out, _ := run("list"); status != 0 || out != "no calls\n" {
		t.Errorf("%d %q", status, out)
	}
	if _, out, _ := run("list", "--json"); out != "[]\n" {
		t.Errorf("%q", out)
	}
	started := time.Now().Add(-time.Hour)
	x.list = []b2bua.Info{
		{ID: "c1", State: b2bua.StateAnswered, Caller: "1001", Callee: "1002\x1b[2J", From: "access", To: "core", Started: started, Answered: started},
		{ID: "c2", State: b2bua.StateRinging, Caller: "1003", From: "trunk a", To: "core", Started: started},
	}
	status, out, errs := run("list")
	lines := strings.Split(out, "\n")
	if status != 0 || errs != "" || len(lines) != 4 || !strings.HasPrefix(lines[0], "ID  STATE     CALLER  CALLEE") ||
		!strings.HasPrefix(lines[1], "c1  answered  1001    1002?[2J") || !strings.HasPrefix(lines[2], "c2  ringing   1003    -") {
		t.Errorf("%d %q %s", status, out, errs)
	}
	if !strings.Contains(lines[1], "1h0m") || strings.Contains(lines[2], "0m") {
		t.Errorf("how long they talk: %q", out)
	}
	_, out, _ = run("list", "--json")
	var list []b2bua.Info
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[0].Callee != "1002\x1b[2J" || !list[1].Answered.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestKill(t *testing.T) {
	x := &calls{list: []b2bua.Info{{ID: "a/b c"}}}
	run := serve(t, x)
	if status, out, errs := run("kill", "a/b c"); status != 0 || out != "call a/b c is hung up\n" || len(x.ended) != 1 {
		t.Errorf("%d %q %q %v", status, out, errs, x.ended)
	}
	if status, out, _ := run("kill", "a/b c", "--json"); status != 0 || !strings.Contains(out, `"ended": "a/b c"`) {
		t.Errorf("%d %q", status, out)
	}
	if status, out, errs := run("kill", "nobody"); status != 2 || out != "" || errs != "x: no call \"nobody\"; call list shows those in hand\n" {
		t.Errorf("%d %q %q", status, out, errs)
	}
	for _, args := range [][]string{{"kill"}, {"kill", "a", "b"}, {"list", "x"}, {"dance"}} {
		if status, _, errs := run(args...); status != 2 || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: %d %q", args, status, errs)
		}
	}
	t.Setenv("BRICKHOUSE_TEST_SOCKET", "/not/there")
	if status, _, errs := run("list"); status == 0 || !strings.Contains(errs, "nobody listens on it") {
		t.Errorf("%d %q", status, errs)
	}
}
