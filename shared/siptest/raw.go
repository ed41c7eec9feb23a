package siptest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// maxReply bounds what SendRaw reads, in bytes.
const maxReply = 1 << 20

// SendRaw sends bytes as they are to cfg.Server over a socket of its own — cfg.Transport, from cfg.Bind, with cfg.TLS — and
// returns what comes back until nothing has come for quiet, or the other side closed. That nothing came back is no error, nor is
// a connection that the other side ended; that there was no connection is.
func SendRaw(ctx context.Context, cfg Config, data []byte, quiet time.Duration) ([]byte, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	remote, err := resolve(ctx, cfg.Server)
	if err != nil {
		return nil, err
	}
	conn, err := rawDial(ctx, cfg, remote)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := conn.Write(data); err != nil {
		return nil, fmt.Errorf("sending %d bytes to %s: %w", len(data), remote, err)
	}
	return readReply(ctx, conn, quiet), nil
}

func rawDial(ctx context.Context, cfg Config, remote netip.AddrPort) (net.Conn, error) {
	if cfg.Transport != UDP {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return dialStream(ctx, cfg, remote)
	}
	var conn net.Conn
	err := cfg.Within(func() (err error) {
		local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Bind, cfg.Port))
		conn, err = net.DialUDP("udp", local, net.UDPAddrFromAddrPort(remote))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening UDP socket towards %s: %w", remote, err)
	}
	return conn, nil
}

func readReply(ctx context.Context, conn net.Conn, quiet time.Duration) []byte {
	var out []byte
	buf := make([]byte, 64<<10)
	for len(out) < maxReply {
		until := time.Now().Add(quiet)
		if d, ok := ctx.Deadline(); ok && d.Before(until) {
			until = d
		}
		conn.SetReadDeadline(until)
		n, err := conn.Read(buf)
		out = append(out, buf[:n]...)
		if err != nil {
			break // quiet, or the other side ended it: both are its answer
		}
	}
	return out
}

// SendRaw sends bytes as they are over the phone's own flow to its server. They are in the ladder; an answer is treated like
// any message.
func (p *Phone) SendRaw(ctx context.Context, data []byte) error {
	f, err := p.flowTo(ctx, "sip:"+p.cfg.Domain)
	if err != nil {
		return err
	}
	return f.send(data)
}
