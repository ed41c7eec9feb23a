package flood

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// MaxFor is the longest that a flood lasts.
const MaxFor = 2 * time.Minute

// Flood is what is sent. It ends with its count, its time or its context, whichever is first.
type Flood struct {
	Interface string           // in the network namespace of the thread that calls Run
	MAC       net.HardwareAddr // whom the frames are for, on that wire
	To        netip.AddrPort
	Sources   Sources
	Payloads  [][]byte      // one of them each time; nil: an OPTIONS
	Count     uint64        // packets; 0: no limit
	For       time.Duration // at most MaxFor, which 0 means
	Rate      int           // packets a second; 0: as fast as it goes
	CPU       int           // runs on this CPU only; negative: on any
	Seed      uint64        // of the random numbers, so that a flood can be repeated
}

// Sent is what came of it.
type Sent struct {
	Packets uint64 // handed to the interface
	Refused uint64 // the interface's queue was full
	Took    time.Duration
}

// Sources makes up the source of a packet.
type Sources func(*rand.Rand) netip.AddrPort

// firstPort is the least source port that is made up.
const firstPort = 1024

func anyPort(r *rand.Rand) uint16 { return uint16(firstPort + r.IntN(65536-firstPort)) }

// Within are all addresses of a prefix, with any port.
func Within(p netip.Prefix) Sources {
	p = p.Masked()
	return func(r *rand.Rand) netip.AddrPort { return netip.AddrPortFrom(randomIn(r, p), anyPort(r)) }
}

// randomIn is a random address of a masked prefix.
func randomIn(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		keep := min(8, max(0, p.Bits()-8*i)) // leading bits of this byte that are the prefix's
		b[i] |= byte(r.Uint32()) & byte(0xff>>keep)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Among are the addresses and ports of a list; port 0 means any.
func Among(list ...netip.AddrPort) Sources {
	return func(r *rand.Rand) netip.AddrPort {
		a := list[r.IntN(len(list))]
		if a.Port() == 0 {
			return netip.AddrPortFrom(a.Addr(), anyPort(r))
		}
		return a
	}
}

// Options is an OPTIONS as scanners send it (RFC 3261 §11).
func Options(to netip.AddrPort) []byte {
	return fmt.Appendf(nil, "OPTIONS sip:100@%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKflood;rport\r\n"+
		"From: <sip:100@%[1]s>;tag=flood\r\nTo: <sip:100@%[1]s>\r\nCall-ID: flood\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"+
		"Contact: <sip:100@192.0.2.1>\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n", to)
}

// batch is how many frames one system call sends; burst is the most that a rated flood sends at once, for what waits for the receiver
// on a veth are 256 frames.
const (
	batch = 64
	burst = 32
)

// Run sends, and returns when it is done. Call it on a thread that is in the right network namespace and stays there
// (netns.Namespace.Do).
func (f Flood) Run(ctx context.Context) (Sent, error) {
	if f.Sources == nil || !f.To.IsValid() {
		return Sent{}, errors.New("flood: who sends, and to whom, must be said")
	}
	if f.For == 0 {
		f.For = MaxFor
	}
	if f.For > MaxFor || f.For < 0 {
		return Sent{}, fmt.Errorf("flood: lasts %s, at most %s", f.For, MaxFor)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := pin(f.CPU)
	if err != nil {
		return Sent{}, err
	}
	defer back()
	s, err := openSender(f.Interface)
	if err != nil {
		return Sent{}, err
	}
	defer s.close()
	if err := s.fill(f); err != nil {
		return Sent{}, err
	}
	return s.send(ctx, f)
}

// pin keeps the calling thread on a CPU until back is called.
func pin(cpu int) (back func(), err error) {
	if cpu < 0 {
		return func() {}, nil
	}
	var old, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return nil, fmt.Errorf("flood: asking for the thread's CPUs: %w", err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("flood: going to CPU %d: %w", cpu, err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &old) }, nil
}
