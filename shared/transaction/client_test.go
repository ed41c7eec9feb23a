package transaction

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// Timers A and B: an unanswered INVITE on UDP is sent seven times in 32 s.
func TestClientInviteUnanswered(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		gap := t1
		for n := 1; n <= 6; n++ {
			r.pass(gap - time.Millisecond)
			if got := len(r.out()); got != n {
				t.Errorf("before retransmission %d: %d sent", n, got)
			}
			r.pass(time.Millisecond)
			gap *= 2
		}
		r.pass(time.Minute)
		r.wants("7 in all", "INVITE", "INVITE", "INVITE", "INVITE", "INVITE", "INVITE", "INVITE")
		if e.String() != ErrTimeout.Error() {
			t.Errorf("events: %s", e)
		}
		r.counts("after timer B", 0, 0)
		for _, b := range r.ours.Sent() {
			if !bytes.Equal(b, r.ours.Sent()[0]) {
				t.Errorf("retransmission differs:\n%s", b)
			}
		}
	})
	bubble(t, transport.TCP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		r.pass(33 * time.Second)
		r.wants("on a stream", "INVITE")
		if e.String() != ErrTimeout.Error() {
			t.Errorf("events: %s", e)
		}
	})
}

// T11, T18: any number of provisional responses, and a user that takes its time holds up nothing.
func TestClientManyProvisionals(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		hold := make(chan struct{})
		var got []int
		_, err := r.layer.Send(r.flow, request(sip.INVITE), func(ev Event) {
			<-hold
			got = append(got, ev.Response.StatusCode)
		})
		if err != nil {
			t.Fatal(err)
		}
		_, e := r.send(sip.OPTIONS)
		held := make(chan struct{})
		go func() { // another reader: the held one is in the callback
			defer close(held)
			for range 51 {
				res, err := sipmsg.Parse(replyTo(t, r.ours.Sent()[0], 180, "far"))
				if err != nil {
					t.Error(err)
					return
				}
				go r.layer.Message(r.flow, res)
			}
		}()
		<-held
		r.pass(time.Second)
		r.reply(1, 200, "far")
		if e.String() != "200" {
			t.Errorf("another transaction is held up: %s", e)
		}
		close(hold)
		r.reply(0, 200, "far")
		if len(got) != 52 || got[51] != 200 {
			t.Errorf("events: %v", got)
		}
	})
}

// RFC 3261 §17.1.1.3: the layer acknowledges a 3xx-6xx, again and again, and tells its user once.
func TestClientInviteRefused(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		r.reply(0, 100, "")
		r.pass(time.Minute) // no retransmission after a provisional response
		r.reply(0, 486, "far")
		r.reply(0, 486, "far")
		r.wants("refused", "INVITE", "ACK", "ACK")
		invite, ack := r.ours.Sent()[0], r.ours.Sent()[1]
		for _, name := range []string{"Via", "From", "Call-ID", "Route"} {
			if line(invite, name) != line(ack, name) {
				t.Errorf("%s of the ACK is %q, of the INVITE %q", name, line(ack, name), line(invite, name))
			}
		}
		if line(ack, "To") != "<sip:200@example.com>;tag=far" || line(ack, "CSeq") != "7 ACK" {
			t.Errorf("ACK:\n%s", ack)
		}
		if e.String() != "100, 486" {
			t.Errorf("events: %s", e)
		}
		r.reply(0, 200, "far") // impossible, but if it comes the user may end it
		if len(r.user.strays) != 1 {
			t.Errorf("%d strays", len(r.user.strays))
		}
		r.pass(33 * time.Second)
		r.counts("after timer D", 0, 0)
	})
	bubble(t, transport.TCP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		r.reply(0, 486, "far")
		r.wants("on a stream", "INVITE", "ACK")
		r.counts("timer D is 0", 0, 0)
		if e.String() != "486" {
			t.Errorf("events: %s", e)
		}
	})
}

// RFC 6026 §7.2: each 2xx of a forked INVITE arrives, until timer M; later ones are strays.
func TestClientInviteAccepted(t *testing.T) {
	for _, network := range []transport.Network{transport.UDP, transport.TCP} {
		bubble(t, network, func(r *rig) {
			_, e := r.send(sip.INVITE)
			r.reply(0, 180, "a")
			r.reply(0, 200, "a")
			r.reply(0, 200, "b")
			r.reply(0, 200, "a")
			r.reply(0, 486, "c") // of no use any more
			r.reply(0, 180, "c")
			if e.String() != "180, 200, 200, 200" {
				t.Errorf("events: %s", e)
			}
			r.pass(31 * time.Second)
			r.counts("before timer M", 0, 1)
			r.pass(2 * time.Second)
			r.counts("after timer M", 0, 0)
			r.reply(0, 200, "a")
			if len(r.user.strays) != 1 {
				t.Errorf("%d strays", len(r.user.strays))
			}
			r.wants("the ACK is the user's", "INVITE")
		})
	}
}

func TestClientNonInvite(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.OPTIONS)
		r.pass(33 * time.Second)
		if n := len(r.out()); n != 11 { // 0, .5, 1.5, 3.5, then every 4 s
			t.Errorf("%d sent, want 11", n)
		}
		if e.String() != ErrTimeout.Error() {
			t.Errorf("events: %s", e)
		}
	})
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.OPTIONS)
		r.reply(0, 100, "")
		r.pass(3999 * time.Millisecond)
		r.wants("T2 after a provisional", "OPTIONS")
		r.pass(time.Millisecond)
		r.wants("T2 after a provisional", "OPTIONS", "OPTIONS")
		r.reply(0, 200, "far")
		r.reply(0, 200, "far")
		if e.String() != "100, 200" {
			t.Errorf("events: %s", e)
		}
		r.pass(4 * time.Second)
		r.counts("before timer K", 0, 1)
		r.pass(2 * time.Second)
		r.counts("after timer K", 0, 0)
	})
	bubble(t, transport.TCP, func(r *rig) {
		_, e := r.send(sip.OPTIONS)
		r.pass(30 * time.Second)
		r.reply(0, 200, "far")
		r.wants("on a stream", "OPTIONS")
		r.counts("timer K is 0", 0, 0)
		if e.String() != "200" {
			t.Errorf("events: %s", e)
		}
	})
}

// RFC 3261 §9.1.
func TestClientCancel(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		c, e := r.send(sip.INVITE)
		c.Cancel(sip.NewHeader("Reason", "SIP;cause=200"))
		c.Cancel()
		r.pass(time.Second)
		r.wants("before a provisional", "INVITE")
		r.reply(0, 100, "")
		r.wants("after one", "INVITE", "CANCEL")
		r.reply(0, 180, "far")
		r.wants("after another", "INVITE", "CANCEL")
		invite, cancel := r.ours.Sent()[0], r.ours.Sent()[1]
		for _, name := range []string{"Via", "From", "To", "Call-ID", "Route"} {
			if line(invite, name) != line(cancel, name) {
				t.Errorf("%s of the CANCEL is %q, of the INVITE %q", name, line(cancel, name), line(invite, name))
			}
		}
		if line(cancel, "CSeq") != "7 CANCEL" || line(cancel, "Reason") != "SIP;cause=200" {
			t.Errorf("CANCEL:\n%s", cancel)
		}
		r.reply(1, 200, "far")
		r.reply(0, 487, "far")
		if e.String() != "100, 180, 487" {
			t.Errorf("events: %s", e)
		}
		r.wants("487 is acknowledged", "INVITE", "CANCEL", "ACK")
	})
	bubble(t, transport.UDP, func(r *rig) {
		c, e := r.send(sip.INVITE)
		r.reply(0, 180, "far")
		c.Cancel()
		r.pass(33 * time.Second)
		if e.String() != "180, "+ErrTimeout.Error() {
			t.Errorf("neither answered: %s", e)
		}
		if got := r.out(); got[1] != "CANCEL" || len(got) < 10 {
			t.Errorf("CANCEL is not retransmitted: %q", got)
		}
	})
	bubble(t, transport.UDP, func(r *rig) {
		c, e := r.send(sip.INVITE)
		r.reply(0, 180, "far")
		r.reply(0, 200, "far")
		c.Cancel()
		r.wants("after the answer", "INVITE")
		o, _ := r.send(sip.OPTIONS)
		r.reply(1, 100, "")
		o.Cancel()
		r.wants("only INVITE", "INVITE", "OPTIONS")
		if e.String() != "180, 200" || c.Flow() != r.flow {
			t.Errorf("events: %s", e)
		}
	})
	bubble(t, transport.UDP, func(r *rig) { // a 200 that overtakes the CANCEL
		c, e := r.send(sip.INVITE)
		r.reply(0, 180, "far")
		c.Cancel()
		r.reply(0, 200, "far")
		if e.String() != "180, 200" {
			t.Errorf("events: %s", e)
		}
	})
}

// Timer C: who rings and says nothing is cancelled, then given up.
func TestClientRingsForEver(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		r.reply(0, 180, "far")
		r.pass(3 * time.Minute)
		r.reply(0, 180, "far")
		r.pass(3 * time.Minute)
		r.wants("each provisional begins anew", "INVITE")
		r.pass(time.Minute + time.Second)
		r.wants("timer C", "INVITE", "CANCEL")
		r.pass(33 * time.Second)
		if e.String() != "180, 180, "+ErrTimeout.Error() {
			t.Errorf("events: %s", e)
		}
		r.counts("given up", 0, 0)
	})
}

// What is not the answer to our request is not taken for it.
func TestClientRefusesForeignResponses(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.OPTIONS)
		good := replyTo(t, r.ours.Sent()[0], 200, "far")
		via := "Via: " + line(good, "Via")
		for name, with := range map[string]string{
			"another host":   strings.Replace(via, "192.0.2.1", "192.0.2.99", 1),
			"another port":   strings.Replace(via, ":5060", ":5061", 1),
			"two Vias":       via + "\r\n" + strings.Replace(via, "192.0.2.1", "192.0.2.3", 1),
			"another branch": strings.Replace(via, "branch=z9hG4bK", "branch=z9hG4bKx", 1),
			"no branch":      "Via: SIP/2.0/UDP 192.0.2.1:5060",
		} {
			r.put(bytes.Replace(good, []byte(via), []byte(with), 1))
			if e.String() != "" {
				t.Fatalf("%s: taken", name)
			}
		}
		r.put(bytes.Replace(good, []byte("CSeq: 7 OPTIONS"), []byte("CSeq: 7 BYE"), 1))
		if e.String() != "" {
			t.Fatal("a response to another method is taken")
		}
		if len(r.user.strays) != 2 {
			t.Errorf("%d strays, want those with another branch and another method", len(r.user.strays))
		}
		r.put(good)
		if e.String() != "200" {
			t.Errorf("events: %s", e)
		}
	})
}

func TestClientVia(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, _ = r.send(sip.OPTIONS)
		_, _ = r.send(sip.OPTIONS)
		a, b := line(r.ours.Sent()[0], "Via"), line(r.ours.Sent()[1], "Via")
		if !strings.HasPrefix(a, "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK") || !strings.HasSuffix(a, ";rport") || a == b {
			t.Errorf("Via %q, then %q", a, b)
		}
	})
	bubble(t, transport.TLS, func(r *rig) {
		_, _ = r.send(sip.OPTIONS)
		if a := line(r.last(), "Via"); !strings.HasPrefix(a, "SIP/2.0/TLS 192.0.2.1:5060;branch=z9hG4bK") || strings.Contains(a, "rport") {
			t.Errorf("Via %q", a)
		}
	})
}

func TestSendRefusesBadRequests(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
			bad := request(sip.OPTIONS)
			sipmsg.Remove(bad, name)
			if _, err := r.layer.Send(r.flow, bad, nil); !errors.Is(err, ErrBadMessage) {
				t.Errorf("without %s: %v", name, err)
			}
		}
		bad := request(sip.OPTIONS)
		bad.CSeq().MethodName = sip.BYE
		if _, err := r.layer.Send(r.flow, bad, nil); !errors.Is(err, ErrBadMessage) {
			t.Errorf("CSeq of another method: %v", err)
		}
		if err := r.layer.SendAck(r.flow, bad); !errors.Is(err, ErrBadMessage) {
			t.Errorf("a bad ACK: %v", err)
		}
		r.wants("nothing")
		if _, err := r.layer.Send(r.flow, request(sip.OPTIONS), nil); err != nil { // no callback is fine
			t.Error(err)
		}
		r.reply(0, 200, "far")
	})
}

func TestSendAck(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		ack := request(sip.ACK)
		for range 2 {
			if err := r.layer.SendAck(r.flow, ack); err != nil {
				t.Fatal(err)
			}
		}
		sent := r.ours.Sent()
		if len(sent) != 2 || !bytes.Equal(sent[0], sent[1]) || bytes.Count(sent[0], []byte("\r\nVia:")) != 1 {
			t.Errorf("sent %q", sent)
		}
		r.counts("an ACK is no transaction", 0, 0)
		r.ours.Stop()
		if err := r.layer.SendAck(r.flow, ack); !errors.Is(err, ErrTransport) {
			t.Errorf("on an ended flow: %v", err)
		}
	})
}

// The end of a connection is the end of what waits for an answer on it, after what has arrived.
func TestClientFlowCloses(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		_, calling := r.send(sip.INVITE)
		_, ringing := r.send(sip.INVITE)
		r.reply(1, 180, "far")
		_, talking := r.send(sip.INVITE)
		r.reply(2, 200, "far")
		r.ours.Stop()
		synctest.Wait()
		for want, e := range map[string]*events{
			ErrTransport.Error(): calling, "180, " + ErrTransport.Error(): ringing, "200": talking,
		} {
			if e.String() != want {
				t.Errorf("events: %s, want %s", e, want)
			}
		}
		r.counts("all ended", 0, 0)
		_, err := r.layer.Send(r.flow, request(sip.OPTIONS), func(Event) { t.Error("event of a request that was not sent") })
		if !errors.Is(err, ErrTransport) {
			t.Errorf("sending on an ended flow: %v", err)
		}
		r.counts("nothing stays", 0, 0)
		if len(r.layer.flows.m) != 0 {
			t.Error("the index keeps the flow")
		}
	})
}

func TestClientClose(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		_, e := r.send(sip.INVITE)
		r.layer.Close()
		if e.String() != ErrClosed.Error() {
			t.Errorf("events: %s", e)
		}
	})
}

// T16: a panic in a callback is the loss of that callback.
func TestCallbackPanics(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		var got []int
		_, err := r.layer.Send(r.flow, request(sip.INVITE), func(ev Event) {
			got = append(got, ev.Response.StatusCode)
			panic("a fault of ours")
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.reply(0, 180, "far")
		r.reply(0, 200, "far")
		if fmt.Sprint(got) != "[180 200]" {
			t.Errorf("events: %v", got)
		}
	})
}
