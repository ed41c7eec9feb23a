package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"brickhouse/shared/verdict"
)

// bindTCP opens the listening socket.
func (i *Interface) bindTCP() error {
	network := "tcp4"
	if i.cfg.Listen.Addr().Is6() && !i.cfg.Listen.Addr().Is4In6() {
		network = "tcp6"
	}
	i.wildcard = i.cfg.Listen.Addr().IsUnspecified()
	l, err := net.Listen(network, i.cfg.Listen.String())
	if err != nil {
		return i.bindError(i.cfg.Listen, err)
	}
	i.listener = l.(*net.TCPListener)
	i.local = unmapped(l.Addr().(*net.TCPAddr).AddrPort())
	return nil
}

// bindError says who has the address, if that can be told.
func (i *Interface) bindError(at netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		who := holder(i.cfg.Network, at)
		if who == "" {
			who = "another program"
		}
		return fmt.Errorf("interface %q: listening on %s %s: held by %s; stop that one, or choose another port: %w", i.cfg.Name, i.cfg.Network, at, who, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("interface %q: listening on %s %s: this machine has no such address; name one that it has: %w", i.cfg.Name, i.cfg.Network, at, err)
	}
	return fmt.Errorf("interface %q: listening on %s %s: %w", i.cfg.Name, i.cfg.Network, at, err)
}

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// acceptLoop takes connections until the listener is closed. No other error ends it: if we are out of descriptors, the
// oldest stranger makes room.
func (i *Interface) acceptLoop() {
	wait := acceptPauseMin
	for {
		conn, err := i.listener.AcceptTCP()
		if err == nil {
			wait = acceptPauseMin
			i.admit(conn)
			continue
		}
		if isClosed(err) || i.closing.Load() {
			return
		}
		i.dropped(netip.AddrPort{}, acceptReason(err), nil)
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			if victim, ok := i.conns.oldest(); ok {
				victim.abort(verdict.ConnectionLimit)
			}
		}
		i.pause(wait)
		wait = min(2*wait, acceptPauseMax)
	}
}

// acceptReason names an error of accept: out of resources, or a peer that gave up in between.
func acceptReason(err error) verdict.Reason {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, e) {
			return verdict.ConnectionLimit
		}
	}
	return verdict.TransportFailure
}

// admit checks the source and the caps of a new connection and starts its reader.
func (i *Interface) admit(conn *net.TCPConn) {
	remote := unmapped(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	if v := i.accept(remote); !v.OK() {
		reset(conn)
		i.dropped(remote, v.Reason, nil)
		return
	}
	s := newStream(i, conn, false)
	victim, evicted, ok := i.conns.admit(s, remote.Addr())
	if evicted != nobody {
		victim.abort(verdict.ConnectionLimit)
	}
	if evicted == ofSource {
		i.crowded(remote)
	}
	if !ok {
		reset(conn)
		i.dropped(remote, verdict.ConnectionLimit, nil)
		return
	}
	if !i.spawn(func() { s.guard(remote, func() { i.serveStream(s, remote) }) }) {
		i.conns.remove(s)
		reset(conn)
	}
}

// reset closes a connection that we owe nothing, without keeping its state in the kernel.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// serveStream is the goroutine of an accepted connection: handshake and upgrade, then reading.
func (i *Interface) serveStream(s *stream, remote netip.AddrPort) {
	if err := i.welcome(s); err != nil {
		s.end(handshakeReason(err))
		s.mu.Lock()
		why := s.why // an eviction or a shutdown came first, perhaps
		s.mu.Unlock()
		_ = s.tcp.Close()
		i.conns.remove(s)
		i.log.Debug("connection failed", "remote", remote.String(), "error", err)
		i.dropped(remote, why, nil)
		return
	}
	if i.cfg.TrustHandshake {
		s.trust()
	}
	s.read()
}

// welcome does the handshake, the upgrade to a WebSocket, and opens the flow.
func (i *Interface) welcome(s *stream) error {
	deadline := time.Now().Add(i.cfg.Limits.HandshakeTimeout)
	if i.cfg.Network.overTLS() {
		cfg := i.cfg.TLS()
		if cfg == nil {
			return ErrNoTLS
		}
		if err := s.handshake(context.Background(), tls.Server(newQuickConn(s.tcp), cfg)); err != nil {
			return err
		}
	}
	if i.cfg.Network.webSocket() {
		if err := s.upgrade(deadline); err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
		s.heart = newHeart(i.cfg.Limits.PingInterval, time.Now())
	}
	if s.isEnding() {
		return ErrClosed
	}
	return s.open(i.cfg.Network)
}

// handshakeReason names why a handshake failed: by our fault, because the peer does not take our certificate, or else by the
// peer's fault. An outdated certificate of ours must not look like an attack by everybody.
func handshakeReason(err error) verdict.Reason {
	switch {
	case errors.Is(err, ErrNoTLS):
		return verdict.Internal
	case errors.Is(err, ErrClosed):
		return verdict.Shutdown
	}
	var refused *upgradeError
	if errors.As(err, &refused) {
		return refused.why
	}
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == "remote error" && alert.Err != nil {
		switch alert.Err.Error() { // crypto/tls does not export its alerts
		case "tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate",
			"tls: unknown certificate", "tls: unknown certificate authority":
			return verdict.CertificateRefused
		}
	}
	return verdict.HandshakeFailed
}
