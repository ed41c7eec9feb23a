package transaction

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

const t1 = 500 * time.Millisecond

// RFC 6026 §7.1: after a 2xx the transaction absorbs INVITEs and passes ACKs on, until timer L.
func TestInviteAccepted(t *testing.T) {
	for _, network := range []transport.Network{transport.UDP, transport.TCP} {
		bubble(t, network, func(r *rig) {
			r.put(req("INVITE", branch, ""))
			s := r.user.server(t)
			r.respond(s, 180)
			r.put(req("INVITE", branch, "")) // retransmission while proceeding: the last provisional again
			r.wants("proceeding", "180 INVITE", "180 INVITE")
			r.respond(s, 200)
			r.put(req("INVITE", branch, ""))
			r.pass(10 * time.Second)
			r.wants("accepted", "180 INVITE", "180 INVITE", "200 INVITE")
			if err := s.Resend(); err != nil { // T20: the user repeats the 2xx, as often as it needs
				t.Error(err)
			}
			if err := s.Respond(answer(s, 200)); err != nil {
				t.Errorf("a further 2xx: %v", err)
			}
			if err := s.Respond(answer(s, 486)); !errors.Is(err, ErrFinal) {
				t.Errorf("486 after 200: %v", err)
			}
			r.put(reqSeq("ACK", "ACK", branch, "x", 1, ""))         // with the INVITE's branch
			r.put(reqSeq("ACK", "ACK", branch+"other", "x", 1, "")) // with its own, as it should be
			if len(r.user.acks) != 2 {
				t.Errorf("user got %d ACKs, want 2", len(r.user.acks))
			}
			r.pass(21 * time.Second)
			r.counts("before timer L", 1, 0)
			r.pass(2 * time.Second)
			r.counts("after timer L", 0, 0)
			if err := s.Resend(); !errors.Is(err, ErrTerminated) {
				t.Errorf("resend after timer L: %v", err)
			}
		})
	}
}

// RFC 3261 §17.2.1: a 3xx-6xx is repeated on UDP until the ACK, which the layer absorbs.
func TestInviteRefused(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		s.OnEnd(func(err error) { t.Errorf("failed: %v", err) })
		r.respond(s, 486)
		sent := 1
		for n, at := range []time.Duration{t1, 2 * t1, 4 * t1, 8 * t1, 8 * t1} { // timer G: up to T2
			r.pass(at - time.Millisecond)
			if got := len(r.out()); got != sent {
				t.Errorf("before retransmission %d: %d sent", n, got)
			}
			r.pass(time.Millisecond)
			sent++
			if got := len(r.out()); got != sent {
				t.Errorf("after retransmission %d: %d sent, want %d", n, got, sent)
			}
		}
		r.put(req("INVITE", branch, ""))
		r.put(reqSeq("ACK", "ACK", branch, s.Tag(), 1, ""))
		r.put(reqSeq("ACK", "ACK", branch, s.Tag(), 1, ""))
		r.pass(4 * time.Second)
		if got := len(r.out()); got != sent+1 {
			t.Errorf("after INVITE, ACK, ACK: %d sent, want %d", got, sent+1)
		}
		r.counts("confirmed", 1, 0)
		r.pass(2 * time.Second)
		r.counts("after timer I", 0, 0)
		if len(r.user.acks) != 0 {
			t.Error("the ACK of a 486 reached the user")
		}
	})
}

func TestInviteRefusedOnStream(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		r.respond(s, 486)
		r.pass(10 * time.Second)
		r.wants("no retransmission", "486 INVITE")
		r.put(reqSeq("ACK", "ACK", branch, s.Tag(), 1, ""))
		r.counts("after ACK", 0, 0)
	})
}

// Timer H: nobody acknowledges.
func TestInviteRefusedWithoutACK(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		var ended []error
		s.OnEnd(func(err error) { ended = append(ended, err) })
		r.respond(s, 486)
		r.pass(33 * time.Second)
		if len(ended) != 1 || !errors.Is(ended[0], ErrTimeout) {
			t.Errorf("ended with %v", ended)
		}
		r.counts("after timer H", 0, 0)
		s.OnEnd(func(err error) { ended = append(ended, err) })
		if len(ended) != 2 {
			t.Error("OnEnd after the end does not run at once")
		}
	})
}

// RFC 3261 §17.2.1: 100 after 200 ms, unless the user was faster.
func TestAutomaticTrying(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, "Timestamp: 54\r\n"))
		r.put(req("INVITE", branch, ""))
		r.pass(199 * time.Millisecond)
		r.wants("before 200 ms")
		r.pass(time.Millisecond)
		r.wants("after 200 ms", "100 INVITE")
		if b := r.last(); line(b, "Timestamp") != "54" || strings.Contains(line(b, "To"), "tag") {
			t.Errorf("100:\n%s", b)
		}
		r.put(req("INVITE", branch, ""))
		r.wants("retransmission", "100 INVITE", "100 INVITE")
		r.put(reqSeq("OPTIONS", "OPTIONS", branch+"o", "", 2, ""))
		r.pass(time.Second)
		r.wants("none for OPTIONS", "100 INVITE", "100 INVITE")
	})
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		r.respond(r.user.server(t), 183)
		r.pass(time.Second)
		r.wants("the user was faster", "183 INVITE")
	})
}

// T19: a transaction lives as long as it needs, whoever returns.
func TestSlowAnswer(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		r.pass(3 * time.Minute)
		r.respond(r.user.server(t), 200)
		r.wants("after three minutes", "100 INVITE", "200 INVITE")
	})
	bubble(t, transport.TCP, func(r *rig) { // a user that forgets it
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		var ended error
		s.OnEnd(func(err error) { ended = err })
		r.pass(11 * time.Minute)
		r.counts("forgotten", 0, 0)
		if !errors.Is(ended, ErrTimeout) {
			t.Errorf("ended with %v", ended)
		}
		if err := s.Respond(answer(s, 200)); !errors.Is(err, ErrTimeout) {
			t.Errorf("too late an answer: %v", err)
		}
	})
}

func TestNonInvite(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("REGISTER", branch, ""))
		r.put(req("REGISTER", branch, ""))
		r.wants("trying")
		s := r.user.server(t)
		r.respond(s, 200)
		r.put(req("REGISTER", branch, ""))
		r.wants("completed", "200 REGISTER", "200 REGISTER")
		if err := s.Respond(answer(s, 401)); !errors.Is(err, ErrFinal) {
			t.Errorf("a second final response: %v", err)
		}
		if len(r.user.servers) != 1 {
			t.Errorf("user got %d requests", len(r.user.servers))
		}
		r.pass(31 * time.Second)
		r.counts("before timer J", 1, 0)
		r.pass(2 * time.Second)
		r.counts("after timer J", 0, 0)
	})
	bubble(t, transport.TCP, func(r *rig) {
		r.put(req("REGISTER", branch, ""))
		r.respond(r.user.server(t), 200)
		r.counts("on a stream timer J is 0", 0, 0)
		if err := r.user.server(t).Respond(answer(r.user.server(t), 200)); !errors.Is(err, ErrTerminated) {
			t.Errorf("responding after the end: %v", err)
		}
	})
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("REGISTER", branch, ""))
		var ended error
		r.user.server(t).OnEnd(func(err error) { ended = err })
		r.pass(33 * time.Second)
		if !errors.Is(ended, ErrTimeout) {
			t.Errorf("unanswered: ended with %v", ended)
		}
		r.counts("unanswered", 0, 0)
	})
}

// T23: what a finished transaction keeps is bytes.
func TestFinishedTransactionsKeepNoMessage(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		s.OnCancel(func() {})
		r.respond(s, 200)
		r.put(reqSeq("BYE", "BYE", branch+"b", "", 2, ""))
		bye := r.user.servers[1]
		bye.OnEnd(func(error) {})
		r.respond(bye, 200)
		_, _ = r.send(sip.INVITE)
		r.reply(2, 200, "far")
		_, _ = r.send(sip.OPTIONS)
		r.reply(3, 200, "far")
		for _, tx := range r.layer.servers.all() {
			tx.mu.Lock()
			if tx.req != nil || tx.onCancel != nil || (!tx.invite && tx.onEnd != nil) {
				t.Errorf("%v in state %d keeps its request or callbacks", tx.key.method, tx.state)
			}
			tx.mu.Unlock()
		}
		for _, tx := range r.layer.clients.all() {
			tx.mu.Lock()
			if tx.req != nil || len(tx.events) != 0 {
				t.Errorf("%v in state %d keeps a message", tx.key.method, tx.state)
			}
			tx.mu.Unlock()
		}
		r.counts("all are there", 2, 2)
		r.pass(time.Minute)
		r.counts("and end", 0, 0)
	})
}

func TestCancel(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		canceled := 0
		s.OnCancel(func() { canceled++ })
		r.respond(s, 180)
		tag := line(r.last(), "To")
		for range 2 {
			r.put(reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
		}
		r.wants("canceled twice", "180 INVITE", "200 CANCEL", "200 CANCEL")
		if to := line(r.last(), "To"); to != tag { // RFC 3261 §9.2
			t.Errorf("To of the 200 is %q, of the 180 %q", to, tag)
		}
		r.respond(s, 487)
		r.put(reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
		if canceled != 1 {
			t.Errorf("OnCancel ran %d times", canceled)
		}
	})
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		r.put(reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
		s := r.user.server(t)
		canceled := 0
		s.OnCancel(func() { canceled++ })
		if canceled != 1 {
			t.Error("OnCancel does not run at once after the CANCEL")
		}
	})
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		s.OnCancel(func() { t.Error("canceled after the 200") })
		r.respond(s, 200)
		r.put(reqSeq("CANCEL", "CANCEL", branch, "", 1, ""))
		r.wants("200 for both", "200 INVITE", "200 CANCEL")
		r.put(reqSeq("CANCEL", "CANCEL", branch+"none", "", 1, ""))
		if got := r.user.servers[1].Request().Method; got != sip.CANCEL {
			t.Errorf("a CANCEL of nothing: user got %s", got)
		}
	})
}

// RFC 3261 §8.2.2.2: the same request by two ways is answered 482, and its ACK absorbed.
func TestMergedRequest(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		r.put(req("INVITE", branch+"2", ""))
		r.wants("merged", "482 INVITE")
		r.put(reqSeq("ACK", "ACK", branch+"2", "x", 1, ""))
		if len(r.user.acks) != 0 || len(r.user.servers) != 1 || len(r.user.refused) != 1 || r.user.refused[0] != verdict.LoopDetected {
			t.Errorf("user: %d ACKs, %d requests, refused %v", len(r.user.acks), len(r.user.servers), r.user.refused)
		}
		r.put(reqSeq("INVITE", "INVITE", branch+"3", "", 2, ""))         // another CSeq is another request
		r.put(reqSeq("INVITE", "INVITE", branch+"4", "indialog", 1, "")) // inside a dialog
		if len(r.user.servers) != 3 {
			t.Errorf("user got %d requests, want 3", len(r.user.servers))
		}
		r.respond(r.user.servers[0], 401)
		r.put(req("INVITE", branch+"5", "")) // a phone that does not count up after 401
		if len(r.user.servers) != 4 {
			t.Errorf("user got %d requests, want 4", len(r.user.servers))
		}
	})
}

// Over the limit new requests get 503 without state; calls that are up go on a little longer.
func TestOverload(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		b := func(n int) string { return branch + string(rune('a'+n)) }
		for n := range 7 {
			r.put(reqSeq("INVITE", "INVITE", b(n), "", n+1, ""))
		}
		r.put(reqSeq("INVITE", "INVITE", b(7), "", 8, ""))
		r.wants("the eighth", "503 INVITE")
		if line(r.last(), "Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		to := line(r.last(), "To")
		_, tag, _ := strings.Cut(to, "tag=")
		r.put(reqSeq("ACK", "ACK", b(7), tag, 8, ""))
		r.put(reqSeq("BYE", "BYE", b(8), "indialog", 9, ""))
		r.put(reqSeq("BYE", "BYE", b(9), "indialog", 10, ""))
		r.wants("in a dialog", "503 INVITE", "503 BYE")
		r.counts("at the limit", 8, 0)
		if len(r.user.acks) != 0 || len(r.user.refused) != 2 || r.user.refused[0] != verdict.Overload {
			t.Errorf("%d ACKs reached the user, refused %v", len(r.user.acks), r.user.refused)
		}
		_, _ = r.send(sip.OPTIONS)
		if _, err := r.layer.Send(r.flow, request(sip.OPTIONS), nil); !errors.Is(err, ErrOverload) {
			t.Errorf("a second client transaction: %v", err)
		}
	}, WithLimits(8, 1))
}

// RFC 3261 §8.2.7: a challenge leaves nothing behind.
func TestStatelessResponse(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		if err := r.user.server(t).RespondStateless(answer(r.user.server(t), 401)); err != nil {
			t.Fatal(err)
		}
		r.counts("after 401", 0, 0)
		_, tag, _ := strings.Cut(line(r.last(), "To"), "tag=")
		r.put(reqSeq("ACK", "ACK", branch, tag, 1, ""))
		r.pass(time.Minute)
		r.wants("no retransmission", "401 INVITE")
		if len(r.user.acks) != 0 {
			t.Error("its ACK reached the user")
		}
		r.put(req("INVITE", branch, ""))
		if len(r.user.servers) != 2 {
			t.Error("a retransmission is no new request")
		}
	})
}

// RFC 3261 §17.2.3: senders whose branch is not unique.
func TestOldBranches(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		for range 2 {
			r.put(req("INVITE", "1", ""))
		}
		s := r.user.server(t)
		canceled := false
		s.OnCancel(func() { canceled = true })
		r.put(reqSeq("CANCEL", "CANCEL", "1", "", 1, ""))
		r.respond(s, 487)
		r.put(reqSeq("ACK", "ACK", "1", s.Tag(), 1, ""))
		r.put(reqSeq("INVITE", "INVITE", "1", "", 2, "")) // the next one, with the same branch
		if !canceled || len(r.user.acks) != 0 || len(r.user.servers) != 2 {
			t.Errorf("canceled %v, %d ACKs, %d requests", canceled, len(r.user.acks), len(r.user.servers))
		}
		r.put(reqSeq("OPTIONS", "OPTIONS", "z9hG4bK", "", 3, "")) // the cookie alone is not unique
		r.put(reqSeq("OPTIONS", "OPTIONS", "z9hG4bK", "", 4, ""))
		if len(r.user.servers) != 4 {
			t.Errorf("%d requests, want 4", len(r.user.servers))
		}
	})
}

// The end of a connection ends what waits on it.
func TestServerFlowCloses(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		var ended []error
		r.put(req("INVITE", branch, ""))
		pending := r.user.server(t)
		pending.OnEnd(func(err error) { ended = append(ended, err) })
		r.put(reqSeq("INVITE", "INVITE", branch+"2", "", 2, ""))
		accepted := r.user.servers[1]
		accepted.OnEnd(func(err error) { t.Errorf("a 2xx was sent, yet it failed: %v", err) })
		r.respond(accepted, 200)
		r.put(reqSeq("INVITE", "INVITE", branch+"3", "", 3, ""))
		refused := r.user.servers[2]
		refused.OnEnd(func(err error) { ended = append(ended, err) })
		r.respond(refused, 486)
		r.ours.Stop()
		synctest.Wait()
		if len(ended) != 2 || !errors.Is(ended[0], ErrTransport) || !errors.Is(ended[1], ErrTransport) {
			t.Errorf("ended with %v", ended)
		}
		r.counts("the accepted one stays", 1, 0)
		if err := pending.Respond(answer(pending, 200)); !errors.Is(err, ErrTransport) {
			t.Errorf("responding: %v", err)
		}
		accepted.OnEnd(nil)
		r.pass(33 * time.Second)
		r.counts("until timer L", 0, 0)
		if len(r.layer.flows.m) != 0 {
			t.Error("the index keeps the flow")
		}
	})
}

// A response that can't be sent ends the transaction, and says so once.
func TestRespondFails(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		s := r.user.server(t)
		s.OnEnd(func(err error) { t.Errorf("told again: %v", err) })
		r.layer.flows.take(r.flow) // as if Closed were still to come
		r.ours.Stop()
		if err := s.Respond(answer(s, 200)); !errors.Is(err, ErrTransport) || !errors.Is(err, transport.ErrClosed) {
			t.Errorf("responding: %v", err)
		}
		r.counts("ended", 0, 0)
	})
}

func TestServerClose(t *testing.T) {
	bubble(t, transport.TCP, func(r *rig) {
		r.put(req("INVITE", branch, ""))
		var ended error
		r.user.server(t).OnEnd(func(err error) { ended = err; panic("in a callback") })
		r.layer.Close()
		if !errors.Is(ended, ErrClosed) {
			t.Errorf("ended with %v", ended)
		}
		r.put(req("OPTIONS", branch+"late", ""))
		if len(r.user.servers) != 1 {
			t.Error("a closed layer takes requests")
		}
		if _, err := r.layer.Send(r.flow, request(sip.OPTIONS), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("sending on a closed layer: %v", err)
		}
	})
}

// A message that can't be matched is not for the layer.
func TestUnmatchable(t *testing.T) {
	bubble(t, transport.UDP, func(r *rig) {
		bare := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: "example.com"})
		r.layer.Message(r.flow, bare)
		r.layer.Message(r.flow, sip.NewResponse(200, "OK"))
		noTo := bytes.Replace(req("OPTIONS", branch, ""), []byte("To: <sip:200@example.com>\r\n"), nil, 1)
		msg, err := sipmsg.Parse(noTo)
		if err != nil {
			t.Fatal(err)
		}
		r.layer.Message(r.flow, msg)
		if len(r.user.servers) != 1 {
			t.Errorf("user got %d requests, want the one with a Via", len(r.user.servers))
		}
	})
}
