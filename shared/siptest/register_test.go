package siptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"brickhouse/shared/siptest/ladder"
)

// registrar is a server that answers each request as a function says; it knows nothing of transactions.
type registrar struct {
	conn *net.UDPConn
	seen atomic.Int32
}

func newRegistrar(t *testing.T, answer func(n int, m *Message) (code int, fields []field)) *registrar {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	must(t, err)
	r := &registrar{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			m, err := ParseMessage(bytes.Clone(buf[:n]))
			if err != nil {
				t.Error(err)
				continue
			}
			code, fields := answer(int(r.seen.Add(1)), m)
			if code == 0 {
				continue
			}
			d := &draft{start: fmt.Sprintf("SIP/2.0 %d %s", code, phrase(code))}
			for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
				d.add(name, m.Header(name))
			}
			d.fields = append(d.fields, fields...)
			conn.WriteToUDPAddrPort(d.bytes(), from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return r
}

func (r *registrar) addr() string { return r.conn.LocalAddr().String() }

// challenging answers as a registrar does that knows alice by her password.
func challenging(algorithms ...string) func(int, *Message) (int, []field) {
	uses := map[string]string{}
	return func(n int, m *Message) (int, []field) {
		for _, a := range algorithms {
			c := challenge{realm: "r", nonce: "n-" + a, algorithm: a}
			auth := m.Header("Authorization")
			f, _ := digestFields(auth)
			if c.accepts(auth, "alice", "secret", m.Method) && f["nc"] > uses[c.nonce] {
				uses[c.nonce] = f["nc"]
				return 200, []field{{"Contact", m.Header("Contact") + ";expires=60"}}
			}
		}
		var out []field
		for _, a := range algorithms {
			out = append(out, field{"WWW-Authenticate", challenge{realm: "r", nonce: "n-" + a, algorithm: a}.header()})
		}
		return 401, out
	}
}

func TestRegister(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server []string
		phone  []string
		used   string
	}{
		{"MD5", []string{MD5}, nil, "MD5"},
		{"SHA-256", []string{SHA256}, nil, "SHA-256"},
		{"server's order", []string{SHA256, MD5}, []string{MD5, SHA256}, "SHA-256"},
		{"phone that knows only MD5", []string{SHA256, MD5}, []string{MD5}, "MD5"},
		{"unknown first", []string{"SHA-512-256", MD5}, nil, "MD5"},
	} {
		r := newRegistrar(t, challenging(tt.server...))
		p := open(t, Config{User: "alice", Password: "secret", Domain: "example.test", Server: r.addr(), Algorithms: tt.phone})
		ctx := within(t)
		must(t, p.Register(ctx, time.Minute))
		must(t, p.Register(ctx, time.Minute)) // nonce count rises, no new challenge
		if n := len(p.Ladder()); n != 6 {
			t.Errorf("%s: %d messages, want 6", tt.name, n)
		}
		last := ladder.Sent(p.Ladder())[2]
		if !strings.Contains(last.Text, "nc=00000002") || !strings.Contains(last.Text, "algorithm="+tt.used+",") {
			t.Errorf("%s:\n%s", tt.name, last.Text)
		}
		must(t, p.Unregister(ctx))
		if !strings.Contains(ladder.Sent(p.Ladder())[3].Text, "Expires: 0\r\n") {
			t.Errorf("%s: no removal", tt.name)
		}
		faultless(t, p)
	}
}

func TestRegisterRefused(t *testing.T) {
	r := newRegistrar(t, challenging(SHA256))
	var no *RefusedError
	wrong := open(t, Config{User: "alice", Password: "wrong", Server: r.addr()})
	if err := wrong.Register(within(t), time.Minute); !errors.As(err, &no) || no.Code != 401 {
		t.Errorf("wrong password: %v", err)
	}
	if n := r.seen.Load(); n != 2 {
		t.Errorf("wrong password was tried %d times, want once after a challenge", n)
	}
	md5 := open(t, Config{User: "alice", Password: "secret", Server: r.addr(), Algorithms: []string{MD5}})
	if err := md5.Register(within(t), time.Minute); !errors.As(err, &no) || no.Code != 401 {
		t.Errorf("unknown algorithm: %v", err)
	}
	none := open(t, Config{User: "alice", Server: r.addr()})
	if err := none.Register(within(t), time.Minute); !errors.As(err, &no) || no.Response.Header("WWW-Authenticate") == "" {
		t.Errorf("no password: %v", err)
	}
}

func TestRegisterStale(t *testing.T) {
	stale := newRegistrar(t, func(n int, m *Message) (int, []field) {
		return 401, []field{{"WWW-Authenticate", challenge{realm: "r", nonce: token(), algorithm: MD5, stale: true}.header()}}
	})
	p := open(t, Config{User: "alice", Password: "secret", Server: stale.addr()})
	if err := p.Register(within(t), time.Minute); err == nil || stale.seen.Load() > 5 {
		t.Errorf("%v after %d requests: a server that always says stale must not make an endless loop", err, stale.seen.Load())
	}
}

func TestRegisterNeedsItsContact(t *testing.T) {
	r := newRegistrar(t, func(int, *Message) (int, []field) {
		return 200, []field{{"Contact", "<sip:alice@10.9.9.9>;expires=60"}}
	})
	p := open(t, Config{User: "alice", Server: r.addr()})
	if err := p.Register(within(t), time.Minute); err == nil {
		t.Error("a 200 that lists only another contact was taken for a binding")
	}
	must(t, p.Unregister(within(t)))
}

func TestRequestsAreRepeatedOverUDP(t *testing.T) {
	r := newRegistrar(t, func(n int, m *Message) (int, []field) {
		if n < 3 {
			return 0, nil
		}
		return 200, []field{{"Contact", m.Header("Contact")}}
	})
	p := open(t, Config{User: "alice", Server: r.addr(), T1: 20 * time.Millisecond})
	must(t, p.Register(within(t), time.Minute))
	sent := ladder.Sent(p.Ladder())
	if len(sent) < 3 || sent[0].Text != sent[2].Text {
		t.Errorf("%d requests", len(sent))
	}
}

func TestAttackIsDenied(t *testing.T) {
	r := newRegistrar(t, challenging(MD5))
	a := Attack{Config: Config{User: "alice", Server: r.addr(), Bind: netip.MustParseAddr("127.77.0.66")}, Tries: 3,
		Password: func(n int) string { return []string{"a", "b", "secret"}[n-1] }}
	tries, msgs, err := a.Run(within(t))
	must(t, err)
	if len(tries) != 3 || tries[0].Outcome != Denied || tries[1].Outcome != Denied || tries[2].Outcome != LetIn || tries[2].Locked() {
		t.Errorf("%v", tries)
	}
	if fmt.Sprint(tries[0].Codes) != "[401 401]" {
		t.Errorf("codes %v", tries[0].Codes)
	}
	if len(msgs) != 12 || msgs[0].Local.Addr() != netip.MustParseAddr("127.77.0.66") {
		t.Errorf("%d messages from %v", len(msgs), msgs[0].Local)
	}
	a.Users = func(n int) string { return fmt.Sprintf("user%d", n) }
	a.Each = func(t Try) bool { return t.Outcome != Denied }
	tries, msgs, err = a.Run(within(t))
	must(t, err)
	if len(tries) != 1 || !strings.Contains(msgs[0].Text, "sip:user1@") {
		t.Errorf("%v", tries)
	}
}

func TestAttackIsShutOut(t *testing.T) {
	silent := newRegistrar(t, func(int, *Message) (int, []field) { return 0, nil })
	a := Attack{Config: Config{User: "alice", Server: silent.addr(), Bind: loopback}, Tries: 1, Timeout: 100 * time.Millisecond, Blind: true}
	tries, msgs, err := a.Run(within(t))
	must(t, err)
	if tries[0].Outcome != NoAnswer || !tries[0].Locked() || !strings.Contains(msgs[0].Text, "Authorization: Digest") {
		t.Errorf("%v", tries)
	}
	half := newRegistrar(t, func(n int, m *Message) (int, []field) {
		if n > 1 {
			return 0, nil
		}
		return 401, []field{{"WWW-Authenticate", challenge{realm: "r", nonce: "n", algorithm: MD5}.header()}}
	})
	a.Config.Server, a.Blind = half.addr(), false
	tries, _, err = a.Run(within(t))
	must(t, err)
	if tries[0].Outcome != CutOff || tries[0].Locked() {
		t.Errorf("%v", tries)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() { // accepts and hangs up
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	for _, transport := range []Transport{TCP, TLS} {
		a.Config = Config{User: "alice", Server: ln.Addr().String(), Bind: loopback, Transport: transport, TLS: tlsPair(t)}
		a.Timeout = 5 * time.Second
		tries, _, err = a.Run(within(t))
		must(t, err)
		if tries[0].Outcome != NoConnection {
			t.Errorf("%s: %v", transport, tries)
		}
	}
	ln.Close()
	<-done
	tries, _, err = a.Run(within(t))
	must(t, err)
	if tries[0].Outcome != NoConnection || !strings.Contains(tries[0].String(), "no-connection") {
		t.Errorf("%v", tries)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := a.Run(ctx); err == nil {
		t.Error("an attack went on after its context")
	}
}

func TestSendRaw(t *testing.T) {
	bob := open(t, Config{User: "bob"})
	udp := Config{Server: bob.Addr().String(), Bind: loopback}
	reply, err := SendRaw(within(t), udp, options("Content-Length: 0"), 300*time.Millisecond)
	must(t, err)
	m, err := ParseMessage(reply)
	must(t, err)
	if m.Code != 200 || !strings.Contains(m.Header("Via"), "received=127.0.0.1") {
		t.Errorf("%s", reply)
	}
	reply, err = SendRaw(within(t), udp, []byte("nonsense"), 50*time.Millisecond)
	must(t, err)
	if len(reply) != 0 || len(bob.Faults()) != 1 {
		t.Errorf("%q, faults %q", reply, bob.Faults())
	}
	secure := tlsPair(t)
	carol := open(t, Config{User: "carol", Transport: TLS, TLS: secure})
	cfg := Config{Transport: TLS, TLS: secure, Server: carol.Addr().String(), Bind: loopback}
	reply, err = SendRaw(within(t), cfg, options("Content-Length: 0"), 300*time.Millisecond)
	must(t, err)
	if !bytes.HasPrefix(reply, []byte("SIP/2.0 200")) {
		t.Errorf("%q", reply)
	}
	alice := open(t, Config{User: "alice", Server: bob.Addr().String()})
	must(t, alice.SendRaw(within(t), []byte("raw\r\n\r\n")))
	waitFor(t, within(t), "raw bytes", func() bool { return len(bob.Faults()) == 2 })
}

func TestConfigRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":        {},
		"TLS without":    {Bind: loopback, Transport: TLS},
		"transport":      {Bind: loopback, Transport: "sctp"},
		"suite":          {Bind: loopback, SRTP: []Suite{"NULL"}},
		"user":           {Bind: loopback, User: "a>b"},
		"taken address":  {Bind: netip.MustParseAddr("192.0.2.1")},
		"unknown server": {Server: "nonsense"},
	} {
		if p, err := NewPhone(cfg); err == nil {
			p.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	cfg, err := Config{Server: "127.0.0.1:5060"}.withDefaults()
	must(t, err)
	if cfg.Bind != loopback || cfg.Domain != "127.0.0.1" || cfg.Name != "phone" {
		t.Errorf("%+v", cfg)
	}
	entered := false
	p, err := NewPhone(Config{Bind: loopback, Within: func(open func() error) error { entered = true; return open() }})
	must(t, err)
	p.Close()
	if !entered {
		t.Error("sockets were not opened where they belong")
	}
}
