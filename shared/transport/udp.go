package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"brickhouse/shared/datagram"
	"brickhouse/shared/verdict"
)

// bindUDP opens the sockets. The first binds alone, so that an address in use is found out; then SO_REUSEPORT is set on
// it and the others join. The kernel keeps each remote on one of them, so the order per flow holds.
func (i *Interface) bindUDP() error {
	network := "udp4"
	if i.cfg.Listen.Addr().Is6() && !i.cfg.Listen.Addr().Is4In6() {
		network = "udp6"
	}
	i.wildcard = i.cfg.Listen.Addr().IsUnspecified()
	at := i.cfg.Listen
	for n := range i.cfg.Limits.Readers {
		lc := net.ListenConfig{}
		if n > 0 {
			lc.Control = setReusePort
		}
		pc, err := lc.ListenPacket(context.Background(), network, at.String())
		if err != nil {
			i.closeUDP()
			return i.bindError(at, err)
		}
		c := pc.(*net.UDPConn)
		quick, err := datagram.Borrow(c)
		if err != nil {
			_ = c.Close()
			i.closeUDP()
			return i.bindError(at, err)
		}
		socket := &udpSocket{UDPConn: c, quick: quick}
		i.udp = append(i.udp, socket)
		if n == 0 {
			at = unmapped(c.LocalAddr().(*net.UDPAddr).AddrPort())
			i.local = at
		}
		if err := errors.Join(i.prepareUDP(c), i.watchBounces(socket)); err != nil {
			i.closeUDP()
			return fmt.Errorf("interface %q: setting up %s: %w", i.cfg.Name, at, err)
		}
	}
	return nil
}

// prepareUDP sets the options of a bound socket.
func (i *Interface) prepareUDP(c *net.UDPConn) error {
	_ = c.SetReadBuffer(i.cfg.Limits.ReceiveBuffer) // the kernel caps it at net.core.rmem_max; less is no failure
	if i.cfg.Limits.Readers > 1 {
		rc, err := c.SyscallConn()
		if err != nil {
			return err
		}
		if err := setReusePort("", "", rc); err != nil {
			return err
		}
	}
	if !i.wildcard {
		return nil
	}
	// RFC 3261 §18.2.2: the response leaves from where the request arrived; a wildcard socket has to be told where that was.
	if i.cfg.Listen.Addr().Is4() {
		return ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true)
	}
	return ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
}

// setReusePort lets several sockets of ours share the address.
func setReusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, failed)
}

// udpSocket is a socket with the way round package net's waiting.
type udpSocket struct {
	*net.UDPConn
	quick *datagram.Socket
}

// Close closes the socket.
func (u *udpSocket) Close() error {
	_ = u.quick.Close()
	return u.UDPConn.Close()
}

func (i *Interface) closeUDP() {
	for _, c := range i.udp {
		_ = c.Close()
	}
	i.udp = nil
}

// udpFlow makes the flow between our address and remote.
func (i *Interface) udpFlow(local netip.Addr, remote netip.AddrPort) *Flow {
	return &Flow{iface: i, network: UDP, remote: remote, local: netip.AddrPortFrom(local, i.local.Port())}
}

const readPause = time.Millisecond // after an error of reading

// readUDP reads one socket until it is closed. No other error ends it.
func (i *Interface) readUDP(c *udpSocket) {
	if i.wildcard {
		i.readWildcard(c)
		return
	}
	wait, err := c.SyscallConn()
	if err != nil {
		return // closed
	}
	var n int
	var remote netip.AddrPort
	var fault error
	buf := make([]byte, i.cfg.Limits.MaxDatagram+1)
	receive := func(uintptr) bool {
		n, remote, fault = c.quick.Receive(buf)
		return !errors.Is(fault, datagram.ErrEmpty)
	}
	for {
		if err := wait.Read(receive); err != nil || isClosed(fault) {
			return
		}
		if fault != nil {
			i.faulty(c, remote, fault)
			continue
		}
		i.datagram(i.local.Addr(), remote, buf[:n], false)
	}
}

// readWildcard reads a socket that is bound to all addresses: each datagram comes with the one that it was sent to.
func (i *Interface) readWildcard(c *udpSocket) {
	buf := make([]byte, i.cfg.Limits.MaxDatagram+1)
	oob := make([]byte, 128)
	for {
		n, oobn, flags, remote, err := c.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			if isClosed(err) {
				return
			}
			i.faulty(c, unmapped(remote), err)
			continue
		}
		local := i.local.Addr()
		if to, ok := arrivalAddr(oob[:oobn]); ok {
			local = to
		}
		i.datagram(local, unmapped(remote), buf[:n], flags&unix.MSG_TRUNC != 0)
	}
}

// datagram screens one datagram and delivers it.
func (i *Interface) datagram(local netip.Addr, remote netip.AddrPort, data []byte, truncated bool) {
	defer i.recovered(remote, data)
	if v := i.accept(remote); !v.OK() {
		i.dropped(remote, v.Reason, data)
		return
	}
	if isKeepAlive(data) {
		return // RFC 5626 §3.5.1: nothing to answer on UDP
	}
	if truncated || len(data) > i.cfg.Limits.MaxDatagram {
		i.dropped(remote, verdict.Oversize, data)
		return
	}
	f := i.udpFlow(local, remote)
	if i.cfg.Registered != nil {
		f.meter.size = len(data)
	}
	if IsSTUN(data) {
		i.stun(f, data)
		return
	}
	if !looksLikeSIP(data) {
		i.dropped(remote, verdict.NotSIP, data)
		return
	}
	i.deliver(f, data)
}

// isKeepAlive reports whether a datagram only holds a NAT binding open: nothing, line ends, or up to four NULs.
func isKeepAlive(data []byte) bool {
	if len(data) > 4 {
		return false
	}
	for _, c := range data {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}

// looksLikeSIP is the cheapest test there is: a SIP message begins with a character of token (RFC 3261 §25.1).
func looksLikeSIP(data []byte) bool { return len(data) > 0 && isTokenByte(data[0]) }

// sendUDP writes one datagram from local to remote.
func (i *Interface) sendUDP(local netip.Addr, remote netip.AddrPort, b []byte) error {
	if len(b) > maxUDPPayload {
		return fmt.Errorf("sending %d bytes to %s: %w", len(b), remote, ErrTooLarge)
	}
	if len(i.udp) == 0 {
		return fmt.Errorf("sending to %s: %w", remote, ErrClosed)
	}
	if err := i.writeUDP(i.udp[0], local, remote, b); err != nil {
		if isClosed(err) {
			err = ErrClosed
		}
		return fmt.Errorf("sending to %s: %w", remote, err)
	}
	return nil
}

const maxUDPPayload = 65507 // 65535 less the IPv4 and UDP headers

// arrivalAddr reads from a control message to which address of ours a datagram was sent.
func arrivalAddr(oob []byte) (netip.Addr, bool) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return netip.Addr{}, false
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[4:8])), true // struct in_pktinfo: ifindex, spec_dst, addr
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16])), true // struct in6_pktinfo: addr, ifindex
		}
		oob = rest
	}
	return netip.Addr{}, false
}

// sourceControl makes the control message that chooses the source address of a datagram.
func sourceControl(local netip.Addr) []byte {
	if local.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}

// sourceFor asks the kernel's routes from which address remote is reached; fallback if there is no route.
func sourceFor(remote netip.AddrPort, fallback netip.Addr) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote)) // sends nothing
	if err != nil {
		return fallback
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
}

// unmapped turns an IPv4-mapped address into the IPv4 one.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// pause waits, but not longer than the interface lives.
func (i *Interface) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-i.stop:
	}
}
