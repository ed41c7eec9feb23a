package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"brickhouse/bpf/table"
)

// While the program is replaced again and again, not one packet of a banned source gets through.
func TestRootReplaceUnderFlood(t *testing.T) {
	w := newWire(t)
	f := w.load(t)
	ban(t, f, time.Hour, "10.99.0.2/32")
	w.attach(t, f, "bh0", ModeNative)
	stop := w.flood(t)
	for range swaps() {
		must(t, f.Close())
		f = w.load(t)
		if a := w.attach(t, f, "bh0", ModeNative); !a.TookOver {
			t.Fatalf("%+v, want taken over", a)
		}
	}
	n := stop()
	w.silent(t)
	if c := dropped(t, f, FamilyIPv4, ReasonHostBanned); n == 0 || c != n {
		t.Errorf("%d packets of %d counted as dropped", c, n)
	}
	must(t, f.Detach())
}

func swaps() int {
	if testing.Short() {
		return 5
	}
	return 50
}

// flood sends from the banned source until it is stopped; stop says how many packets there were.
func (w *wire) flood(t *testing.T) (stop func() uint64) {
	end, flooded := make(chan struct{}), make(chan uint64)
	go func() {
		n := uint64(0)
		for {
			select {
			case <-end:
				flooded <- n
				return
			default:
				if _, err := w.bad.WriteToUDPAddrPort([]byte("flood"), netip.MustParseAddrPort("10.99.0.1:5060")); err == nil {
					n++
				}
				time.Sleep(50 * time.Microsecond) // or it takes the processor that the test needs
			}
		}
	}()
	stopped := false
	stop = func() (n uint64) {
		if !stopped {
			close(end)
			n, stopped = <-flooded, true
		}
		return n
	}
	t.Cleanup(func() { stop() })
	return stop
}

// silent checks that the border has heard nothing of the flood.
func (w *wire) silent(t *testing.T) {
	t.Helper()
	w.send(t, w.good, "end")
	buf := make([]byte, 100)
	must(t, w.in.SetReadDeadline(time.Now().Add(10*time.Second)))
	if l, err := w.in.Read(buf); err != nil || string(buf[:l]) != "end" {
		t.Errorf("heard %q %v in the flood, want only its end", buf[:l], err)
	}
}

const childEnv = "BH_BPF_CHILD"

// TestMain makes this binary play the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready")
		select {}
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	f, err := Load(Options{BPFFS: dir, Name: "bh-test"})
	if err != nil {
		return err
	}
	n, err := Monotonic()
	if err != nil {
		return err
	}
	if err := f.Sources().Ban(netip.MustParsePrefix("10.99.0.2/32"), listOne, table.TickOf(n+3*time.Second)); err != nil {
		return err
	}
	if err := f.Sources().Rebuild(); err != nil {
		return err
	}
	_, err = f.Attach("bh0", ModeNative)
	return err
}

// Bans drop while the process is dead, and end while it is dead.
func TestRootKilled(t *testing.T) {
	w := newWire(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+w.bpffs)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start()) // in this thread's namespaces
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the process says %q", line)
	}
	w.expect(t, "while it lives", false)
	if _, err := Load(Options{BPFFS: w.bpffs, Name: "bh-test"}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second process has the same pins: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for deadline, dropped := time.Now().Add(20*time.Second), false; ; time.Sleep(20 * time.Millisecond) {
		heard := w.hears(t, w.bad, w.good)
		if heard && !dropped {
			t.Fatal("the ban ended with the process")
		}
		if dropped = true; heard {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the ban does not end while no process runs")
		}
	}
	f := w.load(t)
	if n := dropped(t, f, FamilyIPv4, ReasonHostBanned); n < 2 {
		t.Errorf("%d packets counted as dropped", n)
	}
	must(t, f.Close())
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"}))
	w.nothingLeft(t)
	must(t, Remove(Options{BPFFS: w.bpffs, Name: "bh-test"})) // nothing there: no error
}
