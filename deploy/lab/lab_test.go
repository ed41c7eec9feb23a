package lab

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPlansAreValid(t *testing.T) {
	if err := plan().Validate(); err != nil {
		t.Error(err)
	}
	seen := map[netip.Addr]string{}
	for _, h := range loopbackPlan(99, 252).Hosts {
		for _, l := range h.Links {
			for _, a := range l.Addrs {
				if !a.IsLoopback() || seen[a] != "" {
					t.Errorf("%s has %s, which is %q's or not loopback", h.Name, a, seen[a])
				}
				seen[a] = h.Name
			}
		}
	}
}

// Each host reaches its neighbours and nobody across the border; a host's address is what its peer sees.
func TestWhoReachesWhom(t *testing.T) {
	l := New(t)
	serve := func(h *Host, at netip.AddrPort) {
		t.Helper()
		var ln net.Listener
		if err := h.Do(func() (err error) { ln, err = net.Listen("tcp", at.String()); return err }); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096)) // the request; closing with it unread would reset the connection
				_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n"+c.RemoteAddr().String())
				c.Close()
			}
		}()
	}
	border, inside := l.DMZ.Port(l.Internet, 80), l.Exchange.Port(l.Core, 80)
	border6 := netip.AddrPortFrom(l.DMZ.Addr6(), 80)
	serve(l.DMZ, border)
	serve(l.DMZ, border6)
	serve(l.Exchange, inside)
	for _, c := range []struct {
		from *Host
		to   netip.AddrPort
		as   netip.Addr // invalid: not reached
	}{
		{l.Remote, border, l.Remote.Addr()}, {l.Attacker, border, l.Attacker.Addr()}, {l.Carrier, border6, l.Carrier.Addr6()},
		{l.DMZ, inside, l.DMZ.Addr(l.Core)}, {l.Vault, inside, l.Vault.Addr()},
		{l.Remote, inside, netip.Addr{}}, {l.Desk, border, netip.Addr{}}, {l.Desk, inside, netip.Addr{}},
	} {
		res, err := c.from.HTTP().Get("http://" + c.to.String())
		if (err == nil) != c.as.IsValid() {
			t.Errorf("%s to %s: %v", c.from.Name, c.to, err)
		}
		if err == nil {
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if as, _ := netip.ParseAddrPort(string(b)); as.Addr() != c.as {
				t.Errorf("%s is seen as %s, want %s", c.from.Name, b, c.as)
			}
		}
	}
}

func TestManyAddressesAndCables(t *testing.T) {
	l := New(t)
	extra := netip.MustParseAddr("198.18.66.2")
	l.Attacker.AddAddr(extra)
	if got := l.Attacker.Addrs(); got[len(got)-1] != extra {
		t.Errorf("addresses %v", got)
	}
	var ln net.Listener
	if err := l.Attacker.Do(func() (err error) { ln, err = net.Listen("tcp", extra.String()+":99"); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	at := netip.AddrPortFrom(extra, 99)
	dial := func() error {
		c, err := l.Remote.Dial("tcp", at)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	l.Attacker.Unplug(l.Internet)
	if err := l.Remote.Do(func() error {
		c, err := net.DialTimeout("tcp", at.String(), 300*time.Millisecond)
		if err == nil {
			c.Close()
		}
		return err
	}); err == nil {
		t.Error("reached without a cable")
	}
	l.Attacker.Plug(l.Internet)
	if err := dial(); err != nil {
		t.Errorf("after plugging in again: %v", err)
	}
}

func TestLoopbackSources(t *testing.T) {
	l := NewLoopback(t)
	at := l.DMZ.Port(l.Internet, 5061)
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := l.Remote.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if from := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); from != l.Remote.Addr() {
		t.Errorf("came from %s, want the host's own %s", from, l.Remote.Addr())
	}
	if l.Namespaced() || l.DMZ.Enter() != "" || l.DMZ.Addr6().IsValid() {
		t.Error("loopback pretends to be namespaces")
	}
}

// The assertions about a wire must be able to fail.
func TestCaptureAssertions(t *testing.T) {
	f := &fake{T: t}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	l := New(f)
	wire := l.Internet.Capture()
	ln := listenUDP(t, l.DMZ, l.DMZ.Port(l.Internet, 5060))
	c, err := l.Remote.Dial("udp", l.DMZ.Port(l.Internet, 5060))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "OPTIONS sip:x SIP/2.0\r\nbrickhouse-realm: access\r\nVia: 198.19.0.10\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	if _, _, err := ln.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if n := len(wire.Peek()); n == 0 {
		t.Error("a running capture shows nothing")
	}
	fails(t, f, "Brickhouse-", func() { wire.HoldsNo("Brickhouse-") })
	fails(t, f, "198.19.0.10", func() { wire.HoldsNoHost(l.Exchange.Addrs()...) })
	fails(t, f, "a packet from 198.18.1.1", func() { wire.HoldsNoHost(l.Remote.Addr()) })
	fails(t, f, "a packet from", func() { wire.OnlyHosts(l.DMZ.Addrs()...) })
	fails(t, f, "nowhere on wire inet", func() { wire.Holds("INVITE") })
	fails(t, f, "got 0 and sent 0", func() { wire.HoldsMedia(l.Remote, 1) })
	wire.Holds("OPTIONS sip:x")
	wire.HoldsNo("X-Secret")
	wire.HoldsNoHost(l.Vault.Addrs()...)
	wire.OnlyHosts(append(l.DMZ.Addrs(), l.Remote.Addrs()...)...)
	wire.HoldsNoPlainAudio()
	if len(f.errors) > 0 {
		t.Errorf("reported %s", strings.Join(f.errors, "\n"))
	}
}

func listenUDP(t *testing.T, h *Host, at netip.AddrPort) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := h.Do(func() (err error) { c, err = net.ListenPacket("udp", at.String()); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// A client of a host follows no name into the world outside.
func TestHTTPWantsLiterals(t *testing.T) {
	l := NewLoopback(t)
	if res, err := l.Remote.HTTP().Do(mustRequest(t, "http://example.org/")); err == nil {
		res.Body.Close()
		t.Error("a name was resolved")
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
