package transport_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// dialFrom is dialTCP from an address of ours.
func dialFrom(t testing.TB, from string, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// A flood of connections that say nothing, from many addresses, pushes out itself and not those who wait for an answer.
func TestFloodOfSilentConnections(t *testing.T) {
	rec := newRecorder()
	limits := transport.Limits{MaxConnections: 20, MaxStrangers: 6, MaxPerSource: 4}
	i := serve(t, transport.Config{Network: transport.TCP, Limits: limits}, rec)
	honest := dialFrom(t, "127.0.0.1", i.Local())
	write(t, honest, append(request("honest", 1), request("honest", 2)...))
	rec.WaitMessages(t, 2) // the first is noted when the second comes
	from := []string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}
	for n := range 60 {
		dialFrom(t, from[n%len(from)], i.Local())
	}
	rec.Wait(t, "the flood to push out itself", func() bool { return len(rec.Ends())+len(rec.Drops()) == 60-5 })
	for _, d := range rec.Drops() { // before it was even looked at
		if d.Why != verdict.ConnectionLimit {
			t.Fatalf("dropped for %q", d.Why)
		}
	}
	for _, e := range rec.Ends() {
		if e.Why != verdict.ConnectionLimit || e.Flow.Remote().String() == honest.LocalAddr().String() {
			t.Fatalf("%s ended for %q", e.Flow, e.Why)
		}
	}
	if _, strangers := i.ConnectionCounts(); strangers > limits.MaxStrangers {
		t.Errorf("%d strangers", strangers)
	}
	write(t, honest, request("honest", 3))
	rec.WaitMessages(t, 3)
}
