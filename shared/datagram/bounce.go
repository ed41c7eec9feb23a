package datagram

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Bounce is a report of the network about a datagram of ours that it could not deliver (ICMP).
type Bounce struct {
	To    netip.AddrPort // where the datagram was for
	Quote []byte         // how it began; some networks quote no more than its first 8 bytes
	Hard  bool           // host, network, port or protocol can't be reached, or the packet is bad: not one that was too large, or late
}

// WatchBounces has the system keep such reports for Bounced. From then on Send and Receive fail once for each of them, whoever it is
// about: IsBounce tells.
func (s *Socket) WatchBounces() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return ErrClosed
	}
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if s.six {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(s.fd, level, option, 1))
}

// IsBounce reports whether an error of Send or Receive may only be a report about an earlier datagram.
func IsBounce(err error) bool {
	for _, e := range []error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOPROTOOPT, unix.EMSGSIZE, unix.EPROTO, unix.EACCES, unix.EHOSTDOWN, unix.ENONET, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

const maxQuote = 576 // bytes; RFC 1812 §4.3.2.3

// Bounced takes the next report. Without one the error is ErrEmpty.
func (s *Socket) Bounced() (Bounce, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return Bounce{}, ErrClosed
	}
	quote, control := make([]byte, maxQuote), make([]byte, 256)
	n, oobn, _, from, err := unix.Recvmsg(s.fd, quote, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return Bounce{}, ErrEmpty
	case err != nil:
		return Bounce{}, err
	}
	b := Bounce{Quote: quote[:n], Hard: isHard(control[:oobn])}
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		b.To = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		b.To = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return b, nil
}

// isHard reads the type and code of ICMP from a control message (struct sock_extended_err).
func isHard(control []byte) bool {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return false
		}
		control = rest
		four := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		six := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if (four || six) && len(data) >= 16 {
			return hardICMP(binary.NativeEndian.Uint32(data), data[4], data[5], data[6])
		}
	}
	return false
}

// hardICMP is RFC 3261 §18.4: unreachable (RFC 792, RFC 4443), and parameter problem; not what was too large or lived too long.
func hardICMP(errno uint32, origin, kind, code byte) bool {
	switch origin {
	case unix.SO_EE_ORIGIN_ICMP:
		return errno != 0 && (kind == 3 && code != 4 || kind == 12)
	case unix.SO_EE_ORIGIN_ICMP6:
		return errno != 0 && (kind == 1 || kind == 4)
	}
	return false
}
