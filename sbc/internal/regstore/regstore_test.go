package regstore

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, path string) (*Store, map[string]Row) {
	t.Helper()
	s, rows, err := Open(path, 1000, silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	found := map[string]Row{}
	for _, r := range rows {
		found[r.Token] = r
	}
	return s, found
}

func row(token string, cseq uint32) Row {
	return Row{Token: token, AOR: "1001@example.com", Contact: "sip:1001@10.0.0.1", Flow: "u1", CSeq: cseq, Life: time.Minute, Inside: time.Unix(2e9, 0).UTC()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLastWordCounts keeps what was said last of each token, over several openings.
func TestLastWordCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	s, _ := open(t, path)
	must(t, s.Put(row("a", 1)))
	must(t, s.Put(row("b", 1)))
	must(t, s.Put(row("a", 2)))
	must(t, s.Remove("b"))
	must(t, s.Remove("never"))
	must(t, s.Close())
	if err := s.Put(row("c", 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("put after the end: %v", err)
	}
	for range 2 {
		s, rows := open(t, path)
		want := row("a", 2)
		want.V = version
		if len(rows) != 1 || rows["a"] != want {
			t.Fatalf("rows %+v", rows)
		}
		must(t, s.Close())
	}
}

// TestDamage leaves out what is no row, and reads the rest.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	s, _ := open(t, path)
	must(t, s.Put(row("a", 1)))
	must(t, s.Close())
	good, err := os.ReadFile(path)
	must(t, err)
	for name, data := range map[string]string{
		"torn":     string(good) + `{"v":1,"token":"b"`,
		"rubbish":  "\x00\xff\n" + string(good),
		"long":     strings.Repeat("x", 3*maxLine) + "\n" + string(good),
		"version":  `{"v":2,"token":"b"}` + "\n" + string(good),
		"no token": `{"v":1}` + "\n" + string(good),
		"blank":    "\n\n" + string(good),
	} {
		must(t, os.WriteFile(path, []byte(data), 0o600))
		if _, rows := open(t, path); len(rows) != 1 || rows["a"].CSeq != 1 {
			t.Errorf("%s: %+v", name, rows)
		}
	}
	if err := s.Put(Row{Token: "x", Contact: strings.Repeat("x", maxLine)}); err == nil {
		t.Error("a row that could not be read again was taken")
	}
}

func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	s, _ := open(t, path)
	for i := range 20 {
		must(t, s.Put(row(fmt.Sprint(i), 1)))
	}
	must(t, s.Close())
	_, rows, err := Open(path, 7, silent)
	if err != nil || len(rows) != 7 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// TestRenewed makes the file anew when it is mostly history, and loses nothing by it.
func TestRenewed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	s, _ := open(t, path)
	live := map[string]Row{}
	s.Live(func() iter.Seq[Row] {
		return func(yield func(Row) bool) {
			for _, r := range live {
				if !yield(r) {
					return
				}
			}
		}
	})
	biggest := int64(0)
	for i := range 60_000 {
		token := fmt.Sprint(i % 50)
		if i%7 == 0 {
			delete(live, token)
			must(t, s.Remove(token))
			continue
		}
		live[token] = row(token, uint32(i))
		must(t, s.Put(live[token]))
		if i%1000 == 0 {
			info, err := os.Stat(path)
			must(t, err)
			biggest = max(biggest, info.Size())
		}
	}
	if biggest > compactOver+1<<20 {
		t.Errorf("the file grew to %d bytes", biggest)
	}
	must(t, s.Close())
	_, rows := open(t, path)
	if len(rows) != len(live) {
		t.Fatalf("%d rows of %d", len(rows), len(live))
	}
	for token, want := range live {
		if rows[token].CSeq != want.CSeq {
			t.Errorf("%s: %+v", token, rows[token])
		}
	}
}

// TestKilled writes in a process that is killed at a random moment: what was acknowledged is there.
func TestKilled(t *testing.T) {
	if path := os.Getenv("REGSTORE_CHILD"); path != "" {
		child(path)
	}
	path := filepath.Join(t.TempDir(), "r.jsonl")
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "REGSTORE_CHILD="+path)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		acked := make(chan []byte)
		go func() { all, _ := io.ReadAll(out); acked <- all }()
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		must(t, cmd.Process.Kill())
		lines := strings.Fields(string(<-acked))
		_ = cmd.Wait()
		_, found, err := Open(path, 1<<20, silent)
		must(t, err)
		rows := map[string]bool{}
		for _, r := range found {
			rows[r.Token] = true
		}
		for _, token := range lines[:max(0, len(lines)-1)] { // the last may be torn
			if !rows[token] {
				t.Fatalf("round %d: %s of %d was acknowledged and is lost", round, token, len(lines))
			}
		}
		must(t, os.Remove(path))
	}
}

// child adds rows until it is killed.
func child(path string) {
	s, _, err := Open(path, 1<<20, silent)
	if err != nil {
		os.Exit(1)
	}
	var all []Row
	s.Live(func() iter.Seq[Row] { return slices.Values(all) })
	for i := 0; ; i++ {
		all = append(all, row(fmt.Sprint(i), 1))
		if s.Put(all[i]) != nil {
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// TestFault: a disk that takes nothing is told of, and once it does again nothing is missing.
func TestFault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	s, _ := open(t, path)
	s.Live(func() iter.Seq[Row] { return slices.Values([]Row{row("a", 1), row("b", 1)}) })
	s.file.Close()
	if err := s.Put(row("a", 1)); err == nil || s.Faults() != 1 {
		t.Fatalf("error %v, %d faults", err, s.Faults())
	}
	if err := s.Put(row("b", 1)); !errors.Is(err, errNotWritten) {
		t.Errorf("error %v", err)
	}
	s.faulty = time.Now().Add(-2 * retryAfter)
	must(t, s.Put(row("b", 1)))
	must(t, s.Close())
	if _, rows := open(t, path); len(rows) != 2 {
		t.Errorf("rows %+v", rows)
	}
}

func FuzzFold(f *testing.F) {
	f.Add([]byte(`{"v":1,"token":"a","source":"::1","inside":"2026-01-01T00:00:00Z"}` + "\n"))
	f.Add([]byte("{\"v\":1,\"token\":\"a\"}\n{\"v\":1,\"token\":\"a\",\"gone\":true}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _, err := fold(strings.NewReader(string(data)), 3)
		if err != nil || len(rows) > 3 {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
}
