package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// DialConfig describes a connection without a listener, such as the core link.
type DialConfig struct {
	Name      string         // what logs and counters call it
	Network   Network        // TCP or TLS
	Remote    netip.AddrPort // whom to call
	TLS       *tls.Config    // for TLS; build it with ClientTLS
	Bind      netip.Addr     // local address; the zero value lets the kernel choose
	Advertise string         // as in Config
	Limits    Limits
}

// Dial opens a connection that belongs to no listener. The flow's Interface is its own. ctx bounds the dialling only.
func Dial(ctx context.Context, cfg DialConfig, h Handler) (*Flow, error) {
	i, err := NewVirtual(Config{Name: cfg.Name, Network: cfg.Network, Advertise: cfg.Advertise, Limits: cfg.Limits}, h)
	if err != nil {
		return nil, err
	}
	i.single = true
	f, err := i.connect(ctx, dialKey{remote: cfg.Remote}, cfg.Bind, cfg.TLS)
	if err != nil {
		i.writers.Close()
		return nil, err
	}
	return f, nil
}

// dialKey names a connection that we opened: two trunks behind one address keep their own TLS names and certificates.
type dialKey struct {
	remote netip.AddrPort
	name   string
}

// dialing is a connection being opened, or open.
type dialing struct {
	done chan struct{} // closed when flow or err is set
	flow *Flow
	err  error
}

// Dial returns the live connection that this interface opened to remote, or opens one. What arrives on it goes to the
// same Handler. It is for TCP and TLS; the local address is the interface's, the port is the kernel's.
func (i *Interface) Dial(ctx context.Context, remote netip.AddrPort) (*Flow, error) {
	var cfg *tls.Config
	if i.cfg.Network == TLS {
		if i.cfg.ClientTLS != nil {
			cfg = i.cfg.ClientTLS(remote)
		}
		if cfg == nil {
			return nil, fmt.Errorf("dialling %s: %w", remote, ErrNoTLS)
		}
	}
	return i.dialShared(ctx, dialKey{remote: remote}, cfg)
}

// DialTLS is Dial with a TLS configuration of the caller's; connections are shared only under the same name.
func (i *Interface) DialTLS(ctx context.Context, remote netip.AddrPort, name string, cfg *tls.Config) (*Flow, error) {
	if cfg == nil {
		return nil, fmt.Errorf("dialling %s: %w", remote, ErrNoTLS)
	}
	return i.dialShared(ctx, dialKey{remote: remote, name: name}, cfg)
}

// dialShared lets several callers wait for one connection.
func (i *Interface) dialShared(ctx context.Context, key dialKey, cfg *tls.Config) (*Flow, error) {
	i.mu.Lock()
	d := i.dials[key]
	if d != nil && d.dead() {
		d = nil
	}
	if d == nil {
		if len(i.dials) >= i.cfg.Limits.MaxConnections {
			i.mu.Unlock()
			return nil, fmt.Errorf("dialling %s: too many connections", key.remote)
		}
		d = &dialing{done: make(chan struct{})}
		i.dials[key] = d
		go i.dialInto(d, key, cfg) // ends by its own deadline
	}
	i.mu.Unlock()
	select {
	case <-d.done:
		return d.flow, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("dialling %s: %w", key.remote, ctx.Err())
	}
}

// dead reports whether the connection was opened and has ended, or failed.
func (d *dialing) dead() bool {
	select {
	case <-d.done:
	default:
		return false
	}
	if d.err != nil {
		return true
	}
	select {
	case <-d.flow.Closed():
		return true
	default:
		return false
	}
}

// dialInto opens the connection for all who wait; its deadline does not depend on who asked first.
func (i *Interface) dialInto(d *dialing, key dialKey, cfg *tls.Config) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	var bind netip.Addr
	if !i.wildcard && i.local.IsValid() {
		bind = i.local.Addr()
	}
	d.flow, d.err = i.connect(ctx, key, bind, cfg)
	if d.err != nil {
		i.forgetDial(key, d)
	}
	close(d.done)
}

const dialTimeout = 10 * time.Second

// forgetDial removes d from the table, if it is still the one there.
func (i *Interface) forgetDial(key dialKey, d *dialing) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dials[key] == d {
		delete(i.dials, key)
	}
}

// connect opens a connection and starts its reader.
func (i *Interface) connect(ctx context.Context, key dialKey, bind netip.Addr, cfg *tls.Config) (*Flow, error) {
	if i.cfg.Network != TCP && i.cfg.Network != TLS {
		return nil, fmt.Errorf("dialling %s: %s has no connections", key.remote, i.cfg.Network)
	}
	if i.cfg.Network == TLS && cfg == nil {
		return nil, fmt.Errorf("dialling %s: %w", key.remote, ErrNoTLS)
	}
	var d net.Dialer
	if bind.IsValid() && !bind.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: bind.AsSlice(), Zone: bind.Zone()}
	}
	conn, err := d.DialContext(ctx, "tcp", key.remote.String())
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", key.remote, err)
	}
	s := newStream(i, conn.(*net.TCPConn), true)
	if cfg != nil {
		if err := s.handshake(ctx, tls.Client(newQuickConn(s.tcp), cfg)); err != nil {
			_ = s.tcp.Close()
			return nil, err
		}
	}
	if err := s.open(i.cfg.Network); err != nil {
		_ = s.tcp.Close()
		return nil, fmt.Errorf("dialling %s: %w", key.remote, err)
	}
	ended := func() {
		i.forgetFlow(key, s.flow)
		if i.single {
			i.writers.Close()
		}
	}
	if !i.spawn(func() { s.guard(key.remote, s.read); ended() }) {
		i.unregister(s.flow)
		_ = s.tcp.Close()
		return nil, fmt.Errorf("dialling %s: %w", key.remote, ErrClosed)
	}
	return s.flow, nil
}

// forgetFlow removes an ended connection from the table of dialled ones.
func (i *Interface) forgetFlow(key dialKey, f *Flow) {
	i.mu.Lock()
	d := i.dials[key]
	i.mu.Unlock()
	if d == nil {
		return
	}
	<-d.done
	if d.flow == f {
		i.forgetDial(key, d)
	}
}
