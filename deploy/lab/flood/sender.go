package flood

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr of sendmmsg(2).
type message struct {
	header unix.Msghdr
	sent   uint32
	_      [4]byte
}

// sender is a packet socket with frames that are used again and again.
type sender struct {
	fd       int
	iface    *net.Interface
	frames   []*Frame
	vectors  []unix.Iovec
	messages []message
}

// openSender opens a packet socket that only sends, past the queueing discipline (packet(7)).
func openSender(name string) (*sender, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("flood: interface %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
	if err != nil {
		return nil, fmt.Errorf("flood: opening a packet socket: %w", err)
	}
	s := &sender{fd: fd, iface: i}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index}),
	)
	if err != nil {
		s.close()
		return nil, fmt.Errorf("flood: preparing a packet socket on %s: %w", name, err)
	}
	return s, nil
}

func (s *sender) close() { _ = unix.Close(s.fd) }

// fill builds the frames.
func (s *sender) fill(f Flood) error {
	payloads := f.Payloads
	if len(payloads) == 0 {
		payloads = [][]byte{Options(f.To)}
	}
	n := max(batch, len(payloads))
	s.frames, s.vectors, s.messages = make([]*Frame, n), make([]unix.Iovec, n), make([]message, n)
	for i := range n {
		fr, err := NewFrame(s.iface.HardwareAddr, f.MAC, f.To, payloads[i%len(payloads)])
		if err != nil {
			return fmt.Errorf("flood: %w", err)
		}
		s.frames[i] = fr
		s.vectors[i].Base = &fr.Bytes[0]
		s.vectors[i].SetLen(len(fr.Bytes))
		s.messages[i].header.Iov = &s.vectors[i]
		s.messages[i].header.SetIovlen(1)
	}
	return nil
}

func (s *sender) send(ctx context.Context, f Flood) (out Sent, err error) {
	r := rand.New(rand.NewPCG(f.Seed, 0))
	start := time.Now()
	at := 0
	for {
		out.Took = time.Since(start)
		n := f.due(out)
		if n < 0 || ctx.Err() != nil {
			return out, nil
		}
		if n == 0 {
			// Not time.Sleep: that would wait for other threads of the runtime, which a busy machine lets starve.
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
			continue
		}
		n = min(n, len(s.frames)-at)
		for _, fr := range s.frames[at : at+n] {
			fr.From(f.Sources(r))
		}
		sent, err := s.some(s.messages[at : at+n])
		out.Packets += uint64(sent)
		switch {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			out.Refused++
		case err != nil:
			return out, fmt.Errorf("flood: sending on %s: %w", s.iface.Name, err)
		}
		at = (at + sent) % len(s.frames)
	}
}

// due is how many frames are to be sent now; negative: it is over.
func (f Flood) due(out Sent) int {
	if out.Took >= f.For || f.Count > 0 && out.Packets >= f.Count {
		return -1
	}
	n := batch
	if f.Count > 0 {
		n = int(min(uint64(n), f.Count-out.Packets))
	}
	if f.Rate > 0 {
		owed := out.Took.Seconds()*float64(f.Rate) - float64(out.Packets+out.Refused)
		n = min(n, burst, max(0, int(owed)))
	}
	return n
}

// some sends as many as the interface takes.
func (s *sender) some(m []message) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
