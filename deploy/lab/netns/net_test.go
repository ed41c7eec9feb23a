package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv makes this test binary play the run that dies (see TestMain).
const childEnv = "BH_LAB_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		dieWithoutCleaning()
	}
	os.Exit(m.Run())
}

// dieWithoutCleaning builds, starts a program inside, says so, and panics when its standard input ends.
func dieWithoutCleaning() {
	n, err := Create(twoHosts())
	if err != nil {
		panic(err)
	}
	cmd := exec.Command("sleep", "600")
	if err := NewLauncher().Start(n.Host("remote"), cmd); err != nil {
		panic(err)
	}
	pins, err := n.PinDir()
	if err != nil {
		panic(err)
	}
	if err := os.Mkdir(pins, 0o700); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(n.ID + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	panic("as a test may")
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func create(t *testing.T) *Net {
	t.Helper()
	needRoot(t)
	n, err := Create(twoHosts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// listen opens a TCP listener in a namespace.
func listen(t *testing.T, ns Namespace, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	err := ns.Do(func() (err error) { l, err = net.Listen("tcp", addr); return })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(ns Namespace, addr string) error {
	return ns.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

func TestHostsReachEachOtherAndNobodyElse(t *testing.T) {
	n := create(t)
	l := listen(t, n.Host("border"), "198.18.0.1:5061")
	if err := dial(n.Host("remote"), l.Addr().String()); err != nil {
		t.Errorf("remote to border: %v", err)
	}
	l6 := listen(t, n.Host("border"), "[2001:db8:18::1]:5061")
	if err := n.AddAddr("remote", "inet", addr("2001:db8:18::2")); err != nil {
		t.Fatal(err)
	}
	if err := dial(n.Host("remote"), l6.Addr().String()); err != nil {
		t.Errorf("remote to border by IPv6: %v", err)
	}
	// Somebody outside may answer at that address; what must not happen is that the lab's listener does.
	_ = dial("", "198.18.0.1:5061")
	for {
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(200 * time.Millisecond))
		c, err := l.Accept()
		if err != nil {
			break
		}
		if from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != addr("198.18.1.1") {
			t.Errorf("the lab was reached from %s", from)
		}
		c.Close()
	}
	if err := dial(n.Host("remote"), "192.0.2.2:22"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("remote to a foreign network: %v, want no route", err)
	}
}

func TestSetLink(t *testing.T) {
	n := create(t)
	listen(t, n.Host("border"), "198.18.0.1:5061")
	if err := n.SetLink("remote", "inet", false); err != nil {
		t.Fatal(err)
	}
	err := n.Host("remote").Do(func() error {
		c, err := net.DialTimeout("tcp", "198.18.0.1:5061", 300*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil {
		t.Error("reached through a cable that is off")
	}
	if err := n.SetLink("remote", "inet", true); err != nil {
		t.Fatal(err)
	}
	if err := dial(n.Host("remote"), "198.18.0.1:5061"); err != nil {
		t.Errorf("not reached through a cable that is on again: %v", err)
	}
}

func TestAddAddrRefusesForeign(t *testing.T) {
	n := create(t)
	for _, c := range []struct{ wire, addr string }{{"inet", "8.8.8.8"}, {"moon", "198.18.0.9"}} {
		if err := n.AddAddr("remote", c.wire, netip.MustParseAddr(c.addr)); err == nil {
			t.Errorf("took %s on %s", c.addr, c.wire)
		}
	}
}

func TestDoKeepsNamespacesApart(t *testing.T) {
	n := create(t)
	before := netLink(t, "thread-self")
	var inside string
	if err := n.Host("border").Do(func() error { inside = netLink(t, "thread-self"); return nil }); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if after := netLink(t, "thread-self"); after != before || inside == before {
		t.Errorf("before %s, inside %s, after %s", before, inside, after)
	}
	for name, fn := range map[string]func() error{
		"panic":  func() error { panic("boom") },
		"goexit": func() error { runtime.Goexit(); return nil },
		"error":  func() error { return io.ErrUnexpectedEOF },
	} {
		if err := n.Host("border").Do(fn); err == nil {
			t.Errorf("%s: no error came back", name)
		}
	}
	if err := Namespace("bh-none-such").Do(func() error { return nil }); err == nil {
		t.Error("entered a namespace that is not there")
	}
}

func netLink(t *testing.T, proc string) string {
	t.Helper()
	s, err := os.Readlink("/proc/" + proc + "/ns/net")
	if err != nil {
		t.Error(err)
	}
	return s
}

func TestLauncherStartsInTheNamespaceAndKeepsSys(t *testing.T) {
	n := create(t)
	l := NewLauncher()
	defer l.Close()
	out := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/mnt")
	cmd.Stdout = f
	if err := l.Start(n.Host("border"), cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	mnt, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(b))
	if len(got) != 2 || got[0] == netLink(t, "self") {
		t.Errorf("got %q: not in a namespace of its own", b)
	}
	if len(got) == 2 && got[1] != mnt {
		t.Error("another mount namespace: the pinned BPF objects would be hidden")
	}
	if err := l.Start("bh-none-such", exec.Command("true")); err == nil {
		t.Error("started in a namespace that is not there")
	}
	if err := l.Start(n.Host("border"), exec.Command("/no/such/program")); err == nil {
		t.Error("started a program that is not there")
	}
}

// A program in a namespace sees the pins, which it would not under `ip netns exec`.
func TestPinDir(t *testing.T) {
	n := create(t)
	pins, err := n.PinDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(pins, "v1"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := NewLauncher()
	defer l.Close()
	cmd := exec.Command("test", "-d", filepath.Join(pins, "v1"))
	if err := l.Start(n.Host("border"), cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a program in the namespace does not see %s", pins)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pins); !os.IsNotExist(err) {
		t.Errorf("the pins outlived the lab: %v", err)
	}
}

func TestCloseKillsWhatRunsInside(t *testing.T) {
	n := create(t)
	l := NewLauncher()
	defer l.Close()
	cmd := exec.Command("sleep", "600")
	if err := l.Start(n.Host("remote"), cmd); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the program ended by itself")
	}
	if left, _ := filepath.Glob("/run/netns/" + name(n.ID, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(recordPath(n.ID)); !os.IsNotExist(err) {
		t.Errorf("the record is still there: %v", err)
	}
}

// A run that panics takes nothing down itself; its janitor must.
func TestJanitorCleansAfterAPanic(t *testing.T) {
	needRoot(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	id = strings.TrimSpace(id)
	pids := Pids(Namespace(name(id, "remote")))
	if len(pids) != 1 {
		t.Errorf("programs in the namespace: %v, want one", pids)
	}
	if gone, err := Sweep(); err != nil || slices.Contains(gone, id) {
		t.Errorf("the sweeper took a living run: %v %v", gone, err)
	}
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("the child did not panic")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		left, _ := filepath.Glob("/run/netns/" + name(id, "*"))
		_, err := os.Stat(recordPath(id))
		if len(left) == 0 && os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %v, record: %v", left, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := os.Stat(pinDir(id)); !os.IsNotExist(err) {
		t.Errorf("the pins are still there: %v", err)
	}
	for _, pid := range pids {
		// A dead process that nobody has waited for yet has no program any more.
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
			t.Errorf("process %d (%s) outlived its run", pid, exe)
		}
	}
}

// What neither the run nor its janitor took down (a power cut cannot leave namespaces, a killed janitor can).
func TestSweepTakesOnlyDeadRunsOfOurs(t *testing.T) {
	needRoot(t)
	dead, foreign := "dead00", "alien0"
	for _, id := range []string{dead, foreign} {
		if err := ipBatch("", "netns add "+name(id, "border")+"\n"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ipBatch("", "netns del "+name(id, "border")+"\n") })
	}
	if err := os.MkdirAll(records, 0o700); err != nil {
		t.Fatal(err)
	}
	// The number is alive, but with another birth: it came back.
	if err := os.WriteFile(recordPath(dead), []byte(`{"pid":1,"start":"-1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	gone, err := Sweep()
	if err != nil || !slices.Contains(gone, dead) || slices.Contains(gone, foreign) {
		t.Errorf("swept %v, %v; want %s and not %s", gone, err, dead, foreign)
	}
	if _, err := os.Stat(Namespace(name(foreign, "border")).Path()); err != nil {
		t.Errorf("a namespace without our record is gone: %v", err)
	}
	if _, err := os.Stat(Namespace(name(dead, "border")).Path()); err == nil {
		t.Error("the dead run's namespace is still there")
	}
}

func TestParseStart(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for _, c := range []struct{ in, want string }{
		{"12 (sh)" + tail, "4711"},
		{"12 (a) b (c)" + tail, "4711"},
		{"12 (sh) S 1", ""},
		{"", ""},
	} {
		got, err := parseStart(c.in)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}
