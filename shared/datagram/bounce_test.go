package datagram

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deadPort is a port that nobody has.
func deadPort(t testing.TB, host string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("no %s here: %v", host, err)
	}
	defer c.Close()
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// bounce waits for a report.
func bounce(t testing.TB, s *Socket) Bounce {
	t.Helper()
	for range 5000 {
		b, err := s.Bounced()
		if err == nil {
			return b
		}
		if !errors.Is(err, ErrEmpty) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no report came")
	return Bounce{}
}

func TestBounced(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		s, _ := open(t, host)
		if err := s.WatchBounces(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Bounced(); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: with nothing there: %v", host, err)
		}
		dead := deadPort(t, host)
		if err := s.Send([]byte("INVITE"), dead); err != nil {
			t.Fatal(err)
		}
		if b := bounce(t, s); b.To != dead || string(b.Quote) != "INVITE" || !b.Hard {
			t.Errorf("%s: %+v, want one about %s", host, b, dead)
		}
		if _, _, err := s.Receive(make([]byte, 10)); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: the report was taken, and Receive fails: %v", host, err)
		}
	}
}

// A report fails one call, which is not the one that it is about, and says so.
func TestBounceFailsOneCall(t *testing.T) {
	s, _ := open(t, "127.0.0.1")
	other, at := open(t, "127.0.0.1")
	if err := s.WatchBounces(); err != nil {
		t.Fatal(err)
	}
	if err := s.Send([]byte("x"), deadPort(t, "127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 5000 {
		if err = s.Send([]byte("y"), at); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !IsBounce(err) {
		t.Fatalf("sending after a report: %v", err)
	}
	for {
		if _, err := s.Bounced(); err != nil {
			break
		}
	}
	if err := s.Send([]byte("z"), at); err != nil {
		t.Errorf("sending again: %v", err)
	}
	buf := make([]byte, 10)
	for string(buf[:1]) != "z" {
		receive(t, other, buf)
	}
	if IsBounce(ErrClosed) || IsBounce(unix.EAGAIN) || IsBounce(nil) {
		t.Error("other errors are taken for reports")
	}
}

func TestHardICMP(t *testing.T) {
	for _, c := range []struct {
		origin, kind, code byte
		want               bool
	}{
		{unix.SO_EE_ORIGIN_ICMP, 3, 3, true}, {unix.SO_EE_ORIGIN_ICMP, 3, 1, true}, {unix.SO_EE_ORIGIN_ICMP, 3, 13, true},
		{unix.SO_EE_ORIGIN_ICMP, 12, 0, true}, {unix.SO_EE_ORIGIN_ICMP, 3, 4, false}, {unix.SO_EE_ORIGIN_ICMP, 11, 0, false},
		{unix.SO_EE_ORIGIN_ICMP, 4, 0, false}, {unix.SO_EE_ORIGIN_ICMP6, 1, 4, true}, {unix.SO_EE_ORIGIN_ICMP6, 2, 0, false},
		{unix.SO_EE_ORIGIN_ICMP6, 3, 0, false}, {unix.SO_EE_ORIGIN_ICMP6, 4, 1, true}, {unix.SO_EE_ORIGIN_LOCAL, 3, 3, false},
	} {
		if got := hardICMP(uint32(unix.ECONNREFUSED), c.origin, c.kind, c.code); got != c.want {
			t.Errorf("origin %d type %d code %d: %v", c.origin, c.kind, c.code, got)
		}
	}
	if isHard(nil) || isHard([]byte{1, 2, 3}) {
		t.Error("no control message, and a report is read from it")
	}
}
