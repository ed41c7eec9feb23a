// Package datagram is UDP at the least cost: sockets that are read and written by system calls which never wait, and a Poller that
// reads very many of them on one goroutine. Package net keeps, for each socket, a goroutine with its stack and buffers and tells Go's
// scheduler about each call; at four sockets a call that was most of what a call costs us.
package datagram

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errors of a socket. Test with errors.Is.
var (
	ErrEmpty  = errors.New("nothing has arrived") // Receive: the Poller will tell when there is
	ErrFull   = unix.EAGAIN                       // Send: the system has no room now
	ErrClosed = net.ErrClosed
)

// Socket is one bound UDP socket. It is safe for concurrent use.
type Socket struct {
	port uint16
	six  bool

	lent bool // fd is a net.UDPConn's

	mu sync.RWMutex // held for reading over each call on fd: a number that was closed may be another's by the next call
	fd int          // -1: closed
}

// Open binds a socket to an address and port. prepare, which may be nil, sets options before.
func Open(at netip.AddrPort, prepare func(fd int)) (*Socket, error) {
	s := &Socket{port: at.Port(), six: at.Addr().Is6() && !at.Addr().Is4In6()}
	family := unix.AF_INET
	if s.six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if s.six {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if prepare != nil {
		prepare(fd)
	}
	var name address
	name.set(at, s.six)
	if _, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&name.raw)), name.size(s.six)); errno != 0 {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", errno)
	}
	s.fd = fd
	return s, nil
}

// Borrow makes a Socket of one of package net's, to send by and to receive from without waiting. It must be closed first.
func Borrow(c *net.UDPConn) (*Socket, error) {
	at, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, net.ErrClosed
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{port: uint16(at.Port), six: at.IP.To4() == nil, lent: true}
	err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	return s, err
}

// Port returns the port that the socket is bound to, as it was asked for.
func (s *Socket) Port() uint16 { return s.port }

// Close closes the socket. A second call does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	var err error
	if !s.lent {
		err = unix.Close(s.fd)
	}
	s.fd = -1
	return err
}

// Send sends one datagram. It never waits: where the system has no room the datagram is lost, with an error.
func (s *Socket) Send(b []byte, to netip.AddrPort) error {
	var name address
	if !name.set(to, s.six) {
		return fmt.Errorf("sending to %s: %w", to, unix.EAFNOSUPPORT)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return ErrClosed
	}
	if errno := sendto(s.fd, b, &name, s.six); errno != 0 {
		return fmt.Errorf("sending to %s: %w", to, errno)
	}
	return nil
}

// Receive takes one datagram into b; what does not fit is cut off. It never waits: without one the error is ErrEmpty.
func (s *Socket) Receive(b []byte) (n int, from netip.AddrPort, err error) {
	var name address
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return 0, from, ErrClosed
	}
	n, errno := recvfrom(s.fd, b, &name)
	switch errno {
	case 0:
		return n, name.get(), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, from, ErrEmpty
	}
	return 0, from, errno
}

func sendto(fd int, b []byte, name *address, six bool) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&name.raw)), name.size(six))
	return errno
}

func recvfrom(fd int, b []byte, name *address) (int, unix.Errno) {
	size := uint32(unsafe.Sizeof(name.raw))
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&name.raw)), uintptr(unsafe.Pointer(&size)))
	return int(n), errno
}

// address is a socket address as the system has it. The larger one has the smaller one's family and port in the same places.
type address struct{ raw unix.RawSockaddrInet6 }

func (a *address) size(six bool) uintptr {
	if six {
		return unix.SizeofSockaddrInet6
	}
	return unix.SizeofSockaddrInet4
}

// set reports whether the socket's family has such an address.
func (a *address) set(at netip.AddrPort, six bool) bool {
	ip := at.Addr()
	port := (*[2]byte)(unsafe.Pointer(&a.raw.Port))
	port[0], port[1] = byte(at.Port()>>8), byte(at.Port())
	if !six {
		ip = ip.Unmap()
		if !ip.Is4() {
			return false
		}
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		in4.Family, in4.Addr = unix.AF_INET, ip.As4()
		return true
	}
	if !ip.Is6() || ip.Is4In6() {
		return false
	}
	a.raw.Family, a.raw.Addr = unix.AF_INET6, ip.As16()
	if zone := ip.Zone(); zone != "" {
		a.raw.Scope_id = scope(zone)
	}
	return true
}

// scope is the number of an interface, by its name or number.
func scope(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

func (a *address) get() netip.AddrPort {
	raw := (*[2]byte)(unsafe.Pointer(&a.raw.Port))
	port := uint16(raw[0])<<8 | uint16(raw[1])
	if a.raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw)).Addr), port)
	}
	ip := netip.AddrFrom16(a.raw.Addr).Unmap()
	if ip.IsLinkLocalUnicast() && a.raw.Scope_id != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(a.raw.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, port)
}
