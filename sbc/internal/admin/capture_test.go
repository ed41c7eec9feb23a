package admin

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/control"
	"brickhouse/shared/verdict"
)

// frame is a UDP packet of a scanner.
func frame(t *testing.T, payload string) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{198, 51, 100, 7}, DstIP: []byte{192, 0, 2, 1}}
	udp := &layers.UDP{SrcPort: 5060, DstPort: 5060}
	b := gopacket.NewSerializeBuffer()
	err := errors.Join(udp.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var capturedAt = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

// capturing is a border whose kernel filter drops some packets, and then what the caller says.
func capturing(t *testing.T, then func(r *http.Request) error) *rig {
	drop := func(reason verdict.Reason, iface, list, payload string) guard.Event {
		f := frame(t, payload)
		return guard.Event{At: capturedAt, Kind: guard.EventDrop, Drop: &guard.Drop{
			Where: "kernel", Source: netip.MustParseAddr("198.51.100.7"), Reason: reason, Interface: iface, List: list, Length: len(f), Head: f}}
	}
	long := drop(verdict.NotSIP, "eth1", "", strings.Repeat("x", 2000))
	long.Drop.Head, long.Lost = long.Drop.Head[:snapLength], 5
	monitored := drop(verdict.NotSIP, "eth0", "", "passed all the same")
	monitored.Drop.Monitored = true
	return streaming(t, "GET /bans/capture", func(r *http.Request, send func(any) error) error {
		for _, e := range []guard.Event{
			drop(verdict.HostBanned, "eth0", "list drop", "first"), monitored, {At: capturedAt, Kind: guard.EventDrop, Drop: &guard.Drop{Where: "user-space", Reason: verdict.SourceHeld}},
			long, drop(verdict.HostBanned, "eth0", "rule logins", "third"),
		} {
			if err := send(e); err != nil {
				return err
			}
		}
		return then(r)
	})
}

func ends(*http.Request) error { return nil }

// A capture can be read by others: packets, times, interfaces and reasons.
func TestCapture(t *testing.T) {
	r := capturing(t, ends)
	path := filepath.Join(t.TempDir(), "drops.pcapng")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old"), 10_000), 0o600); err != nil { // longer than what replaces it
		t.Fatal(err)
	}
	status, out, errs := r.run("ban", "capture", "-w", path)
	if status != 0 || out != "" || errs != "3 packets; 5 more were dropped while this was busy\n" {
		t.Fatalf("%d %q %q", status, out, errs)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ng, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ iface, comment string }{{"eth0", "host-banned (list drop)"}, {"eth1", "not-sip"}, {"eth0", "host-banned (rule logins)"}} {
		data, ci, opts, err := ng.ReadPacketDataWithOptions()
		if err != nil {
			t.Fatal(err)
		}
		iface, err := ng.Interface(ci.InterfaceIndex)
		if err != nil || iface.Name != want.iface || iface.LinkType != layers.LinkTypeEthernet || strings.Join(opts.Comments, "|") != want.comment ||
			!ci.Timestamp.Equal(capturedAt) || ci.CaptureLength != min(ci.Length, snapLength) || len(data) != ci.CaptureLength {
			t.Errorf("number %d: %+v %+v %q %v", i, ci, iface, opts.Comments, err)
		}
		if ip, ok := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default).NetworkLayer().(*layers.IPv4); !ok || ip.SrcIP.String() != "198.51.100.7" {
			t.Errorf("number %d: %x", i, data[:40])
		}
	}
	if _, _, err := ng.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if ng.SectionInfo().Application != "sbc ban capture" {
		t.Errorf("%+v", ng.SectionInfo())
	}
	tshark(t, path)
}

// tshark holds that Wireshark shows the reasons.
func tshark(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Log("no tshark here: only our own reader has read it")
		return
	}
	out, err := exec.Command("tshark", "-n", "-r", path, "-T", "fields", "-e", "ip.src", "-e", "frame.interface_name", "-e", "frame.comment").Output()
	want := "198.51.100.7\teth0\thost-banned (list drop)\n198.51.100.7\teth1\tnot-sip\n198.51.100.7\teth0\thost-banned (rule logins)\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %q\nwant %q", err, out, want)
	}
}

// A capture ends after so many packets, after a time, and holds what was asked for; standard output is a file, too.
func TestCaptureEnds(t *testing.T) {
	r := capturing(t, func(r *http.Request) error { <-r.Context().Done(); return nil })
	for args, want := range map[string]string{
		"-w - --count 2": "2 packets; ", "-w - --count 1 --reason not-sip": "1 packets; ", "-w - --for 300ms --reason port-closed": "0 packets; ",
		"-w - --count 2 --reason not-sip,host-banned": "2 packets; ",
	} {
		status, out, errs := r.run(append([]string{"ban", "capture"}, strings.Fields(args)...)...)
		if status != 0 || !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %q", args, status, errs)
			continue
		}
		ng, err := pcapgo.NewNgReader(strings.NewReader(out), pcapgo.DefaultNgReaderOptions)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		n := 0
		for ; ; n++ {
			if _, _, err = ng.ReadPacketData(); err != nil {
				break
			}
		}
		if !errors.Is(err, io.EOF) || n != int(want[0]-'0') {
			t.Errorf("%s: %d packets, %v", args, n, err)
		}
	}
}

// What is wrong is told, and leaves a file as it was.
func TestWrongCaptures(t *testing.T) {
	r := newRig(t)
	path := r.file("old.pcapng", "old")
	for args, want := range map[string]string{
		"":                             "name the file to write with -w, or - for standard output",
		"x -w -":                       "wrong number of arguments",
		"-w /not/there/x":              "no such file or directory",
		"-w " + t.TempDir():            "is a directory",
		"-w - --count -1":              "--count -1 is no number of packets",
		"-w - --for -1s":               "--for -1s is no length of time",
		"-w - --for soon":              `"soon"`,
		"-w - --reason host-banned,it": `"it" is no reason that the kernel filter drops for; use of bad-packet connection-rate`,
		"-w " + path:                   "there is nothing to capture: no kernel filter drops packets (xdp.mode is off)",
	} {
		r.expectWrong("capture "+args, want)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Errorf("%q %v", text, err)
	}
	broken := capturing(t, func(*http.Request) error { return control.Errorf(http.StatusInternalServerError, "the disk is gone") })
	if status, _, errs := broken.run("ban", "capture", "-w", path); status != 1 || !strings.Contains(errs, "the disk is gone") {
		t.Errorf("%d %q", status, errs)
	}
}
