package callcontrol

import (
	"cmp"
	"context"
	"io"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/prompt"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// newQueues makes the queues of a call control.
func (c *Control) newQueues() *queue.Queues {
	return queue.New(queue.Options{
		Queue:    func(name string) (dialplan.Queue, bool) { return c.plan.Load().Queue(name) },
		Presence: c.presence, Free: c.mayRing,
		Pause: func(agent string) {
			ctx, cancel := context.WithTimeout(context.Background(), changePatience)
			defer cancel()
			if err := c.SetAgent(ctx, agent, queue.Paused); err != nil {
				c.cfg.Log.Error("an agent who misses its calls can't be paused", "extension", agent, "error", err)
			}
		},
		CallOff: func(call string) { c.cfg.Engine.CallOff(call) },
		Now:     c.cfg.Now,
	})
}

// presence is whether an agent takes calls. login: it is out unless it has logged in.
func (c *Control) presence(agent string, login bool) queue.Presence {
	p := queue.Presence(c.cfg.Store.Services(agent).Agent)
	switch {
	case p != "":
		return p
	case login:
		return queue.Out
	}
	return queue.In
}

// mayRing reports whether an agent's phones can ring now for a call of a queue.
func (c *Control) mayRing(agent string) bool {
	_, known := c.cfg.Store.Extension(agent)
	return known && !c.cfg.Store.Services(agent).DND && !c.parties.busy(agent, "") && len(c.cfg.Store.Bindings(agent, c.cfg.Now())) > 0
}

// SetAgent logs an agent in at its queues, out, or pauses it. When it returns, that is on disk.
func (c *Control) SetAgent(ctx context.Context, extension string, p queue.Presence) error {
	plan := c.plan.Load()
	if !slices.Contains([]queue.Presence{queue.In, queue.Out, queue.Paused}, p) {
		return unfit("%q is no state of an agent; give in, out or paused", p)
	}
	if !slices.ContainsFunc(plan.Queues(), func(name string) bool {
		q, _ := plan.Queue(name)
		return slices.Contains(q.Agents, extension)
	}) {
		return unfit("extension %s is no agent of a queue", extension)
	}
	if err := c.change(ctx, extension, func(s *store.Services) error { s.Agent = string(p); return nil }); err != nil {
		return err
	}
	c.cfg.Log.Info("agent", "extension", extension, "is", p)
	c.queues.Kick()
	return nil
}

// Queues returns what is going on in all queues.
func (c *Control) Queues() []queue.Status {
	var out []queue.Status
	for _, name := range c.plan.Load().Queues() {
		if s, ok := c.queues.Status(name); ok {
			out = append(out, s)
		}
	}
	return out
}

// enqueue has the caller wait for an agent.
func (a *attempt) enqueue(name string) (b2bua.Turn, verdict.Verdict) {
	q, ok := a.plan.Queue(name)
	if !ok {
		return b2bua.Turn{}, notHere
	}
	a.at, a.hunt, a.rec.Queue = "", nil, q.Number
	a.place(q.Number)
	return a.silently(func(ctx context.Context, d line) { a.waitForAgent(ctx, d, name, q) }), verdict.Passed
}

// waitForAgent is the script of who waits in a queue.
func (a *attempt) waitForAgent(ctx context.Context, d line, name string, q dialplan.Queue) {
	came := a.c.cfg.Now()
	if _, err := d.Play(ctx, a.c.cfg.Prompts.Say(q.Say...)); err != nil {
		return
	}
	p, err := a.c.queues.Enter(name, a.id, a.caller.Number, came)
	if err != nil {
		a.c.cfg.Log.Info("queue is not entered", "call", a.id, "trace", a.caller.Trace, "queue", name, "why", err)
	} else if a.hold(ctx, d, p, q) {
		return
	}
	if ctx.Err() == nil && q.Then != "" && a.leadOn(ctx, d, q.Then, cmp.Or(q.Rights, q.Number)) < 300 {
		return
	}
	_, _ = d.Play(ctx, a.c.cfg.Prompts.Say("vm-goodbye"))
}

// hold has a caller wait at a place until an agent has taken it, which it reports, or it has waited too long, or is gone.
func (a *attempt) hold(ctx context.Context, d line, p *queue.Place, q dialplan.Queue) (taken bool) {
	defer p.Leave()
	limit, cancel := context.WithTimeout(ctx, q.MaxWait)
	defer cancel()
	sound := a.c.cfg.Music.Play()
	for {
		pause := q.Announce
		if pause == 0 {
			pause = q.MaxWait
		}
		agents := a.listen(limit, d, sound, p, pause)
		switch {
		case agents != nil:
			rang := false
			code := a.passOn(ctx, d, sound, func(w b2bua.Refer) (plan b2bua.Plan, err error) {
				plan, err = a.callAgents(w, p, agents, q)
				rang = err == nil
				return plan, err
			})
			if code < 300 {
				return true
			}
			p.Missed(rang)
		case limit.Err() != nil:
			return false
		default:
			if _, err := d.Play(limit, a.c.cfg.Prompts.Say(standing(p.Ahead())...)); err != nil && limit.Err() == nil {
				return false
			}
		}
	}
}

// listen plays music until there are agents to be called, which it returns, or the time is over.
func (a *attempt) listen(ctx context.Context, d line, sound io.Reader, p *queue.Place, pause time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	offered := make(chan []string, 1)
	go func() {
		defer close(offered)
		select {
		case agents := <-p.Offers:
			offered <- agents
			cancel()
		case <-ctx.Done():
		}
	}()
	entertain(ctx, d, sound)
	cancel()
	return <-offered
}

// standing says a caller's place, and how long it may take.
func standing(place int, wait time.Duration) []string {
	words := []string{"queue-next"}
	if place > 1 {
		words = append(append([]string{"queue-place"}, prompt.Number(place)...), "queue-in-line")
	}
	switch minutes := int((wait + time.Minute/2) / time.Minute); {
	case wait == 0:
	case minutes <= 1:
		words = append(words, "queue-soon")
	default:
		words = append(append(append(words, "queue-time"), prompt.Number(minutes)...), "minutes")
	}
	return append(words, "queue-thanks")
}

// callAgents makes the call of who waits to agents.
func (a *attempt) callAgents(w b2bua.Refer, p *queue.Place, agents []string, q dialplan.Queue) (b2bua.Plan, error) {
	w.Account = q.Number
	who := a.party(w)
	who.only = &only{among: agents, ring: q.Ring, prefix: q.Prefix, queue: q.Number, place: p}
	return a.c.callFor(w, who, q.Number, "")
}

// only says that a call is to the phones of certain extensions, and that nothing else becomes of it: no forward, no mailbox.
type only struct {
	among  []string
	ring   time.Duration
	prefix string       // before the caller's name
	queue  string       // number of the queue that calls; empty: none
	place  *queue.Place // of who waits there
}

// toOnly rings the phones of those whom a service has chosen.
func (a *attempt) toOnly(plan b2bua.Plan) (b2bua.Plan, verdict.Verdict) {
	o := a.caller.only
	a.prefix, a.rec.Queue = o.prefix, o.queue
	a.been = append(a.been, o.among...)
	turn := b2bua.Turn{Ring: o.ring, Apart: true}
	v := verdict.Rejected(sip.StatusTemporarilyUnavailable, verdict.NotRegistered)
	for _, number := range o.among {
		phones, when, refused := a.ready(a.c.cfg.Store.Services(number))
		if when != "" {
			v = refused
			continue
		}
		a.place(number)
		turn.Targets = append(turn.Targets, phones...)
	}
	if len(turn.Targets) == 0 {
		return plan, v
	}
	turn.Targets = turn.Targets[:min(len(turn.Targets), maxTogether)]
	return a.begin(plan, turn), verdict.Passed
}
