package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/transport/transporttest"
	"brickhouse/shared/verdict"
)

const patience = 30 * time.Second

// fast are timers scaled down twenty times.
func fast() Timers {
	return Timers{
		T1: 25 * time.Millisecond, T2: 200 * time.Millisecond, T4: 250 * time.Millisecond, D: 1600 * time.Millisecond,
		Trying: 10 * time.Millisecond, C: 10 * time.Second, Pending: 30 * time.Second,
	}
}

// serve starts an interface under a layer.
func serve(t testing.TB, network transport.Network, layer *Layer) *transport.Interface {
	t.Helper()
	return serveConfig(t, transport.Config{Network: network}, layer)
}

func serveConfig(t testing.TB, cfg transport.Config, layer *Layer) *transport.Interface {
	t.Helper()
	cfg.Name, cfg.Listen = "test", netip.MustParseAddrPort("127.0.0.1:0")
	h := &transporttest.Recorder{OnMessage: layer.Message, OnClosed: layer.FlowClosed}
	i, err := transport.Listen(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = i.Serve(context.Background()) }()
	t.Cleanup(func() { i.Close(); <-done; layer.Close() })
	return i
}

// flowTo opens a flow from i to far.
func flowTo(t testing.TB, i, far *transport.Interface) *transport.Flow {
	t.Helper()
	if i.Network() == transport.UDP {
		return i.FlowTo(far.Local())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f, err := i.Dial(ctx, far.Local())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Threats T25: a source that may be forged gets one answer per request; a proven one gets what RFC 3261 promises.
func TestRetransmissionNeedsAProvenSource(t *testing.T) {
	u := &user{onRequest: func(s *Server) { _ = s.Respond(answer(s, 486)) }}
	i := serve(t, transport.UDP, New(fast(), u, nil))
	c, err := net.Dial("udp", i.Local().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	count := func(branch string, seq int) (n int) {
		t.Helper()
		if _, err := c.Write(reqSeq("INVITE", "INVITE", branch, "", seq, "")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for {
			_ = c.SetReadDeadline(time.Now().Add(600 * time.Millisecond)) // T1 is 25 ms: several retransmissions
			if _, err := c.Read(buf); err != nil {
				return n
			}
			if n++; n > 3 {
				return n
			}
		}
	}
	if n := count(branch, 1); n != 1 {
		t.Errorf("an unproven source got %d answers, want 1", n)
	}
	i.FlowTo(netip.MustParseAddrPort(c.LocalAddr().String())).MarkVerified()
	if n := count(branch+"2", 2); n <= 1 {
		t.Errorf("a proven source got %d answers, want retransmissions", n)
	}
}

// A stranger of a metered interface gets one answer for each datagram, no longer than it, and only the final one.
func TestMetered(t *testing.T) {
	for _, code := range []int{100, 180, 486} {
		u := &user{onRequest: func(s *Server) {
			if code < 200 {
				_ = s.Respond(answer(s, code))
				time.Sleep(2 * fast().Trying)
			}
			_ = s.Respond(answer(s, 486))
		}}
		cfg := transport.Config{Network: transport.UDP, Registered: func(*transport.Flow) bool { return false }}
		i := serveConfig(t, cfg, New(fast(), u, nil))
		c, err := net.Dial("udp", i.Local().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		sent := reqSeq("INVITE", "INVITE", branch, "", 1, "")
		for try := range 2 { // the second one is a retransmission
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			n, err := c.Read(buf)
			if err != nil || n > len(sent) || !bytes.HasPrefix(buf, []byte("SIP/2.0 486")) {
				t.Errorf("%d, try %d: %v; %d bytes to %d: %s", code, try, err, n, len(sent), buf[:n])
			}
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // T1 is 25 ms: several retransmissions
			if n, err := c.Read(buf); err == nil {
				t.Errorf("%d, try %d: a second answer %s", code, try, buf[:n])
			}
		}
	}
}

// Nobody cancels somebody else's call by knowing its branch.
func TestCancelFromElsewhere(t *testing.T) {
	requests := make(chan *Server, 2)
	canceled := make(chan struct{}, 2)
	u := &user{onRequest: func(s *Server) {
		s.OnCancel(func() { canceled <- struct{}{} })
		requests <- s
	}}
	i := serve(t, transport.UDP, New(DefaultTimers(), u, nil))
	dial := func(host string) net.Conn {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(host)}}
		c, err := d.Dial("udp", i.Local().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	send := func(c net.Conn, b []byte) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	caller, other := dial("127.0.0.1"), dial("127.0.0.2")
	send(caller, req("INVITE", branch, ""))
	<-requests
	send(other, reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
	if s := <-requests; s.Request().Method != sip.CANCEL {
		t.Errorf("user got %s, want the foreign CANCEL", s.Request().Method)
	}
	select {
	case <-canceled:
		t.Fatal("canceled by somebody else")
	default:
	}
	send(caller, reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
	select {
	case <-canceled:
	case <-time.After(patience):
		t.Fatal("not canceled by its own")
	}
}

// With the first two copies of every datagram lost, each transaction ends as it should, and each request reaches its user once.
func TestLossyNetwork(t *testing.T) {
	server := &user{}
	seen := make(map[string]int)
	var mu sync.Mutex
	server.onRequest = func(s *Server) {
		mu.Lock()
		seen[s.Request().CallID().Value()]++
		mu.Unlock()
		if s.Request().Method == sip.INVITE {
			_ = s.Respond(answer(s, 180))
			_ = s.Respond(answer(s, 486))
			return
		}
		_ = s.Respond(answer(s, 200))
	}
	client := &user{}
	timers := fast()
	sl, cl := New(timers, server, nil), New(timers, client, nil)
	a, b, err := transporttest.Pipe(transport.UDP,
		&transporttest.Recorder{OnMessage: sl.Message}, &transporttest.Recorder{OnMessage: cl.Message})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	defer sl.Close()
	defer cl.Close()
	for _, e := range []*transporttest.End{a, b} {
		copies := make(map[string]int)
		e.Lose(func(_ int, b []byte) bool { copies[string(b)]++; return copies[string(b)] <= 2 })
	}
	const each = 60
	var done sync.WaitGroup
	var wrong atomic.Int32
	for n := range 2 * each {
		method, want := sip.OPTIONS, 200
		if n%2 == 0 {
			method, want = sip.INVITE, 486
		}
		done.Add(1)
		_, err := cl.Send(b.Flow, request(method), func(ev Event) {
			if ev.Response != nil && ev.Response.StatusCode < 200 {
				return
			}
			if ev.Err != nil || ev.Response.StatusCode != want {
				wrong.Add(1)
				t.Errorf("%s ended with %v", method, ev)
			}
			done.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	finished := make(chan struct{})
	go func() { done.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(patience):
		t.Fatal("some transactions never end")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2*each || wrong.Load() != 0 {
		t.Errorf("server saw %d requests, want %d", len(seen), 2*each)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("request %s reached its user %d times", id, n)
		}
	}
}

// Two programs over each network: INVITE, 180, 200, ACK, BYE; many at once.
func TestOverSockets(t *testing.T) {
	for _, network := range []transport.Network{transport.UDP, transport.TCP} {
		t.Run(string(network), func(t *testing.T) {
			server := &user{onRequest: func(s *Server) {
				if s.Request().Method == sip.INVITE {
					_ = s.Respond(answer(s, 180))
				}
				_ = s.Respond(answer(s, 200))
			}}
			far := serve(t, network, New(DefaultTimers(), server, nil))
			cl := New(DefaultTimers(), &user{}, nil)
			near := serve(t, network, cl)
			f := flowTo(t, near, far)
			const calls = 100
			var done sync.WaitGroup
			for range calls {
				done.Add(1)
				invite := request(sip.INVITE)
				_, err := cl.Send(f, invite, func(ev Event) {
					if ev.Err != nil {
						t.Errorf("INVITE: %v", ev.Err)
						done.Done()
						return
					}
					if ev.Response.StatusCode < 200 {
						return
					}
					ack := request(sip.ACK)
					ack.CallID()
					if err := cl.SendAck(f, ack); err != nil {
						t.Error(err)
					}
					if _, err := cl.Send(f, request(sip.BYE), func(ev Event) {
						if ev.Err != nil || ev.Response.StatusCode != 200 {
							t.Errorf("BYE: %+v", ev)
						}
						done.Done()
					}); err != nil {
						t.Error(err)
						done.Done()
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			finished := make(chan struct{})
			go func() { done.Wait(); close(finished) }()
			select {
			case <-finished:
			case <-time.After(patience):
				t.Fatal("some calls never end")
			}
		})
	}
}

// A connection that dies under a request is told to its user.
func TestConnectionDies(t *testing.T) {
	arrived := make(chan *Server, 1)
	u := &user{onRequest: func(s *Server) { arrived <- s }}
	far := serve(t, transport.TCP, New(DefaultTimers(), u, nil))
	cl := New(DefaultTimers(), &user{}, nil)
	near := serve(t, transport.TCP, cl)
	ended := make(chan error, 1)
	if _, err := cl.Send(flowTo(t, near, far), request(sip.INVITE), func(ev Event) { ended <- ev.Err }); err != nil {
		t.Fatal(err)
	}
	s := <-arrived
	told := make(chan error, 1)
	s.OnEnd(func(err error) { told <- err })
	s.Flow().Close(verdict.Shutdown)
	for what, c := range map[string]chan error{"client": ended, "server": told} {
		select {
		case err := <-c:
			if !errors.Is(err, ErrTransport) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s is not told", what)
		}
	}
}

// loop is a carrier that hands what is sent to the other layer at once: for benchmarks.
type loop struct{ deliver func(b []byte) }

func (l *loop) Send(b []byte) error  { l.deliver(b); return nil }
func (l *loop) Close(verdict.Reason) {}

// BenchmarkInvite is a whole INVITE, 180, 486, ACK between two layers: two transactions, eight messages written and parsed.
func BenchmarkInvite(b *testing.B) {
	server := &user{}
	sl := New(DefaultTimers(), server, nil)
	cl := New(DefaultTimers(), &user{}, nil)
	defer sl.Close()
	defer cl.Close()
	attach := func(l *Layer) (*transport.Flow, *loop) {
		i, err := transport.NewVirtual(transport.Config{Name: "bench", Network: transport.TCP}, &handler{l})
		if err != nil {
			b.Fatal(err)
		}
		c := &loop{}
		f, err := i.Attach(c, transport.Attachment{Network: transport.TCP,
			Local: netip.MustParseAddrPort("192.0.2.1:5060"), Remote: netip.MustParseAddrPort("192.0.2.2:5060")})
		if err != nil {
			b.Fatal(err)
		}
		return f, c
	}
	sf, sc := attach(sl)
	cf, cc := attach(cl)
	toServer, toClient := make([][]byte, 0, 8), make([][]byte, 0, 8) // delivered after, not under a transaction's lock
	cc.deliver = func(p []byte) { toServer = append(toServer, p) }
	sc.deliver = func(p []byte) { toClient = append(toClient, p) }
	var got *Server
	sl.user = userFunc(func(s *Server) { got = s })
	b.ReportAllocs()
	for b.Loop() {
		final := 0
		if _, err := cl.Send(cf, request(sip.INVITE), func(ev Event) { final = ev.Response.StatusCode }); err != nil {
			b.Fatal(err)
		}
		pump(sf, &toServer)
		if err := got.Respond(answer(got, 180)); err != nil {
			b.Fatal(err)
		}
		if err := got.Respond(answer(got, 486)); err != nil {
			b.Fatal(err)
		}
		pump(cf, &toClient)
		pump(sf, &toServer)
		if final != 486 {
			b.Fatalf("final response %d", final)
		}
	}
	if s, c := sl.Counts(); s != 0 {
		b.Fatalf("%d and %d transactions are left", s, c)
	}
}

func pump(f *transport.Flow, q *[][]byte) {
	for _, p := range *q {
		f.Deliver(p)
	}
	*q = (*q)[:0]
}

// handler joins a layer to transport and nothing else.
type handler struct{ l *Layer }

func (h *handler) Accept(*transport.Interface, netip.AddrPort) verdict.Verdict { return verdict.Passed }
func (h *handler) Raw(*transport.Flow, []byte) verdict.Verdict                 { return verdict.Passed }
func (h *handler) Message(f *transport.Flow, m sip.Message)                    { h.l.Message(f, m) }
func (h *handler) Unparsed(*transport.Flow, []byte, verdict.Verdict)           {}
func (h *handler) Dropped(*transport.Interface, netip.AddrPort, verdict.Reason, []byte) {
}
func (h *handler) Closed(f *transport.Flow, why verdict.Reason) { h.l.FlowClosed(f, why) }

// userFunc is a User that takes requests only.
type userFunc func(s *Server)

func (u userFunc) Request(s *Server)                    { u(s) }
func (u userFunc) Ack(*transport.Flow, *sip.Request)    {}
func (u userFunc) Stray(*transport.Flow, *sip.Response) {}

// FuzzLayer sends whatever parses to a layer: no panic, and what is refused leaves nothing behind.
func FuzzLayer(f *testing.F) {
	for _, m := range []string{"INVITE", "ACK", "CANCEL", "OPTIONS"} {
		f.Add(req(m, branch, ""))
		f.Add(req(m, "", ""))
	}
	f.Add([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nCSeq: 1 INVITE\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &user{onRequest: func(s *Server) { _ = s.Respond(answer(s, 404)) }}
		l := New(DefaultTimers(), u, nil)
		defer l.Close()
		i, err := transport.NewVirtual(transport.Config{Name: "fuzz", Network: transport.UDP}, &handler{l})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		flow, err := i.Attach(&loop{deliver: func(b []byte) { out.Write(b) }}, transport.Attachment{Network: transport.UDP,
			Local: netip.MustParseAddrPort("192.0.2.1:5060"), Remote: netip.MustParseAddrPort("192.0.2.2:5060")})
		if err != nil {
			t.Fatal(err)
		}
		msg, err := sipmsg.Parse(data)
		if err != nil {
			return
		}
		l.Message(flow, msg)
		l.Message(flow, msg)
		if s, c := l.Counts(); s > 1 || c > 0 {
			t.Fatal(fmt.Sprint("one message, twice: ", s, " and ", c, " transactions"))
		}
	})
}
