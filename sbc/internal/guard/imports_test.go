package guard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/verdict"
)

func imported(t *testing.T, g *Guard, name string, kind FeedKind, text string) {
	t.Helper()
	if _, err := g.Import(name, kind, strings.NewReader(text), banlist.Options{}, "ann"); err != nil {
		t.Fatal(err)
	}
}

// journalOf is the journal's records about lists.
func journalOf(t *testing.T, dir string) []record {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, journalName))
	must(t, err)
	defer f.Close()
	all, err := fold(f)
	must(t, err)
	if all.bad != 0 {
		t.Errorf("%d lines of the journal are no records", all.bad)
	}
	return all.lists
}

// An imported list is in force at once, is replaced as a whole, and outlives a restart until it is dropped; the journal has who did it.
func TestImport(t *testing.T) {
	h, dir := newHand(), filepath.Join(t.TempDir(), "a[b]*") // a path that is no pattern
	reopen := func(g *Guard) *Guard {
		if g != nil {
			must(t, g.Close())
		}
		return open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	}
	g := reopen(nil)
	imported(t, g, "scanners", FeedBans, "192.0.2.0/24 # a comment\n2001:db8::/32\n198.51.100.7\n")
	imported(t, g, "seen", FeedMonitor, "203.0.113.0/24\n")
	imported(t, g, "friends", FeedAllow, "192.0.2.9\n")
	check := func(when string) {
		t.Helper()
		for src, want := range map[string]verdict.Verdict{
			"192.0.2.1": networkBanned, "2001:db8::1": networkBanned, "198.51.100.7": hostBanned, "203.0.113.1": verdict.Passed, "192.0.2.9": verdict.Passed,
		} {
			if got := g.Admit(addr(src)); got != want {
				t.Errorf("%s: %s: %v, want %v", when, src, got, want)
			}
		}
		if e, _ := g.Why(addr("198.51.100.7")); e.Listed != "list scanners" {
			t.Errorf("%s: %+v", when, e)
		}
	}
	check("at once")
	g = reopen(g)
	check("after a restart")
	imported(t, g, "scanners", FeedMonitor, "203.0.113.9\n")
	g = reopen(g)
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	if f := feedOf(t, g, "scanners"); f.Does != "monitor" || f.Entries != 1 {
		t.Errorf("%+v", f)
	}
	must(t, g.DropImport("scanners", "bob"))
	if err := g.DropImport("scanners", "bob"); !errors.Is(err, ErrNoBan) {
		t.Error(err)
	}
	g = reopen(g)
	if f := feedOf(t, g, "scanners"); f.Name != "" {
		t.Errorf("dropped, and back: %+v", f)
	}
	must(t, g.Close())
	var got []string
	for _, r := range journalOf(t, dir) {
		got = append(got, fmt.Sprint(r.List, " ", r.Entries, " ", r.By, " ", r.At.Equal(h.now())))
	}
	want := "[scanners 3 ann true seen 1 ann true friends 1 ann true scanners 1 ann true scanners 0 bob true]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v\nwant %v", got, want)
	}
}

// What is wrong is refused with a reason, and changes nothing: neither what is in force nor what is on disk.
func TestImportRefused(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	must(t, g.SetList("feed", FeedBans, prefixes("198.51.100.0/24")))
	imported(t, g, "mine", FeedBans, "192.0.2.0/24\n")
	for _, tc := range []struct {
		name, text string
		want       error
	}{
		{"feed", "203.0.113.1\n", ErrListTaken},
		{"", "203.0.113.1\n", ErrListName},
		{"../bans", "203.0.113.1\n", ErrListName},
		{"a b", "203.0.113.1\n", ErrListName},
		{strings.Repeat("x", 33), "203.0.113.1\n", ErrListName},
		{"mine", "", banlist.ErrEmpty},
		{"mine", "# nothing\n", banlist.ErrEmpty},
		{"mine", "<html>not found</html>\n", banlist.ErrGarbage},
		{"mine", "one\ntwo\nthree\n", banlist.ErrGarbage},
		{"mine", "203.0.113.1 #" + strings.Repeat("x", 200) + "\n", banlist.ErrTooLarge},
		{"mine", "203.0.113.1\n203.0.113.3\n203.0.113.5\n203.0.113.7\n", banlist.ErrTooMany},
	} {
		_, err := g.Import(tc.name, FeedBans, strings.NewReader(tc.text), banlist.Options{MaxEntries: 3, MaxBytes: 200}, "ann")
		if !errors.Is(err, tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q %q: %v, want %v", tc.name, tc.text, err, tc.want)
		}
	}
	for name, want := range map[string]error{"feed": ErrListTaken, "nosuch": ErrNoBan, "../bans": ErrListName} {
		if err := g.DropImport(name, "ann"); !errors.Is(err, want) {
			t.Errorf("dropping %q: %v", name, err)
		}
	}
	expectAdmit(t, g, "192.0.2.1", networkBanned)
	expectAdmit(t, g, "198.51.100.1", networkBanned)
	expectAdmit(t, g, "203.0.113.1", verdict.Passed)
	files, err := filepath.Glob(filepath.Join(dir, importsDir, "*"))
	if err != nil || len(files) != 1 {
		t.Errorf("%v %v", files, err)
	}
	must(t, g.Close())
	if _, err := g.Import("mine", FeedBans, strings.NewReader("203.0.113.1\n"), banlist.Options{}, "ann"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := g.DropImport("mine", "ann"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	expectAdmit(t, open(t, userSpace(), Options{Dir: dir}), "192.0.2.1", networkBanned)
}

// A list for which there is no room is not on disk either, or it would come into force at the next start.
func TestImportNoRoom(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	for i := range maxFeeds {
		must(t, g.SetList(fmt.Sprint("l", i), FeedBans, prefixes("192.0.2.0/24")))
	}
	if _, err := g.Import("more", FeedBans, strings.NewReader("203.0.113.1\n"), banlist.Options{}, "ann"); !errors.Is(err, ErrManyLists) {
		t.Error(err)
	}
	must(t, g.Close())
	expectAdmit(t, open(t, userSpace(), Options{Dir: dir}), "203.0.113.1", verdict.Passed)
}

// The configuration's list of the same name wins over an import, which then can be neither replaced nor dropped.
func TestImportAndConfiguration(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	imported(t, g, "drop", FeedBans, "192.0.2.0/24\n")
	must(t, g.Close())
	g = open(t, userSpace(), Options{Dir: dir, Load: func(set SetList) { _ = set("drop", FeedBans, prefixes("203.0.113.0/24")) }})
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	expectAdmit(t, g, "203.0.113.1", networkBanned)
	if _, err := g.Import("drop", FeedBans, strings.NewReader("192.0.2.0/24\n"), banlist.Options{}, "ann"); !errors.Is(err, ErrListTaken) {
		t.Error(err)
	}
	if err := g.DropImport("drop", "ann"); !errors.Is(err, ErrListTaken) {
		t.Error(err)
	}
	must(t, g.EndList("drop"))
	imported(t, g, "drop", FeedBans, "192.0.2.0/24\n")
}

// Whatever a crash or a hand leaves in the directory, the guard starts with the lists that are whole and says what is not.
func TestImportTorn(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	imported(t, g, "whole", FeedBans, "192.0.2.0/24\n")
	must(t, g.Close())
	lists := filepath.Join(dir, importsDir)
	for name, text := range map[string]string{
		"whole.list.new": `{"v":1,"kind":0`, "torn.list": `{"v":1,"ki`, "empty.list": "", "kind.list": `{"v":1,"kind":9}` + "\n203.0.113.1\n",
		"version.list": `{"v":2}` + "\n203.0.113.1\n", "garbage.list": `{"v":1}` + "\n<html>\n", "a b.list": `{"v":1}` + "\n203.0.113.1\n", "note.txt": "203.0.113.1\n",
	} {
		must(t, os.WriteFile(filepath.Join(lists, name), []byte(text), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(lists, "dir.list"), 0o700))
	var log bytes.Buffer // the guard writes it while it opens
	g = open(t, userSpace(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	said := log.String()
	expectAdmit(t, g, "192.0.2.1", networkBanned)
	expectAdmit(t, g, "203.0.113.1", verdict.Passed)
	for _, name := range []string{"torn", "empty", "kind", "version", "garbage", "dir"} {
		if !strings.Contains(said, `msg="an imported list is not in force" list=`+name+" ") {
			t.Errorf("nothing is said of %s:\n%s", name, said)
		}
	}
	imported(t, g, "whole", FeedBans, "198.51.100.0/24\n") // over what was left of it
	imported(t, g, "torn", FeedBans, "203.0.113.1\n")
	must(t, g.DropImport("garbage", "ann"))
	must(t, g.Close())
	g = open(t, userSpace(), Options{Dir: dir})
	expectAdmit(t, g, "198.51.100.1", networkBanned)
	expectAdmit(t, g, "203.0.113.1", hostBanned)
}

// A journal without records of lists stays readable, and one made anew keeps a bounded number of them.
func TestJournalLists(t *testing.T) {
	dir := t.TempDir()
	old := `{"v":1,"op":"ban","ban":{"prefix":"192.0.2.1/32","reason":"manual","by":"ann","from":"2026-11-21T12:00:00Z"}}` + "\n"
	must(t, os.WriteFile(filepath.Join(dir, journalName), []byte(old), 0o600))
	g := open(t, userSpace(), Options{Dir: dir})
	expectAdmit(t, g, "192.0.2.1", hostBanned)
	imported(t, g, "l", FeedBans, "203.0.113.1\n")
	must(t, g.Close())
	if rs := journalOf(t, dir); len(rs) != 1 || rs[0].List != "l" {
		t.Errorf("%+v", rs)
	}
	f, err := fold(strings.NewReader(old + strings.Repeat(`{"v":1,"op":"list","list":"l","entries":1}`+"\n", maxListRecords+10) + `{"v":1,"op":"list"}` + "\n"))
	must(t, err)
	if len(f.lists) != maxListRecords || f.bad != 1 || len(f.records()) != maxListRecords+1 {
		t.Errorf("%d records of lists, %d bad lines", len(f.lists), f.bad)
	}
}

// What is exported is the shortest list of the addresses that are banned, sorted, and can be imported again.
func TestExport(t *testing.T) {
	h := newHand()
	g := open(t, userSpace(), Options{Clock: h.now})
	if l, err := g.Export(""); err != nil || len(l) != 0 {
		t.Errorf("%v %v", l, err)
	}
	for _, p := range []string{"203.0.113.7/32", "192.0.2.128/25", "192.0.2.0/25", "192.0.2.77/32", "198.51.100.9/32", "198.51.100.8/32", "2001:db8::1/128", "2001:db8::/48"} {
		must(t, g.Ban(prefix(p), time.Hour, "ann", ""))
	}
	must(t, g.Ban(prefix("203.0.113.8/32"), time.Minute, "ann", ""))
	h.move(2 * time.Minute) // the sweeper has not run
	want := "[192.0.2.0/24 198.51.100.8/31 203.0.113.7/32 2001:db8::/48]"
	l, err := g.Export("")
	if err != nil || fmt.Sprint(l) != want {
		t.Errorf("%v %v, want %s", l, err, want)
	}
	for _, format := range []banlist.Format{banlist.Plain, banlist.CSV, banlist.DropJSON} {
		var buf bytes.Buffer
		must(t, banlist.Write(&buf, l, format))
		for name, kind := range map[string]FeedKind{"a": FeedBans, "b": FeedMonitor, "c": FeedAllow} {
			imported(t, g, name, kind, buf.String())
			if again, err := g.Export(name); err != nil || fmt.Sprint(again) != want {
				t.Errorf("%s, kind %d: %v %v", format, kind, again, err)
			}
		}
	}
	if _, err := g.Export("nosuch"); !errors.Is(err, ErrNoBan) {
		t.Error(err)
	}
}

func FuzzReadImport(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":0}` + "\n192.0.2.0/24\n"))
	f.Add([]byte(`{"v":1,"kind":2}` + "\n2001:db8::/32\n::/0\n"))
	f.Add([]byte("{\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(dir, fmt.Sprint(os.Getpid()))
		must(t, os.WriteFile(path, file, 0o600))
		head, list, err := readImport(path)
		if err == nil && (head.Kind > FeedAllow || head.V != journalVersion) {
			t.Errorf("%+v", head)
		}
		for _, p := range list {
			if err == nil && (!p.IsValid() || p != p.Masked() || p.Bits() == 0 || p == (netip.Prefix{})) {
				t.Errorf("%v", p)
			}
		}
	})
}
