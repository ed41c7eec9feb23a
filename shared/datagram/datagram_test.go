package datagram

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// open binds a socket to a free port of host.
func open(t testing.TB, host string) (*Socket, netip.AddrPort) {
	t.Helper()
	for range 20 {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Skipf("no %s here: %v", host, err)
		}
		at := c.LocalAddr().(*net.UDPAddr).AddrPort()
		_ = c.Close()
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		if s, err := Open(at, nil); err == nil {
			t.Cleanup(func() { _ = s.Close() })
			return s, at
		}
	}
	t.Fatal("no free port")
	return nil, netip.AddrPort{}
}

// receive waits for a datagram.
func receive(t testing.TB, s *Socket, b []byte) (int, netip.AddrPort) {
	t.Helper()
	for range 5000 {
		n, from, err := s.Receive(b)
		if err == nil {
			return n, from
		}
		if !errors.Is(err, ErrEmpty) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nothing arrived")
	return 0, netip.AddrPort{}
}

func TestSendAndReceive(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		a, atA := open(t, host)
		b, atB := open(t, host)
		buf := make([]byte, 100)
		if _, _, err := b.Receive(buf); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: with nothing there: %v", host, err)
		}
		if err := a.Send([]byte("hello"), atB); err != nil {
			t.Fatal(err)
		}
		n, from := receive(t, b, buf)
		if string(buf[:n]) != "hello" || from != atA {
			t.Errorf("%s: got %q from %s, want it from %s", host, buf[:n], from, atA)
		}
		if err := a.Send(nil, atB); err != nil {
			t.Fatal(err)
		}
		if n, _ := receive(t, b, buf); n != 0 {
			t.Errorf("%s: an empty datagram has %d bytes", host, n)
		}
	}
}

func TestAnotherFamilyIsRefused(t *testing.T) {
	a, _ := open(t, "127.0.0.1")
	if err := a.Send([]byte("x"), netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Error("IPv6 from an IPv4 socket")
	}
}

func TestPortInUseIsToldAsSuch(t *testing.T) {
	_, at := open(t, "127.0.0.1")
	if _, err := Open(at, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second socket on %s: %v", at, err)
	}
}

func TestClosedSocket(t *testing.T) {
	s, at := open(t, "127.0.0.1")
	_ = s.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Send([]byte("x"), at); !errors.Is(err, ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if _, _, err := s.Receive(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Receive: %v", err)
	}
}

func TestPollerTellsOfEachSocketUntilItIsRemoved(t *testing.T) {
	for _, gather := range []time.Duration{0, time.Millisecond} {
		t.Run(gather.String(), func(t *testing.T) { pollerTells(t, gather) })
	}
}

func pollerTells(t *testing.T, gather time.Duration) {
	p, err := NewPoller(gather)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(p.Run)
	defer running.Wait()
	defer p.Close() //nolint:errcheck // ends Run
	from, _ := open(t, "127.0.0.1")
	const sockets = 200
	told := make(chan int, sockets)
	keys, at, all := make([]uint64, sockets), make([]netip.AddrPort, sockets), make([]*Socket, sockets)
	for i := range sockets {
		s, where := open(t, "127.0.0.1")
		at[i], all[i] = where, s
		buf := make([]byte, 10)
		if keys[i], err = p.Add(s, func(bool) {
			if _, _, err := s.Receive(buf); err == nil {
				told <- i
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		for i := range sockets {
			if err := from.Send([]byte("x"), at[i]); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[int]bool{}
		for range sockets {
			select {
			case i := <-told:
				seen[i] = true
			case <-time.After(10 * time.Second):
				t.Fatalf("round %d: %d of %d sockets were told of", round, len(seen), sockets)
			}
		}
		if len(seen) != sockets {
			t.Errorf("round %d: %d of %d sockets were told of", round, len(seen), sockets)
		}
	}
	p.Remove(all[0], keys[0])
	_ = from.Send([]byte("x"), at[0])
	_ = from.Send([]byte("x"), at[1])
	if got := <-told; got != 1 {
		t.Errorf("told of socket %d after it was removed", got)
	}
}

// A place that was given back is taken again, and what the kernel still says about the socket before is not told of the new one.
func TestPollerReusesPlaces(t *testing.T) {
	p, err := NewPoller(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	seen := map[uint64]bool{}
	for range 1000 {
		s, _ := open(t, "127.0.0.1")
		key, err := p.Add(s, func(bool) {})
		if err != nil {
			t.Fatal(err)
		}
		if seen[key] {
			t.Fatalf("key %x twice", key)
		}
		seen[key] = true
		p.Remove(s, key)
		p.Remove(s, key) // twice does nothing
		_ = s.Close()
	}
	if n := len(*p.slots.Load()); n > 64 {
		t.Errorf("%d places for one socket at a time", n)
	}
}

func TestAddOfAClosedSocket(t *testing.T) {
	p, err := NewPoller(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s, _ := open(t, "127.0.0.1")
	_ = s.Close()
	if _, err := p.Add(s, func(bool) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	a, at := open(t, "127.0.0.1")
	b, buf := make([]byte, 100), make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		if err := a.Send(b, at); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.Receive(buf); err != nil && !errors.Is(err, ErrEmpty) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a datagram", n)
	}
}

func BenchmarkDatagram(b *testing.B) {
	s, at := open(b, "127.0.0.1")
	msg, buf := make([]byte, 172), make([]byte, 2000)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(msg, at); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.Receive(buf); err != nil {
			b.Fatal(err)
		}
	}
}
