package natslog_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/shared/state"
	"brickhouse/shared/state/natslog"
)

func config(dir string) natslog.Config {
	return natslog.Config{Dir: dir, Node: "a", Tables: []string{"rows"}}
}

func mustOpen(t testing.TB, dir string) *natslog.Log {
	t.Helper()
	l, err := natslog.Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func change(id string, seq uint64, val string) state.Change {
	return state.Change{Key: state.Key{Table: "rows", Shard: "0", ID: id}, Ver: state.Ver{Epoch: 1, Seq: seq}, Val: []byte(val), By: "a"}
}

func flush(t testing.TB, l *natslog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// rows are the live rows of the table.
func rows(t testing.TB, l *natslog.Log) map[string]string {
	t.Helper()
	out := map[string]string{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := errors.New("synced")
	stop, synced := context.WithCancelCause(ctx)
	err := l.Follow(stop, "rows", nil, func(cs []state.Change) {
		for _, c := range cs {
			out[c.ID] = string(c.Val)
		}
	}, func() { synced(done) })
	if err != nil || !errors.Is(context.Cause(stop), done) {
		t.Fatalf("follow: %v, %v", err, context.Cause(stop))
	}
	return out
}

// TestNoSocketListens compares the process's listening sockets before and after.
func TestNoSocketListens(t *testing.T) {
	before := listening(t)
	l := mustOpen(t, t.TempDir())
	l.Append(change("k", 1, "v"), nil)
	flush(t, l)
	if after := listening(t); len(after) > len(before) {
		t.Errorf("listening: %v, before: %v", after, before)
	}
	// The measure itself works.
	s, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if after := listening(t); len(after) != len(before)+1 {
		t.Errorf("with a listener of our own: %v, before: %v", after, before)
	}
}

// listening are the sockets of this process that wait for others: TCP in LISTEN, UDP and Unix that are bound.
func listening(t *testing.T) []string {
	t.Helper()
	mine := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(to[len("socket:"):], "[]")] = true
		}
	}
	var out []string
	for file, inode := range map[string]int{"tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9, "unix": 6} {
		b, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(b)) {
			f := strings.Fields(l)
			if len(f) <= inode || !mine[f[inode]] || strings.HasPrefix(file, "tcp") && f[3] != "0A" {
				continue
			}
			out = append(out, file+" "+l)
		}
	}
	return out
}

func TestForeignDirectory(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"something else":  {"notes.txt": "hello"},
		"another marker":  {"brickhouse.json": `{"kind":"other","format":1}`},
		"damaged marker":  {"brickhouse.json": `{`},
		"format of later": {"brickhouse.json": `{"kind":"brickhouse-state","format":2}`},
	} {
		dir := t.TempDir()
		for f, text := range files {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := natslog.Open(config(dir)); !errors.Is(err, state.ErrForeign) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != len(files) {
			t.Errorf("%s: the directory was changed: %v", name, left)
		}
	}
	if _, err := natslog.Open(config("")); !errors.Is(err, state.ErrForeign) {
		t.Errorf("no directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natslog.Open(config(file)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v", err)
	}
	for _, c := range []natslog.Config{{Dir: t.TempDir(), Node: "A b"}, {Dir: t.TempDir(), Node: "a", Tables: []string{"leases"}}} {
		if _, err := natslog.Open(c); !errors.Is(err, state.ErrBadKey) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestInterruptedFirstStart opens what is left when the very first start dies at an early moment.
func TestInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"lock", "brickhouse.json.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, dir).Close()
	// A stream of which only the directory was made.
	half := filepath.Join(dir, "log/jetstream/$G/streams/state-rows")
	if err := os.Remove(filepath.Join(half, "meta.sum")); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, dir)
	l.Append(change("k", 1, "v"), nil)
	flush(t, l)
}

// TestLockedByProcess has another process hold the directory.
func TestLockedByProcess(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir).Close()
	child := startChild(t, "hold", dir)
	child.line(t)
	_, err := natslog.Open(config(dir))
	if !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("pid ", child.cmd.Process.Pid)) {
		t.Errorf("second process: %v", err)
	}
	child.kill(t)
	mustOpen(t, dir)
}

// TestDamage changes bytes of what the server wrote. Whatever would lose a row is refused, and the files stay as they
// are; the end of the newest block may be torn.
func TestDamage(t *testing.T) {
	origin := t.TempDir()
	l := mustOpen(t, origin)
	for i := range 50 {
		l.Append(change(fmt.Sprint("k", i), uint64(i+1), strings.Repeat("v", 100)), nil)
	}
	flush(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const block = "log/jetstream/$G/streams/state-rows/msgs/1.blk"
	good, err := os.ReadFile(filepath.Join(origin, block))
	if err != nil {
		t.Fatal(err)
	}
	if len(good) < 8000 {
		t.Fatalf("block has %d bytes", len(good))
	}
	for name, tt := range map[string]struct {
		file    string
		damage  func([]byte) []byte
		corrupt bool
	}{
		"none":              {block, func(b []byte) []byte { return b }, false},
		"first byte":        {block, func(b []byte) []byte { b[0] ^= 1; return b }, true},
		"a value":           {block, func(b []byte) []byte { b[4000] ^= 0x80; return b }, true},
		"zeros":             {block, func(b []byte) []byte { clear(b[3000:3500]); return b }, true},
		"a hole":            {block, func(b []byte) []byte { return append(b[:3000:3000], b[3500:]...) }, true},
		"last byte":         {block, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, false},
		"torn end":          {block, func(b []byte) []byte { return b[:len(b)-7] }, false},
		"zeros at the end":  {block, func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, false},
		"meta data":         {"log/jetstream/$G/streams/state-rows/meta.inf", func(b []byte) []byte { b[20] ^= 1; return b }, true},
		"sum of meta data":  {"log/jetstream/$G/streams/state-rows/meta.sum", func(b []byte) []byte { return b[:3] }, true},
		"the lease's block": {"log/jetstream/$G/streams/state-leases/meta.inf", func([]byte) []byte { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tt.file)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = tt.damage(b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(tt.file, ".blk") { // as after a crash: else the server trusts its index and looks later
				os.Remove(filepath.Join(filepath.Dir(path), "index.db"))
			}
			l, err := natslog.Open(config(dir))
			if tt.corrupt {
				if !errors.Is(err, state.ErrCorrupt) || !strings.Contains(err.Error(), dir) {
					t.Errorf("open: %v", err)
				}
				if now, _ := os.ReadFile(path); !bytes.Equal(now, b) {
					t.Error("the damaged file was changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if n := len(rows(t, l)); n < 49 {
				t.Errorf("%d rows of 50", n)
			}
		})
	}
}

// TestCompaction writes the same keys over and over: the directory stays small.
func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir)
	val := strings.Repeat("v", 1000)
	const writes = 12_000
	for i := range writes {
		l.Append(change(fmt.Sprint("k", i%50), uint64(i+1), val), nil)
		if i%500 == 499 {
			flush(t, l)
		}
	}
	l.Close()
	var size int64
	filepath.WalkDir(dir, func(_ string, e os.DirEntry, _ error) error {
		if info, err := e.Info(); err == nil && !e.IsDir() {
			size += info.Size()
		}
		return nil
	})
	acked := l.Stats().Acked
	t.Logf("%d changes, %d bytes", acked, size)
	if size > 9<<20 { // one block of the server's, at most
		t.Errorf("50 rows of 1 kB take %d bytes after %d changes", size, acked)
	}
	if got := rows(t, mustOpen(t, dir)); len(got) != 50 {
		t.Errorf("%d rows", len(got))
	}
}

// TestKill kills a writing process at random moments: what it was told to be durable is there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	want := map[string]int{}
	for round := range 6 {
		child := startChild(t, "write", dir)
		child.line(t) // it has opened
		timer := time.AfterFunc(time.Duration(20+37*round)*time.Millisecond, func() { child.cmd.Process.Kill() })
		n := 0
		for child.out.Scan() {
			var id string
			var v int
			if k, err := fmt.Sscanf(child.out.Text(), "%s %d\n", &id, &v); k != 2 || err != nil {
				break // the line that was being written
			}
			want[id] = max(want[id], v)
			n++
		}
		timer.Stop()
		child.kill(t)
		l := mustOpen(t, dir)
		got := rows(t, l)
		for id, v := range want {
			var have int
			if fmt.Sscan(got[id], &have); have < v {
				t.Errorf("round %d: %s is %q, acknowledged was %d", round, id, got[id], v)
			}
		}
		t.Logf("round %d: %d acknowledged, %d rows", round, n, len(got))
		if n == 0 && round > 1 {
			t.Error("nothing was acknowledged: the test tests nothing")
		}
		l.Close()
	}
}

// child is this test binary, run again for another job.
type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startChild(t *testing.T, job, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BH_NATSLOG_JOB="+job, "BH_NATSLOG_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return &child{cmd, bufio.NewScanner(out)}
}

func (c *child) line(t *testing.T) {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("child said nothing: %v", c.out.Err())
	}
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	c.cmd.Process.Kill()
	c.cmd.Wait() //nolint:errcheck // it was killed
}

func TestMain(m *testing.M) {
	switch job := os.Getenv("BH_NATSLOG_JOB"); job {
	case "":
		os.Exit(m.Run())
	default:
		if err := childJob(job, os.Getenv("BH_NATSLOG_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// childJob holds the directory, or writes rows and prints each that is durable, until it is killed.
func childJob(job, dir string) error {
	l, err := natslog.Open(config(dir))
	if err != nil {
		return err
	}
	fmt.Println("open")
	if job == "hold" {
		io.Copy(io.Discard, os.Stdin)
		select {}
	}
	epoch, err := l.Claim(context.Background(), "node", time.Hour)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	slots := make(chan struct{}, 32)
	for i := 1; ; i++ {
		slots <- struct{}{}
		c := change(fmt.Sprint("k", i%40), uint64(i), fmt.Sprint(int(epoch.Epoch())*1_000_000+i))
		c.Ver.Epoch = epoch.Epoch()
		l.Append(c, func(_ uint64, err error) {
			<-slots
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("%s %s\n", c.ID, c.Val)
		})
	}
}

func TestStatsAndQuietLog(t *testing.T) {
	var buf bytes.Buffer
	cfg := config(t.TempDir())
	cfg.Log = slog.New(slog.NewTextHandler(&buf, nil))
	l, err := natslog.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Append(change("k", 1, "v"), nil)
	flush(t, l)
	if st := l.Stats(); st.Acked != 1 || st.Waiting != 0 || st.Resent != 0 {
		t.Errorf("%+v", st)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if buf.Len() > 0 {
		t.Errorf("a run without trouble says:\n%s", buf.String())
	}
}

func BenchmarkAppend(b *testing.B) {
	l := mustOpen(b, b.TempDir())
	val := []byte(strings.Repeat("v", 400))
	b.ReportAllocs()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	i := uint64(0)
	for b.Loop() {
		i++
		slots <- struct{}{}
		wg.Add(1)
		c := change(hex.EncodeToString([]byte{byte(i >> 8), byte(i)}), i, "")
		c.Val = val
		l.Append(c, func(uint64, error) { <-slots; wg.Done() })
	}
	wg.Wait()
}
