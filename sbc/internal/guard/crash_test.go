package guard

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"brickhouse/shared/verdict"
)

// crashBans is how many bans are made before and while the guard is killed.
const crashBans = 100_000

const crashEnv = "BH_GUARD_CRASH"

// crashAddr is the i-th address that is banned: IPv4 and IPv6 by turns.
func crashAddr(i int) netip.Addr {
	if i%2 == 0 {
		return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
}

// TestCrashChild is no test: it is the process that is killed. It bans, and says the number of each ban that is safe.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		t.Skip("only as the child of another test")
	}
	g, err := Open(crashConfig(os.Getenv(crashEnv+"_BPFFS")), Options{Dir: dir})
	must(t, err)
	var work errgroup.Group
	work.SetLimit(256) // they share an fsync
	for i := range crashBans {
		work.Go(func() error {
			a := crashAddr(i)
			if err := g.Ban(netip.PrefixFrom(a, a.BitLen()), time.Hour, "ann", ""); err != nil {
				return err
			}
			_, err := fmt.Println(i)
			return err
		})
	}
	must(t, work.Wait())
	fmt.Println("all")
	select {}
}

func crashConfig(bpffs string) Config {
	if bpffs != "" {
		return onWire(bpffs)
	}
	return userSpace()
}

// crash runs the child until it has told so many bans, kills it, and returns all that it told.
func crash(t *testing.T, dir, bpffs string, after int) map[int]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // against hanging
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestCrashChild$", "-test.timeout=6m")
	cmd.Env = append(os.Environ(), crashEnv+"="+dir, crashEnv+"_BPFFS="+bpffs)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start()) // in this thread's namespaces
	told := map[int]bool{}
	last, killed := "", false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		if n, err := strconv.Atoi(last); err == nil {
			told[n] = true
		}
		if len(told) == after && !killed {
			killed = true
			must(t, cmd.Process.Kill()) // what it said until then is still to be read, and counts
		}
	}
	_ = cmd.Wait()
	if len(told) < after {
		t.Fatalf("the child told %d bans, then %q; want at least %d", len(told), last, after)
	}
	// The last line may be cut off, and then be another's number.
	if n, err := strconv.Atoi(last); err == nil && len(told) > after {
		delete(told, n)
	}
	return told
}

// reopened opens the guard again and wants every ban that was told: in the list, and in force.
func reopened(t *testing.T, dir, bpffs string, told map[int]bool) *Guard {
	t.Helper()
	start := time.Now()
	g := open(t, crashConfig(bpffs), Options{Dir: dir})
	t.Logf("%d bans told before the crash; open again after %v", len(told), time.Since(start))
	listed := map[netip.Addr]bool{}
	for _, b := range g.List() {
		listed[b.Prefix.Addr()] = true
	}
	lost := 0
	for i := range told {
		a := crashAddr(i)
		if v := g.Admit(a); !listed[a] || v != verdict.Dropped(verdict.HostBanned) {
			if lost++; lost < 5 {
				t.Errorf("the ban of %s was told and is lost: listed %v, %v", a, listed[a], v)
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d bans are lost", lost, len(told))
	}
	return g
}

// kill -9 at any moment of 100,000 bans: each that was told is there, once Open returns. Without a kernel filter this is a reboot, too.
func TestCrashLosesNoBan(t *testing.T) {
	moments := []int{1 + rand.IntN(crashBans-1)}
	if os.Geteuid() != 0 { // as root the next test does this too
		moments = append(moments, crashBans)
	}
	for _, after := range moments {
		t.Run(fmt.Sprint("after ", after), func(t *testing.T) {
			dir := t.TempDir()
			g := reopened(t, dir, "", crash(t, dir, "", after))
			must(t, g.Close())
		})
	}
}

// The same with the kernel filter: it has them all after a crash of the program, and again after a reboot, which empties the kernel.
func TestRootCrashLosesNoBan(t *testing.T) {
	w := newWire(t)
	dir := t.TempDir()
	told := crash(t, dir, w.bpffs, crashBans)
	if len(told) != crashBans {
		t.Fatalf("%d bans told", len(told))
	}
	g := reopened(t, dir, w.bpffs, told)
	inKernel(t, g, told)
	must(t, g.Close())
	must(t, Remove(onWire(w.bpffs).XDP)) // what a reboot does to the kernel
	if left, err := filepath.Glob(filepath.Join(w.bpffs, "bh-guard*")); err != nil || len(left) > 0 {
		t.Fatalf("the kernel still has %v, %v", left, err)
	}
	g = reopened(t, dir, w.bpffs, told)
	inKernel(t, g, told)
	must(t, g.Detach())
}

// inKernel wants every ban in the kernel's tables.
func inKernel(t *testing.T, g *Guard, told map[int]bool) {
	t.Helper()
	if mode, why := g.Mode(); mode != ModeNative {
		t.Fatalf("mode %s: %s", mode, why)
	}
	lost := 0
	for i := range told {
		if f := g.set.Lookup(crashAddr(i), 1); f.Ban == 0 { // in the memory that the kernel's program reads
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d bans are not in the kernel", lost, len(told))
	}
}
