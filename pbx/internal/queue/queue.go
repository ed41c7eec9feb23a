// Package queue decides which waiting caller gets which agent.
//
//	caller ─► Enter ─► Place ──Offers──► its agents are called ──► Taken ──► Done, and the agent wraps up
//	                     ▲                        │
//	                     └──────── Missed ────────┘
//	Leave: the caller is gone, or has waited for too long
//
// An agent is offered one caller at a time, whatever queues it is in. The caller who has waited longest comes first, over all queues.
package queue

import (
	"errors"
	"slices"
	"sync"
	"time"

	"brickhouse/pbx/internal/dialplan"
)

// Presence is whether an agent takes calls.
type Presence string

// The presences.
const (
	In     Presence = "in"
	Out    Presence = "out"
	Paused Presence = "paused"
)

// Options are what queues must know of the rest of the exchange. The functions are called with a lock held: they must not call back.
type Options struct {
	Queue    func(name string) (dialplan.Queue, bool)
	Presence func(agent string, login bool) Presence // login: it is out unless it has logged in
	Free     func(agent string) bool                 // its phones can ring, and it is in no call
	Pause    func(agent string)                      // it has missed too many calls; on a goroutine of its own
	CallOff  func(call string)                       // no agent that is called for this caller takes calls any more
	Now      func() time.Time
}

// Queues are all queues. It is safe for concurrent use.
type Queues struct {
	opt  Options
	kick chan struct{}

	mu      sync.Mutex
	lines   map[string]*line
	agents  map[string]*agent
	running bool // dispatch goes on by itself, while somebody waits
}

// line are those who wait in one queue, first come first.
type line struct {
	name    string
	waiting []*Place
	next    int // where round-robin goes on
	handled []time.Duration
	counts
}

// counts are since the start.
type counts struct {
	answered, abandoned int
	waited              time.Duration // of those who were answered
}

// agent is what queues know of an extension.
type agent struct {
	calls  *Place    // for whom it is called, or with whom it talks
	until  time.Time // it gets no call before
	idle   time.Time // when its last call of a queue ended
	took   int
	missed int // in a row
}

// Place is that of one caller.
type Place struct {
	Offers chan []string // agents that are to be called for this caller now

	q         *Queues
	line      *line
	call      string
	caller    string
	since     time.Time
	calling   []string  // agents that are being called
	withdrawn bool      // CallOff was asked for
	taken     string    // agent that answered
	at        time.Time // when it did
}

// Errors of Enter.
var (
	ErrFull  = errors.New("the queue is full")
	ErrEmpty = errors.New("no agent is logged in")
	ErrGone  = errors.New("there is no such queue")
)

// Times of the queue itself.
const (
	tick      = 500 * time.Millisecond
	afterMiss = 5 * time.Second // an agent who missed a call gets the next one so much later
	remembers = 20              // calls, for the time that it may take
)

// New returns queues without callers.
func New(o Options) *Queues {
	return &Queues{opt: o, kick: make(chan struct{}, 1), lines: map[string]*line{}, agents: map[string]*agent{}}
}

// Kick has free agents looked for at once: something about them has changed.
func (q *Queues) Kick() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// Enter puts a caller at the end of a queue. since is when it came.
func (q *Queues) Enter(name, call, caller string, since time.Time) (*Place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	conf, ok := q.opt.Queue(name)
	if !ok {
		return nil, ErrGone
	}
	l := q.lines[name]
	if l == nil {
		l = &line{name: name}
		q.lines[name] = l
	}
	switch {
	case len(l.waiting) >= conf.Calls:
		return nil, ErrFull
	case conf.Empty == dialplan.EmptyLeave && q.presentLocked(&conf) == 0:
		return nil, ErrEmpty
	}
	p := &Place{Offers: make(chan []string, 1), q: q, line: l, call: call, caller: caller, since: since}
	l.insert(p)
	if !q.running {
		q.running = true
		go q.run()
	}
	q.Kick()
	return p, nil
}

// insert puts a caller where it belongs by the time it came.
func (l *line) insert(p *Place) {
	i, _ := slices.BinarySearchFunc(l.waiting, p, func(a, b *Place) int { return a.since.Compare(b.since) })
	for i < len(l.waiting) && l.waiting[i].since.Equal(p.since) {
		i++
	}
	l.waiting = slices.Insert(l.waiting, i, p)
}

func (l *line) remove(p *Place) bool {
	i := slices.Index(l.waiting, p)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return true
}

// presentLocked counts the agents that are logged in, paused ones too.
func (q *Queues) presentLocked(conf *dialplan.Queue) int {
	n := 0
	for _, a := range conf.Agents {
		if q.opt.Presence(a, conf.Login) != Out {
			n++
		}
	}
	return n
}

// run looks for free agents until nobody waits any more.
func (q *Queues) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-q.kick:
		case <-t.C:
		}
		if !q.dispatch() {
			return
		}
	}
}

// dispatch offers callers to free agents. It reports whether anybody waits.
func (q *Queues) dispatch() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*Place
	for _, l := range q.lines {
		all = append(all, l.waiting...)
	}
	slices.SortStableFunc(all, func(a, b *Place) int { return a.since.Compare(b.since) })
	none := map[*line]bool{} // queues without a free agent
	for _, p := range all {
		conf, ok := q.opt.Queue(p.line.name)
		switch {
		case !ok || none[p.line]:
		case p.calling != nil:
			q.withdrawLocked(p, &conf)
		default:
			agents := q.pickLocked(p.line, &conf)
			if none[p.line] = len(agents) == 0; len(agents) > 0 {
				p.calling, p.withdrawn = agents, false
				for _, a := range agents {
					q.agentLocked(a).calls = p
				}
				p.Offers <- agents
			}
		}
	}
	q.running = len(all) > 0
	return q.running
}

// withdrawLocked ends the call to agents that have all logged out meanwhile, or paused.
func (q *Queues) withdrawLocked(p *Place, conf *dialplan.Queue) {
	gone := func(a string) bool { return q.opt.Presence(a, conf.Login) != In || !slices.Contains(conf.Agents, a) }
	if p.withdrawn || slices.ContainsFunc(p.calling, func(a string) bool { return !gone(a) }) {
		return
	}
	p.withdrawn = true
	q.opt.CallOff(p.call)
}

func (q *Queues) agentLocked(name string) *agent {
	a := q.agents[name]
	if a == nil {
		a = &agent{}
		q.agents[name] = a
	}
	return a
}

// Leave ends a caller's place. Of one that was taken nothing happens.
func (p *Place) Leave() {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	if p.line.remove(p) {
		p.line.abandoned++
	}
	p.releaseLocked()
}

// releaseLocked frees the agents that were called for this caller, and not the one who took it.
func (p *Place) releaseLocked() {
	for _, name := range p.calling {
		if a := p.q.agentLocked(name); a.calls == p && name != p.taken {
			a.calls = nil
		}
	}
	p.calling = nil
	p.q.Kick()
}

// Missed tells that none of the agents who were called has taken the caller, who waits on. rang: their phones rang.
func (p *Place) Missed(rang bool) {
	q := p.q
	q.mu.Lock()
	defer q.mu.Unlock()
	conf, _ := q.opt.Queue(p.line.name)
	for _, name := range p.calling {
		a := q.agentLocked(name)
		a.until = q.opt.Now().Add(afterMiss)
		if !rang || p.withdrawn || name == p.taken {
			continue
		}
		if a.missed++; conf.Misses > 0 && a.missed >= conf.Misses && conf.Strategy != string(dialplan.All) {
			a.missed = 0
			go q.opt.Pause(name)
		}
	}
	if p.taken != "" { // and was lost again
		p.line.answered--
		p.line.waited -= p.at.Sub(p.since)
		q.agentLocked(p.taken).calls = nil
		p.taken = ""
		p.line.insert(p)
	}
	p.releaseLocked()
}

// Taken tells that an agent has answered.
func (p *Place) Taken(name string) {
	q := p.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if !p.line.remove(p) {
		return
	}
	p.taken, p.at = name, q.opt.Now()
	p.line.answered++
	p.line.waited += p.at.Sub(p.since)
	a := q.agentLocked(name)
	a.calls, a.missed = p, 0
	a.took++
	for _, other := range p.calling {
		if o := q.agentLocked(other); o.calls == p && other != name {
			o.calls = nil
		}
	}
}

// Done tells that the call with the agent who took it is over.
func (p *Place) Done() {
	q := p.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.taken == "" {
		return
	}
	conf, _ := q.opt.Queue(p.line.name)
	now := q.opt.Now()
	a := q.agentLocked(p.taken)
	a.idle, a.until = now, now.Add(conf.WrapUp)
	if a.calls == p {
		a.calls = nil
	}
	l := p.line
	l.handled = append(l.handled, now.Sub(p.at)+conf.WrapUp)
	l.handled = l.handled[max(0, len(l.handled)-remembers):]
	p.calling = nil
	q.Kick()
}

// Ahead returns the caller's place, from 1 on, and how long it may take until it is its turn; 0: the queue does not know.
func (p *Place) Ahead() (place int, wait time.Duration) {
	q := p.q
	q.mu.Lock()
	defer q.mu.Unlock()
	place = slices.Index(p.line.waiting, p) + 1
	conf, ok := q.opt.Queue(p.line.name)
	if n := q.presentLocked(&conf); ok && n > 0 && len(p.line.handled) > 0 {
		sum := time.Duration(0)
		for _, h := range p.line.handled {
			sum += h
		}
		wait = sum / time.Duration(len(p.line.handled)) * time.Duration(place) / time.Duration(n)
	}
	return place, wait
}
