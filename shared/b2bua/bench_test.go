package b2bua

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// bench is an engine between a caller and a callee that work with bytes, so that what is measured is ours: parser,
// transactions, engine, writer. There is no socket.
type bench struct {
	layer  *transaction.Layer
	engine *Engine
	a, b   *robot
	hangup bool          // A hangs up as soon as it has acknowledged
	up     chan struct{} // a call is acknowledged by A
	down   chan struct{} // a BYE of A is answered
}

// robot is a phone at the end of a wire.
type robot struct {
	flow  *transport.Flow
	in    chan []byte
	react func(b []byte)
}

// Send implements transport.Carrier.
func (r *robot) Send(b []byte) error { r.in <- b; return nil }

// Close implements transport.Carrier.
func (r *robot) Close(why verdict.Reason) { r.flow.Ended(why) }

func (r *robot) run() {
	for b := range r.in {
		r.react(b)
	}
}

func newBench(tb testing.TB, network transport.Network, timers transaction.Timers) *bench {
	x := &bench{up: make(chan struct{}, 1024), down: make(chan struct{}, 1024)}
	x.layer = transaction.New(timers, x, nil)
	x.engine = New(Config{Transactions: x.layer, Timers: timers, Log: slog.New(slog.DiscardHandler)})
	h := &handler{x}
	x.a = newRobot(tb, h, network, "192.0.2.10:5060", x.asA)
	x.b = newRobot(tb, h, network, "192.0.2.20:5060", x.asB)
	return x
}

func newRobot(tb testing.TB, h transport.Handler, network transport.Network, remote string, react func([]byte)) *robot {
	r := &robot{in: make(chan []byte, 4096), react: react}
	i, err := transport.NewVirtual(transport.Config{Name: "bench", Network: network}, h)
	if err != nil {
		tb.Fatal(err)
	}
	r.flow, err = i.Attach(r, transport.Attachment{
		Network: network, Local: netip.MustParseAddrPort("198.51.100.1:5060"), Remote: netip.MustParseAddrPort(remote),
	})
	if err != nil {
		tb.Fatal(err)
	}
	go r.run()
	tb.Cleanup(func() { close(r.in) })
	return r
}

// handler is the transport.Handler of a bench; transporttest.Recorder would keep every message.
type handler struct{ x *bench }

func (*handler) Accept(*transport.Interface, netip.AddrPort) verdict.Verdict { return verdict.Passed }
func (*handler) Raw(*transport.Flow, []byte) verdict.Verdict                 { return verdict.Passed }
func (h *handler) Message(f *transport.Flow, m sip.Message)                  { h.x.layer.Message(f, m) }
func (*handler) Unparsed(*transport.Flow, []byte, verdict.Verdict)           {}
func (*handler) Dropped(*transport.Interface, netip.AddrPort, verdict.Reason, []byte) {
}
func (h *handler) Closed(f *transport.Flow, why verdict.Reason) { h.x.layer.FlowClosed(f, why) }

// Request implements transaction.User.
func (x *bench) Request(s *transaction.Server) {
	if tag, _ := sipmsg.Param(s.Request().To().Params, "tag"); tag != "" {
		x.engine.Request(s)
		return
	}
	uri := sip.Uri{Scheme: "sip", User: "bob", Host: "192.0.2.20"}
	_, err := x.engine.Start(s, Plan{
		Policy: benchPolicy, Info: Info{Trace: s.Request().CallID().Value(), Caller: "alice", Callee: "bob"},
		Groups: [][]Target{{{
			Name: "bob", Flow: x.b.flow, URI: uri, Policy: benchPolicy,
			From: dialog.Party{URI: sip.Uri{Scheme: "sip", User: "alice", Host: "example.net"}}, To: dialog.Party{URI: uri},
		}}},
	})
	if err != nil {
		panic(err)
	}
}

var benchPolicy = policy()

// Ack implements transaction.User.
func (x *bench) Ack(f *transport.Flow, req *sip.Request) { x.engine.Ack(f, req) }

// Stray implements transaction.User.
func (x *bench) Stray(_ *transport.Flow, res *sip.Response) { x.engine.Stray(res) }

// field is a header line of a message, CRLF included.
func field(b []byte, name string) []byte {
	from := bytes.Index(b, []byte("\r\n"+name+": ")) + 2
	return b[from : from+bytes.Index(b[from:], []byte("\r\n"))+2]
}

// copied are the lines that a response has of its request, and a later request of its dialog.
func copied(out, b []byte, names ...string) []byte {
	for _, name := range names {
		out = append(out, field(b, name)...)
	}
	return out
}

const benchSDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"

// invite has A begin the n-th call.
func (x *bench) invite(n int) {
	x.a.flow.Deliver(fmt.Appendf(nil, "INVITE sip:bob@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bKi%d\r\n"+
		"Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@example.net>;tag=a%d\r\nTo: <sip:bob@example.net>\r\nCall-ID: call-%d\r\n"+
		"CSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.10:5060>\r\nUser-Agent: robot\r\nAllow: INVITE, ACK, BYE\r\n"+
		"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", n, n, n, len(benchSDP), benchSDP))
}

// asA acknowledges answers and counts.
func (x *bench) asA(b []byte) {
	switch cseq := field(b, "CSeq"); {
	case bytes.HasPrefix(b, []byte("SIP/2.0 200")) && bytes.HasSuffix(cseq, []byte("INVITE\r\n")):
		x.a.flow.Deliver(x.within("ACK", 1, b))
		x.up <- struct{}{}
		if x.hangup {
			x.a.flow.Deliver(x.within("BYE", 2, b))
		}
	case bytes.HasPrefix(b, []byte("SIP/2.0 200")):
		x.down <- struct{}{}
	}
}

// within is a request of A in the dialog that ok answers.
func (x *bench) within(method string, seq int, ok []byte) []byte {
	branch := field(ok, "Call-ID")
	out := fmt.Appendf(make([]byte, 0, 512), "%s sip:198.51.100.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bK%s%s\r\nMax-Forwards: 70\r\n",
		method, method, branch[len("Call-ID: "):len(branch)-2])
	out = copied(out, ok, "From", "To", "Call-ID")
	return fmt.Appendf(out, "CSeq: %d %s\r\nContent-Length: 0\r\n\r\n", seq, method)
}

// asB rings, answers and agrees.
func (x *bench) asB(b []byte) {
	switch {
	case bytes.HasPrefix(b, []byte("INVITE ")):
		x.b.flow.Deliver(append(x.response("180 Ringing", b), "Content-Length: 0\r\n\r\n"...))
		out := append(x.response("200 OK", b), "Content-Type: application/sdp\r\n"...)
		x.b.flow.Deliver(fmt.Appendf(out, "Content-Length: %d\r\n\r\n%s", len(benchSDP), benchSDP))
	case bytes.HasPrefix(b, []byte("BYE ")):
		x.b.flow.Deliver(append(x.response("200 OK", b), "Content-Length: 0\r\n\r\n"...))
	}
}

// response is the head of a response of B.
func (x *bench) response(status string, b []byte) []byte {
	out := append(make([]byte, 0, 1024), "SIP/2.0 "+status+"\r\n"...)
	out = copied(out, b, "Via", "From", "To")
	if !bytes.Contains(field(b, "To"), []byte(";tag=")) {
		out = append(out[:len(out)-2], ";tag=b\r\n"...)
	}
	out = copied(out, b, "Call-ID", "CSeq")
	return append(out, "Contact: <sip:bob@192.0.2.20:5060>\r\nServer: robot\r\n"...)
}

// fastTimers let finished transactions go soon, as in a run that lasts.
func fastTimers() transaction.Timers {
	t := transaction.DefaultTimers()
	t.T1, t.T2, t.T4, t.D = 20*time.Millisecond, 160*time.Millisecond, 200*time.Millisecond, 1280*time.Millisecond
	return t
}

// BenchmarkCall is INVITE, 180, 200, ACK, BYE, 200 on both legs: 13 messages. What the robots allocate is in it.
func BenchmarkCall(b *testing.B) {
	for _, network := range []transport.Network{transport.UDP, transport.TCP} {
		b.Run(string(network), func(b *testing.B) {
			x := newBench(b, network, fastTimers())
			x.hangup = true
			b.ReportAllocs()
			open := 0
			for n := 0; b.Loop(); n++ {
				x.invite(n)
				if open++; open == 64 { // that many at once
					<-x.down
					open--
				}
				select {
				case <-x.up:
				default:
				}
			}
			for ; open > 0; open-- {
				<-x.down
			}
		})
	}
}

// BenchmarkEstablished tells what a call costs in memory while people talk: when its transactions are over.
func BenchmarkEstablished(b *testing.B) {
	const calls = 5000
	for range b.N {
		x := newBench(b, transport.UDP, fastTimers())
		before := heap()
		for n := range calls {
			x.invite(n)
			<-x.up
		}
		for {
			if s, c := x.layer.Counts(); s == 0 && c == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.ReportMetric(float64(heap()-before)/calls, "B/call")
		if x.engine.Len() != calls {
			b.Fatalf("%d calls", x.engine.Len())
		}
		runtime.KeepAlive(x)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
