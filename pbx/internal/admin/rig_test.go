package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/apikey"
	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/database"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
	"brickhouse/shared/digest"
	"brickhouse/shared/state/memlog"
	"brickhouse/shared/verdict"
)

// fake is an exchange that only remembers.
type fake struct {
	mailboxes
	queueing
	meeting
	books
	store     *store.Store
	passwords map[string]string
	calls     []b2bua.Info
	night     dialplan.Night
	fault     error
}

func (f *fake) SetWaiting(ctx context.Context, number string, fresh, old int) (bool, error) {
	if _, ok := f.store.Extension(number); !ok {
		return false, nil
	}
	_, err := f.store.PutWaiting(ctx, &store.Waiting{Number: number, New: fresh, Old: old})
	return true, err
}

func (f *fake) Store() *store.Store   { return f.store }
func (f *fake) Calls() []b2bua.Info   { return f.calls }
func (f *fake) Hangup(id string) bool { return id == "c1" }

func (f *fake) Records(string) []b2bua.Record { return nil }
func (f *fake) Drain(bool)                    {}
func (f *fake) Draining() bool                { return false }

func (f *fake) Classes() []string { return []string{"default", "world"} }

func (f *fake) Account(_ context.Context, number string) (callcontrol.Account, bool, error) {
	e, ok := f.store.Extension(number)
	if !ok {
		return callcontrol.Account{}, false, nil
	}
	a := callcontrol.Account{Number: number, Name: e.Name, Class: e.Class, Rights: dialplan.NewClass(), Used: store.Usage{Day: 3}, Denied: 2}
	a.Services = f.store.Services(number)
	if s, ok := f.store.Standing(number); ok && !s.Blocked.IsZero() {
		a.Blocked, a.Why = &s.Blocked, s.Why
	}
	return a, true, f.fault
}

func (f *fake) Forecast(_ context.Context, from, dialled string) (callcontrol.Forecast, error) {
	return callcontrol.Forecast{From: from, Dialled: dialled, Does: dialplan.Trunk, Number: "+88213", Trunk: "carrier", Kind: "satellite", Class: "default",
		Reason: verdict.SatelliteDenied, Rule: "class default does not allow satellite numbers"}, f.fault
}

func (f *fake) SetClass(ctx context.Context, number, class string) error {
	e, _ := f.store.Extension(number)
	next := *e
	next.Class = class
	_, err := f.store.PutExtension(ctx, &next)
	return errors.Join(err, f.fault)
}

func (f *fake) Unblock(ctx context.Context, number string) (bool, error) {
	was, _, err := f.store.Unblock(ctx, number, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	return was, errors.Join(err, f.fault)
}

func (f *fake) change(ctx context.Context, number string, change func(*store.Services)) error {
	_, err := f.store.ChangeServices(ctx, number, func(s *store.Services) error { change(s); return nil })
	return errors.Join(err, f.fault)
}

func (f *fake) SetForward(ctx context.Context, number string, when store.Condition, to string, after int) error {
	if to == "112" {
		return callcontrol.Unfit("nobody may be forwarded there")
	}
	return f.change(ctx, number, func(s *store.Services) {
		if s.SetForward(when, to); when == store.NoAnswer {
			s.After = after
		}
	})
}

func (f *fake) SetDND(ctx context.Context, number string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) { s.DND = on })
}

func (f *fake) SetCallWaiting(ctx context.Context, number string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) { s.NoWaiting = !on })
}

func (f *fake) SetBlock(ctx context.Context, number, caller string, on bool) error {
	return f.change(ctx, number, func(s *store.Services) {
		if caller == "" {
			s.BlockAnonymous = on
			return
		}
		s.Block(caller, on)
	})
}

func (f *fake) Night() dialplan.Night { return f.night }

func (f *fake) SetNight(_ context.Context, night dialplan.Night, _ string) error {
	if night == "maybe" {
		return callcontrol.Unfit("the switch has no such position")
	}
	f.night = night
	return f.fault
}

func (f *fake) AddExtension(ctx context.Context, e store.Extension, password string) error {
	if f.fault != nil {
		return f.fault
	}
	f.passwords[e.Number] = password
	e.Algorithms, e.CreatedAt = []digest.Algorithm{digest.SHA256, digest.MD5}, time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	_, err := f.store.PutExtension(ctx, &e)
	return err
}

func (f *fake) SetPassword(_ context.Context, number, password string) error {
	f.passwords[number] = password
	return f.fault
}

func (f *fake) DeleteExtension(ctx context.Context, number string) (bool, error) {
	was, _, err := f.store.DeleteExtension(ctx, number)
	return was, errors.Join(err, f.fault)
}

func (f *fake) SetName(ctx context.Context, number, name string) error {
	e, _ := f.store.Extension(number)
	next := *e
	next.Name = name
	_, err := f.store.PutExtension(ctx, &next)
	return errors.Join(err, f.fault)
}

func (f *fake) SetDigest(ctx context.Context, number string, order []digest.Algorithm) error {
	e, _ := f.store.Extension(number)
	next := *e
	next.Algorithms = order
	_, err := f.store.PutExtension(ctx, &next)
	return errors.Join(err, f.fault)
}

func (f *fake) SetTrunkPassword(_ context.Context, trunk, password string) error {
	f.passwords["trunk "+trunk] = password
	return f.fault
}

// books are the real keys and the real audit.
type books struct {
	db   *database.Database
	ring *apikey.Ring
	of   *control.Server

	records string // directory
}

func (b *books) RecordPage(after string, q cdr.Query) ([]cdr.Line, string, error) {
	return cdr.Page(b.records, after, q)
}

func (b *books) LatestRecords(q cdr.Query) ([]cdr.Line, error) { return cdr.Latest(b.records, q) }

func (b *books) AddKey(ctx context.Context, name string, scopes []string, life time.Duration) (string, database.Key, error) {
	return b.ring.Add(ctx, name, scopes, b.of.Areas(), life)
}
func (b *books) Keys() []database.Key { return b.ring.List() }
func (b *books) DeleteKey(ctx context.Context, which string) (database.Key, error) {
	return b.ring.Delete(ctx, which)
}
func (b *books) Audit(ctx context.Context, q database.Query) ([]database.Entry, error) {
	return b.db.Audit(ctx, q)
}
func (b *books) BackUp(ctx context.Context, path string) error { return b.db.Backup(ctx, path) }

func openBooks(t *testing.T, server *control.Server) books {
	t.Helper()
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "exchange.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ring, err := apikey.Open(t.Context(), db, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	server.Audit(db.Note)
	return books{db, ring, server, t.TempDir()}
}

// rig is a fake exchange behind a socket.
type rig struct {
	*testing.T
	x      *fake
	path   string
	server *control.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	log, err := memlog.NewDisk().Open("solo", store.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), log, store.Options{Flush: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.SetTrunks(t.Context(), []*store.Trunk{{Name: "carrier"}}); err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)))
	r := &rig{T: t, server: server, x: &fake{books: openBooks(t, server), store: s, passwords: map[string]string{}, queueing: queueing{agents: map[string]queue.Presence{}}}, path: socket(t)}
	Routes(server, r.x, time.Now)
	if err := server.Listen(r.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(context.Background()) })
	return r
}

// socket is a path that is short enough for a socket.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// run executes a command as the program does.
func (r *rig) run(args ...string) (status int, out, errs string) {
	r.Helper()
	var stdout, stderr bytes.Buffer
	status = command.Run(r.Context(), command.Program{Name: "pbx", Commands: Commands("/not/there")}, append(args, "--socket", r.path), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// do runs a command that succeeds.
func (r *rig) do(args ...string) string {
	r.Helper()
	status, out, errs := r.run(args...)
	if status != 0 || errs != "" {
		r.Fatalf("%q: status %d: %s", args, status, errs)
	}
	return out
}

// stdin runs a command with a standard input.
func (r *rig) stdin(input string, args ...string) (string, error) {
	var out bytes.Buffer
	root := &cobra.Command{Use: "pbx", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(Commands(r.path)...)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	err := root.ExecuteContext(r.Context())
	return out.String(), err
}

// ask sends a request as it is.
func (r *rig) ask(method, path string, body any) error {
	c := control.NewClient(r.path)
	defer c.Close()
	return c.Do(r.Context(), method, path, body, nil)
}
