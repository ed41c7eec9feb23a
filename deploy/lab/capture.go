package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"brickhouse/deploy/lab/netns"
	"brickhouse/deploy/lab/pcap"
	"brickhouse/shared/tone"
)

// Capture is all that goes over a wire from the moment it was asked for.
type Capture struct {
	wire    *Wire
	t       TB
	file    string
	proc    *Process // nil where capturing is not allowed
	packets []pcap.Packet
	done    bool
}

// Capture begins to record the wire, on its bridge: also what a host's kernel drops is seen. On loopback without root it
// sees nothing, and its assertions pass: they are for the namespaces.
func (w *Wire) Capture() *Capture {
	l := w.lab
	l.t.Helper()
	c := &Capture{wire: w, t: l.t, file: filepath.Join(l.Dir, fmt.Sprintf("%s-%d.pcap", w.Name, serial(l, w.Name)))}
	if os.Geteuid() != 0 {
		l.t.Logf("lab: no capture of %s: needs root", w.Name)
		return c
	}
	iface, filter, ns := w.Name, []string{}, netns.Namespace("")
	if l.net != nil {
		ns = l.net.Wires()
	} else { // one loopback for all wires: told apart by their addresses
		iface, filter = "lo", []string{"net", w.Prefix.Masked().String()}
	}
	h := &Host{Name: w.Name, lab: l, ns: ns}
	c.proc = h.Run(Program{
		Name: "tcpdump", Path: "tcpdump", StopSignal: syscall.SIGINT, Ready: Says(`listening on`),
		Args: append([]string{"-i", iface, "-w", c.file, "-U", "--immediate-mode", "-s", "0", "-B", "32768", "-n", "-Z", "root"}, filter...),
	})
	return c
}

// serial numbers files of one kind in a run.
func serial(l *Lab, kind string) int {
	names, _ := filepath.Glob(filepath.Join(l.Dir, kind+"-*"))
	return len(names) + 1
}

var droppedRE = regexp.MustCompile(`(\d+) packets? dropped by kernel`)

// Stop ends the recording and reads it. The assertions do it by themselves.
func (c *Capture) Stop() []pcap.Packet {
	c.t.Helper()
	if c.done || c.proc == nil {
		return c.packets
	}
	c.packets = c.Peek()
	c.done = true
	c.proc.Stop()
	if m := droppedRE.FindStringSubmatch(c.proc.Output()); m == nil || m[1] != "0" {
		c.t.Errorf("lab: capture of %s is not whole: %s", c.wire.Name, c.proc.Tail(4))
	}
	return c.packets
}

// Peek is all that went over the wire before now. tcpdump works behind its socket's buffer: a mark is sent and waited for.
func (c *Capture) Peek() []pcap.Packet {
	c.t.Helper()
	if c.done || c.proc == nil {
		return c.packets
	}
	mark, err := c.wire.mark()
	if err != nil {
		c.t.Fatalf("lab: %v", err)
	}
	var file []byte
	eventually(c.t, patience, func() string { return fmt.Sprintf("a mark in %s\n%s", c.file, c.proc.Tail(4)) }, func() bool {
		file, err = os.ReadFile(c.file)
		return err == nil && bytes.Contains(file, []byte(mark))
	})
	frames, err := pcap.ReadFrames(bytes.NewReader(file))
	if err != nil && !errors.Is(err, pcap.ErrTruncated) {
		c.t.Fatalf("lab: reading %s: %v", c.file, err)
	}
	packets := make([]pcap.Packet, 0, len(frames))
	for _, f := range frames {
		if !bytes.Contains(f.Data, []byte(markPrefix)) {
			packets = append(packets, pcap.Decode(f))
		}
	}
	return packets
}

// HoldsNo asserts that none of the texts (any case) stands in any packet or, across packets, in any TCP stream. Use it
// with inside addresses, names and header names. It says nothing about what is encrypted: there, ask the phone's trace.
func (c *Capture) HoldsNo(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		if where := find(c.Stop(), text); where != "" {
			c.t.Errorf("lab: %q is on wire %s: %s", text, c.wire.Name, where)
		}
	}
}

// Holds asserts that the text (any case) stands somewhere in clear: the counter-proof of HoldsNo.
func (c *Capture) Holds(text string) {
	c.t.Helper()
	if packets := c.Stop(); c.proc != nil && find(packets, text) == "" {
		c.t.Errorf("lab: %q is nowhere on wire %s (%d packets)", text, c.wire.Name, len(packets))
	}
}

// find tells where a text stands, or "".
func find(packets []pcap.Packet, text string) string {
	needle := []byte(strings.ToLower(text))
	for i := range packets {
		p := &packets[i]
		if at := bytes.Index(bytes.ToLower(p.Payload), needle); at >= 0 {
			return fmt.Sprintf("from %s to %s: …%q…", p.Src, p.Dst, around(p.Payload, at))
		}
	}
	for _, s := range pcap.Streams(packets) {
		if at := bytes.Index(bytes.ToLower(s.Data), needle); at >= 0 {
			return fmt.Sprintf("in the stream from %s to %s: …%q…", s.Src, s.Dst, around(s.Data, at))
		}
	}
	return ""
}

func around(b []byte, at int) []byte { return b[max(0, at-60):min(len(b), at+100)] }

// HoldsNoHost asserts that no packet comes from or goes to the addresses and that they are not written in any either.
func (c *Capture) HoldsNoHost(addrs ...netip.Addr) {
	c.t.Helper()
	for _, p := range c.Stop() {
		for _, a := range addrs {
			if p.Src.Addr() == a || p.Dst.Addr() == a {
				c.t.Errorf("lab: a packet from %s to %s is on wire %s", p.Src, p.Dst, c.wire.Name)
				return
			}
		}
	}
	for _, a := range addrs {
		c.HoldsNo(a.String())
	}
}

// OnlyHosts asserts that everything on the wire is between these addresses: nobody calls home. Multicast and link-local
// addresses, with which IPv6 keeps its house, are not counted.
func (c *Capture) OnlyHosts(addrs ...netip.Addr) {
	c.t.Helper()
	known := func(a netip.Addr) bool {
		return !a.IsValid() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified() || slices.Contains(addrs, a)
	}
	for _, p := range c.Stop() {
		if !known(p.Src.Addr()) || !known(p.Dst.Addr()) {
			c.t.Errorf("lab: a packet from %s to %s is on wire %s", p.Src, p.Dst, c.wire.Name)
			return
		}
	}
}

// Flows are the RTP and SRTP flows on the wire.
func (c *Capture) Flows() []pcap.Flow { c.t.Helper(); return pcap.Flows(c.Stop()) }

// HoldsNoPlainAudio asserts that nobody can listen: no packet has audible sound.
func (c *Capture) HoldsNoPlainAudio() {
	c.t.Helper()
	for _, f := range c.Flows() {
		if f.Clear > 0 {
			c.t.Errorf("lab: %d of %d packets from %s to %s on wire %s are in clear: %s", f.Clear, f.Packets, f.Src, f.Dst, c.wire.Name, f.Why)
		}
	}
}

// HoldsNoPlainRTCP asserts that the host sends no RTCP in clear. It is asked of one host: baresip 1.0.0 itself sends an
// APP packet before its SRTCP has begun and a BYE after it has ended.
func (c *Capture) HoldsNoPlainRTCP(from *Host) {
	c.t.Helper()
	for _, p := range c.Stop() {
		if p.Proto == pcap.UDP && slices.Contains(from.Addrs(), p.Src.Addr()) && pcap.RTCPInClear(p.Payload) {
			c.t.Errorf("lab: RTCP in clear from %s to %s on wire %s", p.Src, p.Dst, c.wire.Name)
			return
		}
	}
}

// HoldsMedia asserts that at least n packets of RTP or SRTP went each way between somebody and the host. On loopback
// only what it got is counted: there a program may send from 127.0.0.1.
func (c *Capture) HoldsMedia(h *Host, n int) {
	c.t.Helper()
	if c.proc == nil {
		return
	}
	in, out := 0, 0
	for _, f := range c.Flows() {
		if slices.Contains(h.Addrs(), f.Dst.Addr()) {
			in += f.Packets
		}
		if slices.Contains(h.Addrs(), f.Src.Addr()) {
			out += f.Packets
		}
	}
	if c.wire.lab.net == nil {
		out = in
	}
	if in < n || out < n {
		c.t.Errorf("lab: %s got %d and sent %d media packets on wire %s, want %d each", h.Name, in, out, c.wire.Name, n)
	}
}

// Sound is what plain G.711 sent to a host sounds like: the last half second of the flow with the most packets. It is
// how one listens to a program that cannot record, such as SIPp.
func (c *Capture) Sound(to *Host) tone.Result {
	c.t.Helper()
	var best pcap.Flow
	for _, f := range c.Flows() {
		if slices.Contains(to.Addrs(), f.Dst.Addr()) && f.Packets > best.Packets {
			best = f
		}
	}
	var pcm []int16
	for _, p := range c.Stop() {
		if p.Src != best.Src || p.Dst != best.Dst {
			continue
		}
		if r, ok := pcap.ParseRTP(p.Payload); ok && r.SSRC == best.SSRC && (r.PayloadType == 0 || r.PayloadType == 8) {
			law := tone.MuLaw
			if r.PayloadType == 8 {
				law = tone.ALaw
			}
			pcm = law.Decode(pcm, r.Payload)
		}
	}
	return tone.Measure(pcm[max(0, len(pcm)-window):])
}
