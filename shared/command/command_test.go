package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
)

// house is a small program with all that a real one has.
type houseConfig struct {
	Listen netip.AddrPort `yaml:"listen" doc:"Address and port of the door."`
	Doors  int            `yaml:"doors" doc:"How many doors."`
	Socket string         `yaml:"socket" doc:"Path of the admin socket."`
}

func (c houseConfig) Validate() []conffile.Fault {
	if c.Doors < 1 {
		return []conffile.Fault{conffile.Badf("doors", "write 1 or more", "%d doors", c.Doors)}
	}
	return nil
}

func houseDefaults() houseConfig {
	return houseConfig{Listen: netip.MustParseAddrPort("127.0.0.1:5060"), Doors: 1, Socket: "house.sock"}
}

func houseProgram() Program {
	var a Admin
	list := &cobra.Command{Use: "list", Short: "List the doors", RunE: func(c *cobra.Command, _ []string) error {
		var doors []string
		if err := a.Do(c.Context(), "GET", "/v1/doors", nil, &doors); err != nil {
			return err
		}
		return a.Print(c, doors, func() *control.Table {
			t := &control.Table{Columns: []string{"DOOR"}}
			for _, d := range doors {
				t.Add(d)
			}
			return t
		})
	}}
	add := &cobra.Command{Use: "add NAME", Short: "Add a door", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "POST", "/v1/doors/"+args[0], nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"added": args[0]}, "door %s is there", args[0])
		}}
	watch := &cobra.Command{Use: "watch", Short: "Watch the doors", RunE: func(c *cobra.Command, _ []string) error {
		return a.Watch(c, "/v1/watch", func(line json.RawMessage) (string, error) { return "saw " + string(line), nil })
	}}
	hang := &cobra.Command{Use: "hang", RunE: func(c *cobra.Command, _ []string) error {
		<-c.Context().Done()
		return fmt.Errorf("hanging: %w", c.Context().Err())
	}}
	fail := &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error {
		return errors.Join(errors.New("first\n\tline"), errors.New("second\x1b[0m"))
	}}
	bad := &cobra.Command{Use: "bad", RunE: func(*cobra.Command, []string) error {
		return fmt.Errorf("outer: %w", Badf("key.pem is readable by others; run chmod 600 key.pem"))
	}}
	return Program{
		Name: "house", Short: "A house of bricks", Version: "1.2.3", Config: "house.yaml",
		Serve: serveHouse, Commands: []*cobra.Command{a.Group("door", "Doors of the running house", "HOUSE_SOCKET", "house.sock", list, add, watch), hang, fail, bad},
		Check: func(_ context.Context, path string) error {
			c := houseDefaults()
			return conffile.Load(path, &c)
		},
		Describe: func(w io.Writer) error { return conffile.Describe(w, houseDefaults()) },
	}
}

func serveHouse(ctx context.Context, path string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	c := houseDefaults()
	if err := conffile.Load(path, &c); err != nil {
		return err
	}
	s := control.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)))
	s.Handle("GET /v1/doors", func(*http.Request) (any, error) { return []string{"front", "back\x1b[31m"}, nil })
	s.Handle("POST /v1/doors/{name}", func(r *http.Request) (any, error) {
		if r.PathValue("name") == "front" {
			return nil, control.Errorf(http.StatusConflict, "there is a front door already")
		}
		return nil, nil
	})
	s.Stream("GET /v1/watch", func(_ *http.Request, send func(any) error) error { return errors.Join(send(1), send(2)) })
	if err := s.Listen(c.Socket); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close(context.Background())
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"house": func() { os.Exit(Run(context.Background(), houseProgram(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  wantStatus,
			"waitfor": waitFor,
		},
	})
}

// wantStatus is "status N program args...": runs the program, wants that exit status and at most one line on standard
// error for each line that a following cmp or stderr looks at.
func wantStatus(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("running %v: %v", args, err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("status %d, want %s", got, args[0])
	}
}

// waitFor is "waitfor FILE": waits until the file is there.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s did not appear", args[0])
}

func run(args ...string) (status int, stdout, stderr string) {
	var out, errw bytes.Buffer
	status = Run(context.Background(), houseProgram(), args, &out, &errw)
	return status, out.String(), errw.String()
}

// Whatever is typed wrongly: status 2, one line that begins with the program's name, nothing on standard output.
func TestBadCommandLinesTakeOneLine(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "house: no command is given; use one of bad, check, completion, describe, door, fail, hang, serve, version"},
		{"serv", `house: unknown command "serv"; did you mean serve?`},
		{"zzz", `house: unknown command "zzz"; use one of bad,`},
		{"door", "house: door: no command is given; use one of add, list, watch"},
		{"door lisst", `house: door: unknown command "lisst"; did you mean list?`},
		{"door add", "house: door add: wrong number of arguments (0); usage: house door add NAME [flags]"},
		{"door list x", "house: door list: wrong number of arguments (1); usage:"},
		{"serve --fast", "house: unknown flag: --fast; see house serve --help"},
		{"serve -c", "house: flag needs an argument: 'c' in -c; see house serve --help"},
		{"serve x", "house: serve: wrong number of arguments (1)"},
		{"check -c", "house: flag needs an argument"},
		{"version --json=x", "house: invalid argument \"x\" for \"--json\" flag"},
		{"completion", "house: completion: no command is given; use one of bash, fish, powershell, zsh"},
		{"completion tcsh", "house: completion: unknown command"},
		{"--nope", "house: unknown flag: --nope; see house --help"},
	} {
		status, stdout, stderr := run(strings.Fields(tc.args)...)
		if status != BadInput || stdout != "" || !strings.HasPrefix(stderr, tc.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("house %s: status %d, stdout %q, stderr\n%s\nwant %s", tc.args, status, stdout, stderr, tc.want)
		}
	}
}

func TestStatusAndLines(t *testing.T) {
	for _, tc := range []struct {
		args   string
		status int
		stderr string
	}{
		{"fail", Failed, "house: first; line; second [0m\n"},
		{"bad", BadInput, "house: outer: key.pem is readable by others; run chmod 600 key.pem\n"},
		{"check -c none.yaml", BadInput, "none.yaml: no such file; check the path, or write a new file with quickstart or describe\n"},
		{"door list --socket /nonexistent/s", Failed,
			"house: admin socket /nonexistent/s: nobody listens on it; start the program with serve, or name its socket with --socket\n"},
	} {
		status, stdout, stderr := run(strings.Fields(tc.args)...)
		if status != tc.status || stderr != tc.stderr || stdout != "" {
			t.Errorf("house %s: status %d, stdout %q, stderr %q; want %d %q", tc.args, status, stdout, stderr, tc.status, tc.stderr)
		}
	}
}

func TestInterruptIsQuiet(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errw bytes.Buffer
	if got := Run(ctx, houseProgram(), []string{"hang"}, &out, &errw); got != Interrupted || errw.Len() != 0 {
		t.Errorf("status %d, %q", got, errw.String())
	}
}

func TestVersion(t *testing.T) {
	status, out, _ := run("version")
	if status != OK || !strings.HasPrefix(out, "house 1.2.3 (go") || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %q", status, out)
	}
	_, out, _ = run("version", "--json")
	var b Build
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Version != "1.2.3" || b.Program != "house" {
		t.Errorf("%q %v", out, err)
	}
	if b := BuildOf("x", ""); b.Version == "" {
		t.Error("no version at all")
	}
	if s := (Build{Program: "p", Version: "v", Go: "g", Platform: "l", Revision: "r", Modified: true}).String(); s != "p v (g, l, revision r modified)" {
		t.Error(s)
	}
}

func TestDescribeIsAConfiguration(t *testing.T) {
	status, out, stderr := run("describe")
	if status != OK {
		t.Fatal(stderr)
	}
	c := houseConfig{}
	if _, err := conffile.Parse("f", []byte(out), &c); err != nil || c != houseDefaults() {
		t.Errorf("%v %+v", err, c)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	status, out, _ := run("--help")
	for _, want := range []string{"A house of bricks.", "serve", "check", "describe", "version", "completion", "door"} {
		if status != OK || !strings.Contains(out, want) {
			t.Errorf("status %d, no %q in\n%s", status, want, out)
		}
	}
}

func TestBad(t *testing.T) {
	if Bad(nil) != nil {
		t.Error("nil became an error")
	}
	inner := errors.New("x")
	if err := Bad(inner); !errors.Is(err, inner) || err.Error() != "x" {
		t.Error(err)
	}
}
