package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sh is a program for trying out the runner.
func sh(script string) Program { return Program{Name: "sh", Path: "sh", Args: []string{"-c", script}} }

func TestProcessLife(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		p := sh(`echo ready; while read -r line; do echo "heard $line"; done; echo bye`)
		p.Input, p.Ready = true, Says(`^ready`)
		proc := l.Remote.Run(p)
		proc.Say("one")
		proc.Say("two")
		heard := regexp.MustCompile(`heard (\w+)`)
		for _, want := range []string{"one", "two"} {
			if m := proc.WaitLine(heard, patience); m[1] != want {
				t.Errorf("heard %q, want %q", m[1], want)
			}
		}
		if !proc.Running() || proc.RSS() <= 0 {
			t.Error("does not run")
		}
		proc.Kill()
		if proc.Running() {
			t.Error("runs after kill -9")
		}
		if code := proc.Wait(patience); code != -int(syscall.SIGKILL) {
			t.Errorf("exit code %d after kill -9", code)
		}
		pid := proc.Pid()
		proc.Start()
		if proc.Pid() == pid {
			t.Error("not started again")
		}
		proc.Say("three")
		proc.WaitLine(regexp.MustCompile(`heard three`), patience)
		if code := proc.Stop(); code != -int(syscall.SIGTERM) {
			t.Errorf("exit code %d after stop", code)
		}
		if got := strings.Count(proc.Output(), "ready"); got != 2 {
			t.Errorf("the output holds %d starts, want both", got)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", proc.Pid())); err == nil {
			t.Error("still in /proc")
		}
	})
}

func TestProcessEnvironment(t *testing.T) {
	l := NewLoopback(t)
	p := sh(`echo "$COLOUR in $(pwd)"; exit 3`)
	p.Env, p.Dir = []string{"COLOUR=red"}, l.Dir
	proc := l.Desk.Run(p)
	if code := proc.Wait(patience); code != 3 {
		t.Errorf("exit code %d", code)
	}
	if got := proc.Output(); got != "red in "+l.Dir+"\n" {
		t.Errorf("said %q", got)
	}
}

// What a test is told when a program does not do its part.
func TestProcessFailures(t *testing.T) {
	f := &fake{T: t}
	l := NewLoopback(f)
	notReady := sh(`echo broken; exit 1`)
	notReady.Ready = Says(`ready`)
	fails(t, f, "ended before it was ready: exit status 1\n  | broken", func() { l.Remote.Run(notReady) })

	slow := sh(`echo thinking; exec sleep 600`)
	slow.Ready, slow.ReadyWithin = Says(`ready`), 200*time.Millisecond
	fails(t, f, "to be ready\n  | thinking", func() { l.Remote.Run(slow) })

	fails(t, f, "no/such/program", func() { l.Remote.Run(Program{Path: "/no/such/program"}) })

	deaf := sh(`trap '' TERM; echo ready; while :; do sleep 1; done`)
	deaf.Ready = Says(`ready`)
	proc := l.Remote.Run(deaf)
	fails(t, f, "did not end within 10 s of terminated", func() { proc.Stop() })
	if proc.Running() {
		t.Error("a deaf program survived")
	}

	quiet := l.Remote.Run(sh(`echo done`))
	fails(t, f, `before it said "more"`, func() { quiet.WaitLine(regexp.MustCompile(`more`), patience) })

	racy := l.Remote.Run(sh(`echo 'panic: runtime error: index out of range'`))
	racy.Wait(patience)
	fails(t, f, "panic: runtime error", racy.cleanup)
}

func TestListening(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		at := l.DMZ.Port(l.Internet, 5061)
		var mine *net.TCPListener
		err := l.DMZ.Do(func() (err error) {
			mine, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		other := l.DMZ.Run(sh(`exec sleep 600`))
		if Listening("tcp", at)(other) {
			t.Error("took our own socket for the program's")
		}
		// SIPp opens what it is told to, in a process of its own.
		sipp := l.DMZ.SIPp(SIPp{Scenario: "uas"})
		udp := l.DMZ.Port(l.Internet, 5060)
		for _, c := range []struct {
			network string
			at      netip.AddrPort
			want    bool
		}{
			{"udp", udp, true}, {"tcp", udp, false}, {"udp", at, false}, {"udp", netip.AddrPortFrom(l.DMZ.Addr(l.Core), udp.Port()), false},
		} {
			if got := Listening(c.network, c.at)(sipp.Process); got != c.want {
				t.Errorf("%s %s: %v", c.network, c.at, got)
			}
		}
	})
}

func TestParseSockets(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:13C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
   2: 00000000000000000000000001000000:13C5 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713
   3: nonsense
   4: 0100:13C4 00000000:0000 0A 0:0 0:0 0 0 0 4714 1
`
	got := parseSockets(table)
	want := []socket{
		{netip.MustParseAddrPort("127.0.0.1:5060"), 0x0a, "4711"},
		{netip.MustParseAddrPort("0.0.0.0:5060"), 0x07, "4712"},
		{netip.MustParseAddrPort("[::1]:5061"), 0x0a, "4713"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i, c := range []struct {
		network, at string
		want        bool
	}{
		{"tcp", "127.0.0.1:5060", true}, {"udp", "198.18.0.1:5060", true}, {"tcp", "[::1]:5061", true},
	} {
		if s := got[i]; !s.serves(c.network, netip.MustParseAddrPort(c.at)) {
			t.Errorf("%v does not serve %s %s", s, c.network, c.at)
		}
	}
	if got[0].serves("udp", got[0].local) || got[1].serves("tcp", got[1].local) || got[0].serves("tcp", netip.MustParseAddrPort("127.0.0.2:5060")) {
		t.Error("serves what it should not")
	}
}

func TestOutputForgetsTheOldest(t *testing.T) {
	var o output
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 12 << 10 { // 12 MiB
		if _, err := o.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if o.len() != 12<<20 || len(o.from(0)) > outputLimit+outputLimit/4 || len(o.from(0)) < outputLimit {
		t.Errorf("wrote %d, keeps %d", o.len(), len(o.from(0)))
	}
	fmt.Fprint(&o, "the end")
	m, end := o.match(regexp.MustCompile(`the (end)`), 12<<20)
	if len(m) != 2 || m[1] != "end" || end != o.len() {
		t.Errorf("match %q ends at %d of %d", m, end, o.len())
	}
	if m, _ := o.match(regexp.MustCompile(`the`), end); m != nil {
		t.Error("matched twice")
	}
	if got := o.from(o.len() + 5); len(got) != 0 {
		t.Errorf("from beyond the end: %q", got)
	}
}
