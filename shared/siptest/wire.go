package siptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"brickhouse/shared/siptest/ladder"
)

// Deadlines and bounds of the sockets.
const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 5 * time.Second
	maxFlows     = 1024
)

var errClosed = errors.New("phone is closed")

// ErrNoConnection is reported when connecting or the TLS handshake failed.
var ErrNoConnection = errors.New("no connection")

// flow is what messages to and from one remote address travel over: one connection, or the UDP socket.
type flow struct {
	network       Transport
	local, remote netip.AddrPort
	conn          net.Conn // nil for UDP
	udp           *net.UDPConn
	log           *ladder.Log
	closed        chan struct{} // closed by the reader when a connection ends; nil for UDP
}

// send writes one message and puts it into the ladder.
func (f *flow) send(b []byte) error {
	f.record(b, true)
	return f.write(b)
}

// write writes bytes as they are, past the ladder.
func (f *flow) write(b []byte) error {
	var err error
	if f.conn != nil {
		f.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err = f.conn.Write(b)
	} else {
		_, err = f.udp.WriteToUDPAddrPort(b, f.remote)
	}
	if err != nil {
		return fmt.Errorf("sending to %s %s: %w", f.network, f.remote, err)
	}
	return nil
}

func (f *flow) record(b []byte, sent bool) {
	first, _, _ := strings.Cut(string(b), "\r\n")
	f.log.Add(ladder.Message{Time: time.Now(), Sent: sent, Network: string(f.network), Local: f.local, Remote: f.remote,
		FirstLine: first, Text: string(b)})
}

// wire holds a phone's sockets and reads from them.
type wire struct {
	cfg     Config
	log     *ladder.Log
	receive func(*flow, []byte) // called on the reader's goroutine; must not block

	udp   *net.UDPConn
	ln    net.Listener
	local netip.AddrPort // of the UDP socket or the listener; port 0 if the phone only dials

	mu     sync.Mutex
	flows  map[netip.AddrPort]*flow // connections by remote address
	closed bool
	wg     sync.WaitGroup
}

// openWire binds what the configuration asks for and starts to read.
func openWire(cfg Config, log *ladder.Log, receive func(*flow, []byte)) (*wire, error) {
	w := &wire{cfg: cfg, log: log, receive: receive, flows: make(map[netip.AddrPort]*flow),
		local: netip.AddrPortFrom(cfg.Bind, 0)}
	at := netip.AddrPortFrom(cfg.Bind, cfg.Port)
	err := cfg.Within(func() (err error) {
		switch {
		case cfg.Transport == UDP:
			w.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		case cfg.Listen:
			w.ln, err = net.Listen("tcp", at.String())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s socket of %s: %w", cfg.Transport, cfg.Name, err)
	}
	if w.udp != nil {
		w.local = addrPort(w.udp.LocalAddr())
		w.wg.Go(w.readUDP)
	}
	if w.ln != nil {
		w.local = addrPort(w.ln.Addr())
		w.wg.Go(w.accept)
	}
	return w, nil
}

func addrPort(a net.Addr) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(a.String()) // TCP and UDP addresses always have this form
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// to is the flow to a remote address: the live connection, a new one, or the UDP socket.
func (w *wire) to(ctx context.Context, remote netip.AddrPort) (*flow, error) {
	if w.cfg.Transport == UDP {
		return w.udpFlow(remote), nil
	}
	w.mu.Lock()
	f := w.flows[remote]
	w.mu.Unlock()
	if f != nil {
		return f, nil
	}
	conn, err := w.dial(ctx, remote)
	if err != nil {
		return nil, err
	}
	return w.adopt(conn)
}

func (w *wire) udpFlow(remote netip.AddrPort) *flow {
	return &flow{network: UDP, local: w.local, remote: remote, udp: w.udp, log: w.log}
}

// dial connects from the phone's address, with the TLS handshake done.
func (w *wire) dial(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return dialStream(ctx, w.cfg, remote)
}

func dialStream(ctx context.Context, cfg Config, remote netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.Bind, 0))}
	var conn net.Conn
	err := cfg.Within(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp", remote.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w to %s %s: %w", ErrNoConnection, cfg.Transport, remote, err)
	}
	if cfg.Transport.secure() {
		if conn, err = secure(ctx, cfg, conn, remote); err != nil {
			return nil, err
		}
	}
	if cfg.Transport.webSocket() {
		return openWebSocket(ctx, cfg, conn)
	}
	return conn, nil
}

// secure does the TLS handshake.
func secure(ctx context.Context, cfg Config, conn net.Conn, remote netip.AddrPort) (net.Conn, error) {
	tc := cfg.TLS.Clone()
	if tc.ServerName == "" {
		tc.ServerName = remote.Addr().String()
		if host, _, err := net.SplitHostPort(cfg.Server); err == nil {
			tc.ServerName = host
		}
	}
	out := tls.Client(conn, tc)
	if err := out.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: TLS handshake with %s: %w", ErrNoConnection, remote, err)
	}
	return out, nil
}

// adopt makes a flow of a connection and starts to read from it.
func (w *wire) adopt(conn net.Conn) (*flow, error) {
	f := &flow{network: w.cfg.Transport, local: addrPort(conn.LocalAddr()), remote: addrPort(conn.RemoteAddr()), conn: conn,
		log: w.log, closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.flows) >= maxFlows {
		conn.Close()
		return nil, errClosed
	}
	w.flows[f.remote] = f
	w.wg.Go(func() { w.readStream(f) })
	return f, nil
}

// accept takes connections until the listener is closed.
func (w *wire) accept() {
	for {
		conn, err := w.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors: try again
			continue
		}
		if w.cfg.Transport == TLS {
			conn = tls.Server(conn, w.cfg.TLS) // handshakes on the first read
		}
		w.adopt(conn)
	}
}

func (w *wire) readUDP() {
	buf := make([]byte, 65535)
	for {
		n, remote, err := w.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		if b := buf[:n]; len(strings.TrimSpace(string(b))) > 0 {
			w.deliver(w.udpFlow(remote), append([]byte(nil), b...))
		}
	}
}

func (w *wire) readStream(f *flow) {
	defer func() {
		f.conn.Close()
		w.mu.Lock()
		if w.flows[f.remote] == f {
			delete(w.flows, f.remote)
		}
		w.mu.Unlock()
		close(f.closed)
	}()
	r := bufio.NewReaderSize(f.conn, 8<<10)
	for {
		b, err := readFrame(r)
		if err != nil {
			return
		}
		if b != nil {
			w.deliver(f, b)
		}
	}
}

func (w *wire) deliver(f *flow, b []byte) {
	f.record(b, false)
	w.receive(f, b)
}

// close ends all sockets and waits for their readers.
func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	for _, f := range w.flows {
		f.conn.Close()
	}
	w.mu.Unlock()
	if w.udp != nil {
		w.udp.Close()
	}
	if w.ln != nil {
		w.ln.Close()
	}
	w.wg.Wait()
}
