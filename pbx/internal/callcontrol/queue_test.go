package callcontrol

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/queue"
	"brickhouse/shared/cdr"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// withQueue puts a queue into the rig's dialplan.
func (r *rig) withQueue(change func(*dialplan.Queue)) {
	r.t.Helper()
	q := dialplan.Queue{Number: "1700", Agents: []string{"1001", "1002"}}
	q.SetDefaults()
	q.Strategy, q.WrapUp, q.Prefix = "in-turn", 0, "Help: "
	if change != nil {
		change(&q)
	}
	plan, err := dialplan.Compile(dialplan.File{
		Queues: map[string]dialplan.Queue{"help": q},
		Rules:  append([]dialplan.Rule{{Number: "4930777", From: "carrier", Do: "queue", Queue: "help"}}, rules...),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.control.SetDialplan(plan)
}

// inQueue has the caller call the queue.
func (r *rig) inQueue(number string) (*transactiontest.Asked, *sip.Response) {
	r.t.Helper()
	asked, v := r.dial(number, nil)
	if !v.OK() {
		r.t.Fatal(v)
	}
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	return asked, res
}

// recorded waits until there are so many records of a number that was dialled.
func (r *rig) recorded(dialled string, n int) []cdr.Record {
	r.t.Helper()
	var out []cdr.Record
	eventually(r.t, func() string {
		out = nil
		for _, rec := range r.records() {
			if rec.Dialled == dialled {
				out = append(out, rec)
			}
		}
		if len(out) < n {
			return "too few records of " + dialled
		}
		return ""
	})
	return out
}

// TestQueue: the first agent does not answer, the second takes the call; a second caller waits until it is free.
func TestQueue(t *testing.T) {
	r := newRig(t, nil)
	r.withQueue(nil)
	first, second := r.extension("1001"), r.extension("1002")
	r.set(func() { r.who = Caller{Number: "1009", Realm: "peer", Trunk: "carrier", Trace: "trace-1"} })
	r.inQueue("4930777")
	s := first.Next(sip.INVITE)
	if from := s.Request().From(); from.DisplayName != "Help: 1009" || from.Address.User != "1009" {
		t.Errorf("the agent is called by %v", from)
	}
	first.Answer(s, 486, "")
	s = second.Next(sip.INVITE)
	second.Answer(s, 180, "")
	second.Answer(s, 200, offer)
	agrees(r.caller)
	second.NextAck()
	eventually(t, func() string {
		if q := r.control.Queues()[0]; q.Answered != 1 || q.Agents[1].State != "talks" || q.Agents[0].State != "wraps-up" || len(q.Waiting) > 0 {
			return "queues know nothing of the call"
		}
		return ""
	})
	if err := r.control.SetDND(t.Context(), "1001", true); err != nil { // so that only the second is left
		t.Fatal(err)
	}
	waits := r.reaches("1003", "1700")
	eventually(t, func() string {
		if q := r.control.Queues()[0]; len(q.Waiting) != 1 || q.Waiting[0].Number != "1003" {
			return "the second caller does not wait"
		}
		return ""
	})
	second.Quiet()
	second.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE), 200)
	hungUp(r.caller)
	s = second.Next(sip.INVITE)
	second.Answer(s, 200, offer)
	agrees(waits.Party)
	second.NextAck()
	waits.hangsUp()
	hungUp(second)
	waiting, agents := r.recorded("4930777", 1)[0], r.recorded("1700", 4)
	if waiting.Queue != "1700" || waiting.Callee != "1700" || waiting.Reason != verdict.Transferred || waiting.Trunk != "carrier" {
		t.Errorf("record of who waited %+v", waiting)
	}
	by := map[string]int{}
	for _, rec := range agents {
		if rec.Queue != "1700" {
			t.Errorf("record %+v", rec)
		}
		by[rec.Callee+" "+string(rec.Disposition)]++
	}
	if by["1001 busy"] != 1 || by["1002 answered"] != 2 || by["1700 answered"] != 1 {
		t.Errorf("records %v", by)
	}
}

// An agent who logs out while its phone rings is called no longer, and the caller goes on to the next.
func TestAgentLeavesWhileItRings(t *testing.T) {
	r := newRig(t, nil)
	r.withQueue(nil)
	first, second := r.extension("1001"), r.extension("1002")
	r.inQueue("1700")
	s := first.Next(sip.INVITE)
	stops := cancelled(t, first, s)
	first.Answer(s, 180, "")
	if err := r.control.SetAgent(t.Context(), "1001", queue.Out); err != nil {
		t.Fatal(err)
	}
	stops()
	s = second.Next(sip.INVITE)
	second.Answer(s, 200, offer)
	agrees(r.caller)
	second.NextAck()
	second.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE), 200)
	hungUp(r.caller)
}

// Who hangs up while an agent's phone rings takes nobody's time.
func TestQueueCallerHangsUp(t *testing.T) {
	r := newRig(t, nil)
	r.withQueue(nil)
	p := r.extension("1001")
	asked, res := r.inQueue("1700")
	s := p.Next(sip.INVITE)
	stops := cancelled(t, p, s)
	p.Answer(s, 180, "")
	r.bye(asked, res)
	stops()
	eventually(t, func() string {
		if q := r.control.Queues()[0]; q.Abandoned != 1 || len(q.Waiting) > 0 || q.Agents[0].State == "called" || q.Agents[0].State == "talks" {
			return "the queue holds on to it"
		}
		return ""
	})
}

// Where nobody takes the call it leaves: after its time, or at once where no agent is in.
func TestQueueOverflows(t *testing.T) {
	for name, change := range map[string]func(*dialplan.Queue){
		"time":     func(q *dialplan.Queue) { q.MaxWait = time.Second },
		"nobody":   func(q *dialplan.Queue) { q.Empty, q.Login = "leave", true },
		"too many": func(q *dialplan.Queue) { q.Calls = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.withQueue(func(q *dialplan.Queue) { q.Then = "1004"; change(q) })
			if name == "too many" {
				r.reaches("1008", "1700")
				eventually(t, func() string {
					if len(r.control.Queues()[0].Waiting) == 0 {
						return "nobody waits"
					}
					return ""
				})
				r.set(func() { r.who = Caller{Number: "1009", Realm: Inside, Trace: "trace-1"} })
			}
			p := r.extension("1004")
			r.inQueue("1700")
			s := p.Next(sip.INVITE)
			p.Answer(s, 200, offer)
			agrees(r.caller)
			p.NextAck()
			p.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE), 200)
			hungUp(r.caller)
		})
	}
}

// Agents log in by codes; who is no agent can't.
func TestAgentCodes(t *testing.T) {
	r := newRig(t, nil)
	r.withQueue(func(q *dialplan.Queue) { q.Login = true })
	r.extension("1001")
	state := func(want queue.Presence) {
		t.Helper()
		if got := r.control.Queues()[0].Agents[0].Presence; got != want {
			t.Errorf("1001 is %s, not %s", got, want)
		}
	}
	state(queue.Out)
	for _, x := range []struct {
		code string
		want queue.Presence
	}{{"*50", queue.In}, {"*52", queue.Paused}, {"*50", queue.In}, {"*51", queue.Out}} {
		r.reaches("1001", x.code)
		state(x.want)
	}
	if err := r.control.SetAgent(t.Context(), "1009", queue.In); err == nil {
		t.Error("an extension that is no agent logs in")
	}
	if err := r.control.SetAgent(t.Context(), "1001", "away"); err == nil {
		t.Error("an agent is away")
	}
}

// An agent that misses its calls is paused, and calls go elsewhere.
func TestAgentMisses(t *testing.T) {
	r := newRig(t, nil)
	r.withQueue(func(q *dialplan.Queue) { q.Misses, q.Ring = 1, time.Second })
	p := r.extension("1001")
	r.inQueue("1700")
	s := p.Next(sip.INVITE)
	stops := cancelled(t, p, s)
	p.Answer(s, 180, "")
	stops() // it has rung for its time
	eventually(t, func() string {
		if got := r.control.Queues()[0].Agents[0].Presence; got != queue.Paused {
			return "the agent is " + string(got)
		}
		return ""
	})
}

// Whatever callers hear of their place has a sound.
func TestStanding(t *testing.T) {
	sounds, err := prompt.English()
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]string{
		"queue-next queue-thanks":                                                  standing(1, 0),
		"queue-next queue-soon queue-thanks":                                       standing(1, time.Second),
		"queue-place 3 queue-in-line queue-soon queue-thanks":                      standing(3, 80*time.Second),
		"queue-place 20 1 queue-in-line queue-time 1 hundred minutes queue-thanks": standing(21, 100*time.Minute),
		"queue-place 2 queue-in-line queue-time 2 minutes queue-thanks":            standing(2, 90*time.Second),
	} {
		if strings.Join(got, " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
		for _, name := range got {
			if len(sounds[name]) == 0 {
				t.Errorf("%s has no sound", name)
			}
		}
	}
}
