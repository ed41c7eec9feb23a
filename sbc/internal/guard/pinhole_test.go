package guard

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

func TestParseRanges(t *testing.T) {
	for in, want := range map[string]string{
		"": "[]", "\n": "[]", "5060": "[5060]", "1-4,9\n": "[1 2 3 4 9]", "9,1-2": "[1 2 9]", "65534-65535": "[65534 65535]", "7-7": "[7]", "8-7": "[]",
		"x": "[]", "1-x": "[]", "70000": "[]", "-1": "[]", "1,,2": "[1 2]", "0-1": "[0 1]",
	} {
		if got := fmt.Sprint(slices.Sorted(maps.Keys(parseRanges(in)))); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if n := len(parseRanges("0-65535")); n != math.MaxUint16+1 {
		t.Errorf("%d ports", n)
	}
}

// Media ports that the system may take for others are told, with the remedy; reserved ones are none.
func TestEphemeral(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for _, tc := range []struct {
		media              PortRange
		ephemeral, reserve string
		want               string
	}{
		{PortRange{16384, 32767}, "32768\t60999\n", "", ""},
		{PortRange{16384, 32768}, "32768\t60999\n", "\n", "the system takes 32768 to 32768 for itself, too; run: sysctl net.ipv4.ip_local_reserved_ports=32768-32768"},
		{PortRange{40000, 40999}, "32768\t60999\n", "\n", "the system takes 40000 to 40999 for itself, too; run: sysctl net.ipv4.ip_local_reserved_ports=40000-40999"},
		{PortRange{40000, 40999}, "32768\t60999\n", "5060,40000-40999\n", ""},
		{PortRange{40000, 40999}, "32768\t60999\n", "40000-40998\n", "reserved_ports=40000-40999"},
		{PortRange{40000, 65535}, "1024\t65535\n", "40000-65535", ""},
		{PortRange{60000, 65535}, "32768\t60999\n", "60000-60999", ""},
		{PortRange{}, "32768\t60999\n", "", ""},
	} {
		got, err := ephemeral(tc.media, file("range", tc.ephemeral), file("reserved", tc.reserve))
		if err != nil || !strings.HasSuffix(got, tc.want) || (got == "") != (tc.want == "") {
			t.Errorf("%v of %q, reserved %q: %q %v", tc.media, tc.ephemeral, tc.reserve, got, err)
		}
	}
	for _, text := range []string{"", "x y", "1", "70000 80000"} {
		if _, err := ephemeral(PortRange{1, 2}, file("range", text), "/nosuch"); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ephemeral(PortRange{1, 2}, "/nosuch", "/nosuch"); err == nil {
		t.Error("no file, and no error")
	}
	if got, err := ephemeral(PortRange{1, 2}, file("range", "1 9"), "/nosuch"); err != nil || got == "" {
		t.Errorf("%q %v", got, err) // as if none were reserved
	}
}

// A media port is closed until a call opens it, and closed again; other ports are none of it; who is never banned passes.
func TestRootPinholes(t *testing.T) {
	w := newWire(t)
	cfg := onWire(w.bpffs)
	ports := Ports{Media: PortRange{16384, 16387}}
	g := open(t, cfg, Options{Ports: ports})
	defer g.Detach()
	media := listen(t, "10.99.0.1:16384")
	hears := func() bool { return w.hearsOn(t, media, "10.99.0.2") }
	if hears() {
		t.Error("a closed port is heard")
	}
	if r := g.Test(addr("10.99.0.2"), 16384, false); r.Reason != verdict.PortClosed || r.Where != whereKernel {
		t.Errorf("%+v", r)
	}
	if n := kernelDrops(t, g, verdict.PortClosed); n != 1 {
		t.Errorf("%d drops counted", n)
	}
	g.OpenPort(16384)
	if !hears() {
		t.Error("an open port is not heard")
	}
	if r := g.Test(addr("10.99.0.2"), 16384, false); r.Outcome != "pass" || !contains(r.Steps, "media port 16384: a call uses it") {
		t.Errorf("%+v", r)
	}
	if r := g.Test(addr("10.99.0.2"), 16385, false); r.Outcome != "drop: port-closed" {
		t.Errorf("its neighbour: %+v", r)
	}
	g.ClosePort(16384)
	if hears() {
		t.Error("a port that was closed again is heard")
	}
	must(t, g.SetAllow("friends", Single(addr("10.99.0.2"))))
	if !hears() {
		t.Error("who is never banned is not heard")
	}
	must(t, g.Close())
	g.OpenPort(16384) // after the end: no harm

	ports.Media = PortRange{40000, 40003} // the system's own
	g = open(t, cfg, Options{Ports: ports})
	defer g.Detach()
	s, err := g.Stats()
	must(t, err)
	if !strings.Contains(s.Unguarded, "ip_local_reserved_ports=40000-40003") {
		t.Errorf("nothing is said of it: %q", s.Unguarded)
	}
	media = listen(t, "10.99.0.1:40000")
	if !hears() {
		t.Error("a port that can't be guarded is closed")
	}
	if r := g.Test(addr("10.99.0.2"), 40000, false); r.Outcome != "pass" || !contains(r.Steps, "media port 40000: not closed in the kernel") {
		t.Errorf("%+v", r)
	}
	must(t, g.Close())

	ports.Media = PortRange{16384, 16387}
	for own, heard := range map[string]bool{"10.99.0.7": true, "10.99.0.1": false, "0.0.0.0": false} {
		ports.Own = []netip.Addr{addr(own)}
		g = open(t, cfg, Options{Ports: ports})
		if media = listen(t, "10.99.0.1:16386"); hears() != heard {
			t.Errorf("media arrive at %s: heard at 10.99.0.1 is %v", own, !heard)
		}
		media.Close()
		must(t, g.Detach())
	}

	cfg.Pinholes, ports.Media = false, PortRange{16384, 16387}
	g = open(t, cfg, Options{Ports: ports})
	defer g.Detach()
	media = listen(t, "10.99.0.1:16385")
	if !hears() {
		t.Error("without pinholes a port is closed")
	}
	if r := g.Test(addr("10.99.0.2"), 16385, false); r.Outcome != "pass" {
		t.Errorf("%+v", r)
	}
}

// hearsOn reports whether a socket of the border hears src; the witness, to another port, is sent after it on the same wire.
func (w *wire) hearsOn(t *testing.T, c *net.UDPConn, src string) bool {
	t.Helper()
	to := c.LocalAddr().(*net.UDPAddr).AddrPort()
	_, err := w.outside[src].WriteToUDPAddrPort([]byte("media"), to)
	must(t, err)
	w.expect(t, "10.99.0.4", true)
	must(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond))) // what passed is there already
	_, err = c.Read(make([]byte, 100))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}
