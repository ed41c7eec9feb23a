package database

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/control"
)

func open(t *testing.T, path string) *Database {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "state", "exchange.db") }

func change(who, target string, at time.Time) control.Change {
	return control.Change{At: at, Who: who, From: "socket", Operation: "set", Target: target, Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`{"a":2}`)}
}

// TestMain is also the program that TestKill kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("BH_DATABASE"); path != "" {
		writeUntilKilled(path)
		return
	}
	os.Exit(m.Run())
}

func writeUntilKilled(path string) {
	ctx := context.Background()
	d, err := Open(ctx, path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("open")
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d.%d", os.Getpid(), n)
		if err := d.AddKey(ctx, Key{ID: id, Name: id, Hash: []byte(id), Scopes: []string{"read"}, Created: time.Now()}); err == nil {
			fmt.Println("key", id)
		} else if !errors.Is(err, ErrFull) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := d.Note(ctx, change(id, "/x", time.Now())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("note", id)
	}
}

// TestKill kills a process that writes at random moments: what it was told is there is there, and the file is sound.
func TestKill(t *testing.T) {
	path := file(t)
	keys, notes := map[string]bool{}, map[string]bool{}
	for range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "BH_DATABASE="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		for s := bufio.NewScanner(out); s.Scan(); {
			what, id, whole := strings.Cut(s.Text(), " ")
			switch {
			case what == "open":
				time.AfterFunc(time.Duration(10+rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
			case whole && what == "key":
				keys[id] = true
			case whole && what == "note":
				notes[id] = true
			}
		}
		timer.Stop()
		cmd.Wait() //nolint:errcheck // it was killed
	}
	d := open(t, path)
	var sound string
	if err := d.db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity: %s %v", sound, err)
	}
	list, err := d.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := len(keys)
	for _, k := range list {
		delete(keys, k.ID)
	}
	entries, err := d.Audit(t.Context(), Query{Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	noted := len(notes)
	for _, e := range entries {
		delete(notes, e.Who)
	}
	if len(keys)+len(notes) > 0 || told == 0 || noted == 0 {
		t.Errorf("lost: %d of %d keys, %d of %d entries", len(keys), told, len(notes), noted)
	}
	t.Logf("%d keys and %d entries over 6 kills", told, noted)
}

func TestKeys(t *testing.T) {
	path := file(t)
	d, ctx := open(t, path), t.Context()
	now := time.Date(2026, 11, 27, 8, 0, 0, 123000, time.UTC)
	k := Key{ID: "a", Name: "console", Hash: []byte{1, 2}, Scopes: []string{"calls:read", "write"}, Created: now, Expires: now.Add(time.Hour)}
	if err := d.AddKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	if err := d.AddKey(ctx, Key{ID: "b", Name: "console", Hash: []byte{1}, Created: now}); !errors.Is(err, ErrTaken) {
		t.Errorf("the same name: %v", err)
	}
	if err := d.KeyUsed(ctx, "a", now.Add(time.Minute), "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	d.Close()
	d = open(t, path)
	list, err := d.Keys(ctx)
	k.Used, k.UsedFrom = now.Add(time.Minute), "127.0.0.1"
	if err != nil || len(list) != 1 || fmt.Sprint(list[0]) != fmt.Sprint(k) {
		t.Errorf("%v, want %v, %v", list, k, err)
	}
	if err := d.DeleteKey(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := d.DeleteKey(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for n := range MaxKeys {
		if err := d.AddKey(ctx, Key{ID: fmt.Sprint(n), Name: fmt.Sprint(n), Hash: []byte{1}, Created: now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.AddKey(ctx, Key{ID: "more", Name: "more", Hash: []byte{1}, Created: now}); !errors.Is(err, ErrFull) {
		t.Errorf("over the bound: %v", err)
	}
}

func TestAudit(t *testing.T) {
	d, ctx := open(t, file(t)), t.Context()
	day := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	for n, target := range []string{"/v1/a/1", "/v1/a/2", "/v1/a%2", "/v1/b/1"} {
		if err := d.Note(ctx, change([]string{"ann", "bob"}[n%2], target, day.AddDate(0, 0, n))); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		q    Query
		want string
	}{
		"all":     {Query{Limit: 9}, "/v1/b/1 /v1/a%2 /v1/a/2 /v1/a/1"},
		"newest":  {Query{Limit: 1}, "/v1/b/1"},
		"page":    {Query{Limit: 9, Below: 3}, "/v1/a/2 /v1/a/1"},
		"who":     {Query{Limit: 9, Who: "bob"}, "/v1/b/1 /v1/a/2"},
		"since":   {Query{Limit: 9, Since: day.AddDate(0, 0, 2)}, "/v1/b/1 /v1/a%2"},
		"target":  {Query{Limit: 9, Target: "/v1/a/"}, "/v1/a/2 /v1/a/1"},
		"no glob": {Query{Limit: 9, Target: "/v1/a%"}, "/v1/a%2"},
		"no SQL":  {Query{Limit: 9, Who: "' OR ''='"}, ""},
	} {
		entries, err := d.Audit(ctx, c.q)
		var got []string
		for _, e := range entries {
			got = append(got, e.Target)
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q %v, want %q", name, got, err, c.want)
		}
	}
	long := change("ann", "/long", day.AddDate(0, 0, 9))
	long.Before, long.After = json.RawMessage(`"`+strings.Repeat("x", maxShown)+`"`), nil
	if err := d.Note(ctx, long); err != nil {
		t.Fatal(err)
	}
	if e, err := d.Audit(ctx, Query{Limit: 1}); err != nil || string(e[0].Before) != tooLong || e[0].After != nil || !e[0].At.Equal(long.At) {
		t.Errorf("%+v %v", e, err)
	}
	if n, err := d.ForgetAudit(ctx, day.AddDate(0, 0, 2)); err != nil || n != 2 {
		t.Errorf("%d %v", n, err)
	}
}

// TestNoteFile holds that only what differs is noted, and nothing of the first reading.
func TestNoteFile(t *testing.T) {
	path := file(t)
	d, ctx := open(t, path), t.Context()
	for _, doc := range []string{`{"a":1,"l":[{"n":"x"},{"n":"y"}]}`, `{"a":1,"l":[{"n":"x"},{"n":"y"}]}`, `{"a":1,"b":{"c":true},"l":[{"n":"z"}]}`} {
		if err := d.NoteFile(ctx, "dialplan", json.RawMessage(doc), change("ann", "dialplan", time.Now())); err != nil {
			t.Fatal(err)
		}
		d.Close() // a change is noted that was made while the program did not run
		d = open(t, path)
	}
	e, err := d.Audit(ctx, Query{Limit: 9})
	if err != nil || len(e) != 1 || string(e[0].Before) != `{"l[0].n":"x","l[1].n":"y"}` || string(e[0].After) != `{"b.c":true,"l[0].n":"z"}` {
		t.Errorf("%s %s, %v", e[0].Before, e[0].After, err)
	}
}

func TestBackup(t *testing.T) {
	d, ctx := open(t, file(t)), t.Context()
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() { // somebody goes on writing
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := d.Note(ctx, change("ann", "/x", time.Now())); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := d.Note(ctx, change("bob", "/y", time.Now())); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	err := d.Backup(ctx, path)
	close(stop)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if err := d.Backup(ctx, path); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if e, err := open(t, path).Audit(ctx, Query{Who: "bob", Limit: 1}); err != nil || len(e) != 1 {
		t.Errorf("%v %v", e, err)
	}
}

// TestOpenFails holds that what can't be used is said, and left as it is.
func TestOpenFails(t *testing.T) {
	newer := file(t)
	d := open(t, newer)
	if _, err := d.db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	d.Close()
	junk := filepath.Join(t.TempDir(), "junk.db")
	if err := os.WriteFile(junk, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{newer: "written by a newer version", junk: "not a database", t.TempDir(): "is a directory"} {
		d, err := Open(t.Context(), path)
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}
