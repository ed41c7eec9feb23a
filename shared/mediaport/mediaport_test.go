package mediaport

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

var loopback = netip.MustParseAddr("127.0.0.1")

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func pool(t *testing.T, lo, hi uint16) (*Pool, *clock) {
	t.Helper()
	c := &clock{time.Unix(1000, 0)}
	p, err := New(Config{Min: lo, Max: hi, Rest: 30 * time.Second, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

func TestPairIsEvenAndNext(t *testing.T) {
	p, _ := pool(t, 11001, 11099)
	pair, err := p.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	rtp, rtcp := pair.RTP.LocalAddr().(*net.UDPAddr).Port, pair.RTCP.LocalAddr().(*net.UDPAddr).Port
	if rtp%2 != 0 || rtcp != rtp+1 || rtp != int(pair.Port) {
		t.Errorf("ports %d and %d, pair says %d", rtp, rtcp, pair.Port)
	}
	if rtp < 11002 || rtcp > 11099 {
		t.Errorf("ports %d, %d outside the range", rtp, rtcp)
	}
}

func TestPortsRestAndComeBack(t *testing.T) {
	p, c := pool(t, 11100, 11103) // two pairs
	first, err := p.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := p.Open(loopback); !errors.Is(err, ErrExhausted) {
		t.Fatalf("third pair of two: %v", err)
	}
	first.Close()
	first.Close()
	if free, used, resting := p.Count(loopback); free != 0 || used != 1 || resting != 1 {
		t.Errorf("after close: free %d used %d resting %d", free, used, resting)
	}
	c.now = c.now.Add(4 * time.Second)
	if _, err := p.Open(loopback); !errors.Is(err, ErrExhausted) {
		t.Fatalf("the only port was given again after 4 s: %v", err)
	}
	c.now = c.now.Add(time.Second)
	again, err := p.Open(loopback)
	if err != nil {
		t.Fatalf("after the rest: %v", err)
	}
	defer again.Close()
	if again.Port != first.Port {
		t.Errorf("got port %d, only %d was free", again.Port, first.Port)
	}
}

// TestRestIsKeptWhileOthersAreFree: the early wake is for the case that nothing else is left.
func TestRestIsKeptWhileOthersAreFree(t *testing.T) {
	p, c := pool(t, 11220, 11223)
	first, err := p.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	c.now = c.now.Add(29 * time.Second)
	second, err := p.Open(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.Port == first.Port {
		t.Errorf("port %d was given again after 29 s although another was free", first.Port)
	}
}

func TestForeignSocketIsSkipped(t *testing.T) {
	foreign, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 11201})
	if err != nil {
		t.Fatalf("port 11201 is taken on this machine: %v", err)
	}
	defer foreign.Close()
	p, _ := pool(t, 11200, 11203)
	pair, err := p.Open(loopback) // 11200's RTCP port is the foreign one
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	if pair.Port != 11202 {
		t.Errorf("got %d", pair.Port)
	}
	if _, err := p.Open(loopback); !errors.Is(err, ErrExhausted) {
		t.Errorf("want exhausted, got %v", err)
	}
}

func TestAddressThatIsNotOurs(t *testing.T) {
	p, _ := pool(t, 11300, 11309)
	if _, err := p.Open(netip.MustParseAddr("192.0.2.1")); err == nil || errors.Is(err, ErrExhausted) {
		t.Errorf("want the system's error, got %v", err)
	}
}

func TestIPv6(t *testing.T) {
	p, _ := pool(t, 11400, 11499)
	pair, err := p.Open(netip.IPv6Loopback())
	if err != nil {
		t.Fatalf("opening on ::1: %v", err)
	}
	pair.Close()
}

func TestWholeRangeIsUsed(t *testing.T) {
	seen := map[uint16]bool{}
	for range 400 {
		p, _ := pool(t, 40000, 40019)
		port, _ := p.take(loopback)
		seen[port] = true
	}
	if len(seen) != 10 {
		t.Errorf("400 first choices hit %d of 10 pairs", len(seen))
	}
}

func TestBadRange(t *testing.T) {
	for _, r := range [][2]uint16{{0, 100}, {100, 100}, {101, 102}, {200, 100}} {
		if _, err := New(Config{Min: r[0], Max: r[1]}); err == nil {
			t.Errorf("range %d–%d was accepted", r[0], r[1])
		}
	}
	if _, err := New(Config{Min: 65534, Max: 65535}); err != nil {
		t.Errorf("the last pair: %v", err)
	}
}

// What the system has no more of is a full house to callers, not a fault.
func TestOutOfFiles(t *testing.T) {
	p, _ := pool(t, 11001, 11099)
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		tries := 0
		err := p.open(loopback, &lot{}, func(uint16) error {
			tries++
			return &net.OpError{Op: "listen", Err: os.NewSyscallError("socket", e)}
		})
		if !errors.Is(err, ErrExhausted) || !errors.Is(err, e) || tries != 1 {
			t.Errorf("%v after %d tries", err, tries)
		}
	}
}
