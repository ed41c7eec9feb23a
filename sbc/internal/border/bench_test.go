package border

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"brickhouse/sbc/internal/caps"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// bench is a border between a carrier and an exchange that work with bytes: what is measured is ours, but for the sockets.
type bench struct {
	*rig
	carrier, exchange *robot
	done              chan struct{} // a call is over, or declined
}

// robot is one end of a wire.
type robot struct {
	flow  *transport.Flow
	in    chan []byte
	react func(b []byte)
}

// Send implements transport.Carrier.
func (r *robot) Send(b []byte) error { r.in <- b; return nil }

// Close implements transport.Carrier.
func (r *robot) Close(why verdict.Reason) { r.flow.Ended(why) }

func newBench(b *testing.B, limit caps.Limit) *bench {
	x := &bench{rig: prepare(b), done: make(chan struct{}, 1024)}
	x.cfg.Peer.Trunks[0].Limits = limit
	x.cfg.Admission.Lag = 0                          // the machine is to be busy
	x.cfg.Media.Drain, x.cfg.Media.Quarantine = 0, 0 // more calls a second than there are ports that could rest
	var err error
	if x.b, err = New(x.cfg, slog.New(slog.NewTextHandler(io.Discard, nil)), telemetry.NewMetrics("sbc", "bench")); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(x.b.Close)
	x.carrier = x.robot(peer, transport.UDP, x.at(peerHost, peerPort), x.at(carrierHost, 5060), x.asCarrier)
	x.exchange = x.robot(core, transport.TLS, x.at(200, 40000), x.at(exchangeHost, 5070), x.asExchange)
	x.b.core.mu.Lock()
	x.b.core.flow = x.exchange.flow
	x.b.core.mu.Unlock()
	return x
}

func (x *bench) robot(side realmName, network transport.Network, local, remote netip.AddrPort, react func([]byte)) *robot {
	r := &robot{in: make(chan []byte, 4096), react: react}
	i, err := transport.NewVirtual(transport.Config{Name: string(side) + "-bench", Network: network}, x.b.realms[side])
	if err != nil {
		x.Fatal(err)
	}
	if r.flow, err = i.Attach(r, transport.Attachment{Network: network, Local: local, Remote: remote}); err != nil {
		x.Fatal(err)
	}
	go func() {
		for b := range r.in {
			r.react(b)
		}
	}()
	return r
}

// line is a header line of a message, CRLF included.
func line(b []byte, name string) []byte {
	from := bytes.Index(b, []byte("\r\n"+name+": ")) + 2
	return b[from : from+bytes.Index(b[from:], []byte("\r\n"))+2]
}

func copied(out, b []byte, names ...string) []byte {
	for _, name := range names {
		out = append(out, line(b, name)...)
	}
	return out
}

// call has the carrier begin the n-th call.
func (x *bench) call(n int) {
	sdp := offer(x.carrier.flow.Remote().Addr())
	x.carrier.flow.Deliver(fmt.Appendf(nil, "INVITE sip:4930123@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bKi%d\r\nMax-Forwards: 70\r\n"+
		"From: <sip:0170555@carrier.test>;tag=a%d\r\nTo: <sip:4930123@carrier.test>\r\nCall-ID: call-%d\r\nCSeq: 1 INVITE\r\n"+
		"Contact: <sip:a@%s>\r\nAllow: INVITE, ACK, BYE\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
		x.carrier.flow.Local(), x.carrier.flow.Remote(), n, n, n, x.carrier.flow.Remote(), len(sdp), sdp))
}

// within is a request of the carrier in the dialog that res began, or the ACK of a refusal, which has its branch.
func (x *bench) within(method string, seq int, branch string, res []byte) {
	out := fmt.Appendf(nil, "%s sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=%s\r\nMax-Forwards: 70\r\n", method, x.carrier.flow.Local(), x.carrier.flow.Remote(), branch)
	x.carrier.flow.Deliver(fmt.Appendf(copied(out, res, "From", "To", "Call-ID"), "CSeq: %d %s\r\nContent-Length: 0\r\n\r\n", seq, method))
}

// asCarrier acknowledges, hangs up and counts.
func (x *bench) asCarrier(b []byte) {
	id := string(bytes.TrimSpace(line(b, "Call-ID"))[len("Call-ID: call-"):])
	switch answer := bytes.HasSuffix(line(b, "CSeq"), []byte("INVITE\r\n")); {
	case bytes.HasPrefix(b, []byte("SIP/2.0 200")) && answer:
		x.within("ACK", 1, "z9hG4bKa"+id, b)
		x.within("BYE", 2, "z9hG4bKb"+id, b)
	case bytes.HasPrefix(b, []byte("SIP/2.0 503")) && answer:
		x.within("ACK", 1, "z9hG4bKi"+id, b)
		x.done <- struct{}{}
	case bytes.HasPrefix(b, []byte("SIP/2.0 200")):
		x.done <- struct{}{}
	case !bytes.HasPrefix(b, []byte("SIP/2.0 1")):
		x.Errorf("the carrier gets\n%s", b)
		x.done <- struct{}{}
	}
}

// asExchange rings, answers and agrees.
func (x *bench) asExchange(b []byte) {
	respond := func(status, body string) {
		out := copied([]byte("SIP/2.0 "+status+"\r\n"), b, "Via", "From", "To")
		if !bytes.Contains(line(b, "To"), []byte(";tag=")) {
			out = append(out[:len(out)-2], ";tag=b\r\n"...)
		}
		out = fmt.Appendf(copied(out, b, "Call-ID", "CSeq"), "Contact: <sip:pbx@%s>\r\n", x.exchange.flow.Remote())
		if body != "" {
			out = append(out, "Content-Type: application/sdp\r\n"...)
		}
		x.exchange.flow.Deliver(fmt.Appendf(out, "Content-Length: %d\r\n\r\n%s", len(body), body))
	}
	switch {
	case bytes.HasPrefix(b, []byte("INVITE ")):
		respond("180 Ringing", "")
		respond("200 OK", offer(x.exchange.flow.Remote().Addr()))
	case bytes.HasPrefix(b, []byte("BYE ")):
		respond("200 OK", "")
	}
}

// BenchmarkAdmission is what a call of a carrier costs from INVITE to the BYE's 200, beside one that is declined since the trunk is
// full, its ACK included. cpu-ns/op is all of the process: robots and collector, too.
func BenchmarkAdmission(b *testing.B) {
	for name, limit := range map[string]caps.Limit{"call": {}, "declined": {PerSecond: 1e-9, Burst: 1}} {
		b.Run(name, func(b *testing.B) {
			x := newBench(b, limit)
			x.call(-1) // the only one that a full trunk takes
			<-x.done
			b.ReportAllocs()
			before, open, n := processor(b), 0, 0
			for ; b.Loop(); n++ {
				x.call(n)
				if open++; open == 16 { // that many at once
					<-x.done
					open--
				}
			}
			for ; open > 0; open-- {
				<-x.done
			}
			b.ReportMetric(float64(processor(b)-before)/float64(n), "cpu-ns/op")
			if got := x.b.metrics.refused.Counts()[verdict.TrunkRate]; (got > 0) != (name == "declined") {
				b.Errorf("%d calls of %d are declined", got, n)
			}
		})
	}
}

// processor is how much processor time the process has used.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
