package guard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// What was told is there after a restart: bans with their evidence, their history, and what was lifted.
func TestJournalReload(t *testing.T) {
	h := newHand()
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	fail(g, "192.0.2.1", 5)
	fail(g, "2001:db8::1", 5)
	must(t, g.Ban(prefix("198.51.100.0/24"), Forever, "ann", "a note"))
	must(t, g.Ban(prefix("192.0.2.3/32"), time.Hour, "ann", ""))
	must(t, g.Unban(prefix("192.0.2.3/32"), "bob", "a slip"))
	fail(g, "192.0.2.4", 5)
	h.move(4 * time.Minute)
	must(t, g.Unban(prefix("192.0.2.4/32"), "bob", ""))
	fail(g, "192.0.2.4", 5) // banned again after it was lifted
	want := g.List()
	why, _ := g.Why(addr("192.0.2.4"))
	must(t, g.Close())
	h.move(30 * time.Second)

	g = open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	if got := g.List(); fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 4 {
		t.Errorf("%v\nwant %v", got, want)
	}
	if again, _ := g.Why(addr("192.0.2.4")); fmt.Sprint(again.Bans, again.History) != fmt.Sprint(why.Bans, why.History) || len(again.Bans[0].Evidence) != 10 {
		t.Errorf("%+v\nwant %+v", again, why)
	}
	if e, _ := g.Why(addr("192.0.2.3")); len(e.Bans) != 0 || len(e.History) != 1 || e.History[0].EndNote != "a slip" {
		t.Errorf("%+v", e)
	}
	must(t, g.Close())
	h.move(time.Minute) // two end while nobody runs

	g = open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	expectAdmit(t, g, "192.0.2.1", verdict.Passed)
	expectAdmit(t, g, "198.51.100.1", verdict.Dropped(verdict.NetworkBanned))
	if e, _ := g.Why(addr("192.0.2.1")); len(e.History) != 1 || e.History[0].EndedBy != "expiry" || len(e.History[0].Evidence) != 5 {
		t.Errorf("%+v", e)
	}
	if l := g.List(); len(l) != 2 {
		t.Errorf("%v", l)
	}
}

// A wall clock that was set back makes no ban longer than it was given; one set forward ends it early at worst.
func TestJournalClockSet(t *testing.T) {
	h := newHand()
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	fail(g, "192.0.2.1", 5)
	must(t, g.Close())
	h.move(-10 * 365 * 24 * time.Hour)
	g = open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	if l := g.List(); len(l) != 1 || l[0].Left(h.now()) != 5*time.Minute {
		t.Errorf("%v", l)
	}
}

// Whatever a crash leaves of the journal, the whole lines count and the guard starts, goes on and can be read again.
func TestJournalTruncated(t *testing.T) {
	h := newHand()
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir, Clock: h.now})
	fail(g, "192.0.2.1", 5)
	fail(g, "2001:db8::1", 5)
	must(t, g.Ban(prefix("198.51.100.0/24"), time.Hour, "ann", ""))
	must(t, g.Unban(prefix("192.0.2.1/32"), "ann", ""))
	must(t, g.Close())
	whole, err := os.ReadFile(filepath.Join(dir, journalName))
	must(t, err)
	// bans[n] are the bans in force after n lines.
	bans := []int{0, 1, 2, 3, 2}
	if bytes.Count(whole, []byte("\n")) != 4 {
		t.Fatalf("the journal has other lines:\n%s", whole)
	}
	for n := range len(whole) + 1 {
		for _, tail := range []string{"", "\x00\x00\x00\x00"} { // as a file system leaves it after a power failure
			if tail != "" && n%10 != 0 {
				continue
			}
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, journalName), append(bytes.Clone(whole[:n]), tail...), 0o600))
			g, err := Open(userSpace(), Options{Dir: dir, Clock: h.now})
			if err != nil {
				t.Fatalf("cut at %d: %v", n, err)
			}
			want := bans[bytes.Count(whole[:n], []byte("\n"))]
			if got := len(g.List()); got != want {
				t.Fatalf("cut at %d: %d bans, want %d", n, got, want)
			}
			must(t, g.Ban(prefix("203.0.113.1/32"), time.Hour, "ann", ""))
			must(t, g.Close())
			g, err = Open(userSpace(), Options{Dir: dir, Clock: h.now})
			must(t, err)
			if got := len(g.List()); got != want+1 {
				t.Fatalf("cut at %d, gone on: %d bans, want %d", n, got, want+1)
			}
			must(t, g.Close())
			os.RemoveAll(dir)
		}
	}
}

// Lines that are no records are left out; those around them count.
func TestJournalBadLines(t *testing.T) {
	line := func(p string) string {
		b, err := json.Marshal(record{V: 1, Op: opBan, Ban: &Ban{Prefix: prefix(p), From: time.Now(), Until: time.Now().Add(time.Hour), By: ByRule}})
		must(t, err)
		return string(b) + "\n"
	}
	bad := []string{"\n", "{}\n", "null\n", "[]\n", "\x00\x00\n", `{"v":1,"op":"ban"}` + "\n", `{"v":1,"op":"unban"}` + "\n", `{"v":1,"op":"past"}` + "\n",
		`{"v":1,"op":"ban","ban":{"prefix":"nonsense"}}` + "\n", strings.Replace(line("192.0.2.9/32"), `"v":1`, `"v":2`, 1),
		`{"v":1,"op":"x"}` + "\n", strings.Repeat("x", 3*maxLine) + "\n"}
	content := line("192.0.2.1/32") + strings.Join(bad, line("192.0.2.2/32")) + line("192.0.2.3/32")
	f, err := fold(strings.NewReader(content))
	must(t, err)
	if len(f.active) != 3 || f.bad != len(bad) || f.good != int64(len(content)) {
		t.Errorf("%d bans, %d bad lines of %d, %d bytes of %d", len(f.active), f.bad, len(bad), f.good, len(content))
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, journalName), []byte(content), 0o600))
	if g := open(t, userSpace(), Options{Dir: dir}); len(g.List()) != 3 {
		t.Errorf("%v", g.List())
	}
	if _, err := fold(io.MultiReader(strings.NewReader(content), failing{})); err == nil {
		t.Error("a disk that does not read is no end of the journal")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"v":1,"op":"ban","ban":{"prefix":"192.0.2.1/32","reason":"manual","by":"a","from":"2026-11-21T12:00:00Z"}}` + "\n"))
	f.Add([]byte(`{"v":1,"op":"unban","prefix":"192.0.2.1/32","at":"2026-11-21T12:00:00Z","by":"a"}` + "\n" + `{"v":1,"op":"past","past":{"prefix":"::/1"}}` + "\n"))
	f.Add([]byte("{\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		one, err := fold(bytes.NewReader(b))
		if err != nil || one.good > int64(len(b)) {
			t.Fatalf("%v, %d of %d bytes", err, one.good, len(b))
		}
		var again bytes.Buffer
		for _, r := range one.records() {
			must(t, json.NewEncoder(&again).Encode(r))
		}
		two, err := fold(&again)
		if err != nil || two.bad > 0 || !sameKeys(one.active, two.active) || len(one.past) != len(two.past) {
			t.Fatalf("made anew it reads otherwise: %v\n%+v\n%+v", err, one, two)
		}
	})
}

func sameKeys(a, b map[netip.Prefix]Ban) bool {
	return maps.EqualFunc(a, b, func(Ban, Ban) bool { return true })
}

// The journal is made anew when most of it is overtaken, and amounts to the same.
func TestJournalCompact(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	note := strings.Repeat("n", 180)
	g.mu.Lock()
	for i := range 20_000 { // of more than 300 bytes each
		b := Ban{Prefix: prefix("192.0.2.1/32"), Reason: verdict.ManualBan, By: "ann", Note: note, From: time.Now(), Until: time.Now().Add(time.Hour)}
		g.journal.write(record{Op: opBan, Ban: &b})
		if i == 10_000 {
			g.journal.write(record{Op: opUnban, Prefix: prefix("192.0.2.1/32"), At: time.Now(), By: "bob"})
		}
	}
	g.mu.Unlock()
	must(t, g.Ban(prefix("192.0.2.2/32"), time.Hour, "ann", ""))
	must(t, g.Ban(prefix("192.0.2.3/32"), time.Hour, "ann", "the next batch"))
	must(t, g.Close())
	st, err := os.Stat(filepath.Join(dir, journalName))
	must(t, err)
	if total := int64(20_000 * len(note)); st.Size() > total || total > compactOver || st.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v", st.Size(), st.Mode())
	}
	g = open(t, userSpace(), Options{Dir: dir})
	if l := g.List(); len(l) != 3 {
		t.Errorf("%v", l)
	}
	if e, _ := g.Why(addr("192.0.2.1")); len(e.History) != 1 || e.History[0].EndedBy != "bob" {
		t.Errorf("%+v", e.History)
	}
}

// A disk that does not write: bans are in force, a person is told, and all is written once it can be.
func TestJournalFault(t *testing.T) {
	dir := t.TempDir()
	g := open(t, userSpace(), Options{Dir: dir})
	must(t, g.Ban(prefix("192.0.2.1/32"), time.Hour, "ann", ""))
	j := g.journal
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	j.mu.Lock() // the writer waits
	good := j.file
	j.file = full
	j.mu.Unlock()
	if err := g.Ban(prefix("192.0.2.2/32"), time.Hour, "ann", ""); err == nil || !strings.Contains(err.Error(), "in force, but not in the journal") {
		t.Error(err)
	}
	expectAdmit(t, g, "192.0.2.2", hostBanned)
	fail(g, "192.0.2.3", 5)
	expectAdmit(t, g, "192.0.2.3", hostBanned)
	if s, _ := g.Stats(); s.JournalFaults == 0 {
		t.Error("the fault is not counted")
	}
	j.mu.Lock() // the writer waits for its next try
	j.file = good
	j.mu.Unlock()
	must(t, full.Close())
	must(t, g.Close())
	g = open(t, userSpace(), Options{Dir: dir})
	if l := g.List(); len(l) != 3 {
		t.Errorf("%v", l)
	}
}

func TestJournalInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, userSpace(), Options{Dir: dir})
	if _, err := Open(userSpace(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(userSpace(), Options{Dir: file}); err == nil {
		t.Error("a file is no directory")
	}
}

const childEnv = "BH_GUARD_CHILD"

// TestMain makes this binary play the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, os.Getenv(childEnv+"_BPFFS")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// child bans one address after the other and tells each that is safe; with a BPF file system it first bans by rule, in the kernel.
func child(dir, bpffs string) error {
	cfg := userSpace()
	if bpffs != "" {
		cfg = onWire(bpffs)
	}
	g, err := Open(cfg, Options{Dir: dir})
	if err != nil {
		return err
	}
	if bpffs != "" {
		mode, why := g.Mode()
		fail(g, "10.99.0.2", 5)
		// A person's ban is told when it is in the journal, and with it all before it.
		if err := g.Ban(prefix("203.0.113.9/32"), time.Millisecond, "ann", ""); err != nil {
			return err
		}
		fmt.Println(mode, why)
		return nil
	}
	for i := 0; ; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if err := g.Ban(p, time.Hour, "ann", ""); err != nil {
			return err
		}
		fmt.Println(p)
	}
}

// kill -9 at any moment: each ban that was told is there.
func TestJournalKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	told := map[netip.Prefix]bool{}
	lines := bufio.NewScanner(out)
	for len(told) < 200 && lines.Scan() {
		told[prefix(lines.Text())] = true
	}
	must(t, cmd.Process.Kill())
	for lines.Scan() {
		if p, err := netip.ParsePrefix(lines.Text()); err == nil && strings.HasSuffix(lines.Text(), "/32") {
			told[p] = true
		}
	}
	_ = cmd.Wait()
	g := open(t, userSpace(), Options{Dir: dir})
	there := map[netip.Prefix]bool{}
	for _, b := range g.List() {
		there[b.Prefix] = true
	}
	for p := range told {
		if !there[p] {
			t.Errorf("%s was told and is lost", p)
		}
	}
	if len(told) < 200 {
		t.Errorf("only %d bans were told", len(told))
	}
}

// writeManyBans makes a journal with n bans of hosts from 10.0.0.0 on.
func writeManyBans(t *testing.T, dir string, n int) {
	t.Helper()
	var buf bytes.Buffer
	now := time.Now()
	ev := []Evidence{{At: now, Source: netip.MustParseAddrPort("192.0.2.1:5060"), Reason: verdict.BadCredentials, AOR: "100@example.com"}}
	for i := range n {
		b := Ban{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32), By: ByRule, Rule: "logins",
			Reason: verdict.BadCredentials, From: now, Until: now.Add(time.Hour), Evidence: ev}
		must(t, json.NewEncoder(&buf).Encode(record{V: 1, Op: opBan, Ban: &b}))
	}
	must(t, os.WriteFile(filepath.Join(dir, journalName), buf.Bytes(), 0o600))
}

// 100,000 bans come back, none lost.
func TestJournalMany(t *testing.T) {
	const n = 100_000
	dir := t.TempDir()
	writeManyBans(t, dir, n)
	start := time.Now()
	g := open(t, userSpace(), Options{Dir: dir})
	t.Logf("%d bans in %v", n, time.Since(start))
	if inForce, _, _ := g.set.Len(); len(g.List()) != n || inForce != n {
		t.Errorf("%d bans, %d in force", len(g.List()), inForce)
	}
	for i := range n {
		if g.Admit(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})).OK() {
			t.Fatalf("ban %d is lost", i)
		}
	}
}
