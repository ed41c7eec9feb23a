package transport_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// TestCrowded: whoever opens too many connections is named, each time; who makes room for others is not.
func TestCrowded(t *testing.T) {
	rec := newRecorder()
	named := make(chan netip.AddrPort, 10)
	cfg := transport.Config{
		Network: transport.TCP, Limits: transport.Limits{MaxPerSource: 2, MaxStrangers: 3},
		Crowded: func(_ *transport.Interface, remote netip.AddrPort) { named <- remote },
	}
	i := serve(t, cfg, rec)
	from := func(host byte) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
		c, err := d.Dial("tcp", i.Local().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	one := from(71)
	from(71)
	crowd := from(71) // one makes room
	ends(t, one)
	from(72)
	others := from(73) // the second of 71 makes room: that is nobody's fault
	write(t, others, request("still", 1))
	rec.WaitMessages(t, 1)
	rec.Wait(t, "two connections to make room", func() bool { return len(rec.Ends())+len(rec.Drops()) == 2 })
	close(named)
	var got []string
	for a := range named {
		got = append(got, a.String())
	}
	if len(got) != 1 || got[0] != crowd.LocalAddr().String() {
		t.Errorf("named: %v, want %s", got, crowd.LocalAddr())
	}
}

// TestCrowdedPanics: a panic of the owner ends neither the connection nor the loop that accepts.
func TestCrowdedPanics(t *testing.T) {
	rec := newRecorder()
	cfg := transport.Config{
		Network: transport.TCP, Limits: transport.Limits{MaxPerSource: 1},
		Crowded: func(*transport.Interface, netip.AddrPort) { panic("test") },
	}
	i := serve(t, cfg, rec)
	first := dialTCP(t, i.Local())
	second := dialTCP(t, i.Local())
	ends(t, first)
	write(t, second, request("after", 1))
	rec.WaitMessages(t, 1)
}

// TestWhoseHandshakeFailed: a peer that does not take our certificate is told from one that speaks no TLS, and neither is blamed
// for a fault of ours.
func TestWhoseHandshakeFailed(t *testing.T) {
	for name, c := range map[string]struct {
		dial func(*testing.T, *transport.Interface, *authority)
		want verdict.Reason
	}{
		"plain text": {func(t *testing.T, i *transport.Interface, _ *authority) {
			write(t, dialTCP(t, i.Local()), request("plain", 1))
		}, verdict.HandshakeFailed},
		"silence": {func(t *testing.T, i *transport.Interface, _ *authority) { dialTCP(t, i.Local()) }, verdict.HandshakeFailed},
		"gone": {func(t *testing.T, i *transport.Interface, _ *authority) {
			_ = dialTCP(t, i.Local()).Close()
		}, verdict.HandshakeFailed},
		"old version": {func(t *testing.T, i *transport.Interface, ca *authority) {
			refusedTLS(t, i, &tls.Config{RootCAs: ca.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		}, verdict.HandshakeFailed},
		"unknown authority, 1.3": {func(t *testing.T, i *transport.Interface, _ *authority) {
			refusedTLS(t, i, &tls.Config{MinVersion: tls.VersionTLS13})
		}, verdict.CertificateRefused},
		"unknown authority, 1.2": {func(t *testing.T, i *transport.Interface, _ *authority) {
			refusedTLS(t, i, &tls.Config{MaxVersion: tls.VersionTLS12})
		}, verdict.CertificateRefused},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newRecorder()
			limits := transport.Limits{} // a handshake may take its time on a busy machine
			if name == "silence" {
				limits = quickly()
			}
			i, ca, _ := tlsInterface(t, rec, &tls.Config{}, transport.Config{Limits: limits})
			c.dial(t, i, ca)
			rec.Wait(t, "the drop", func() bool { return len(rec.Drops()) == 1 })
			if d := rec.Drops()[0]; d.Why != c.want || !d.Remote.IsValid() {
				t.Errorf("dropped %v for %q, want %q", d.Remote, d.Why, c.want)
			}
		})
	}
	rec := newRecorder()
	i := serve(t, transport.Config{Network: transport.TLS, TLS: func() *tls.Config { return nil }}, rec)
	dialTCP(t, i.Local())
	rec.Wait(t, "the drop", func() bool { return len(rec.Drops()) == 1 })
	if why := rec.Drops()[0].Why; why != verdict.Internal {
		t.Errorf("without a certificate of ours: %q", why)
	}
}

// refusedTLS makes a handshake that must fail.
func refusedTLS(t *testing.T, i *transport.Interface, cfg *tls.Config) {
	t.Helper()
	if c, err := dialTLS(t, i, cfg); err == nil {
		t.Errorf("handshake with %s succeeds", c.RemoteAddr())
	}
}
