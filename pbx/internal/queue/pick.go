package queue

import (
	"math/rand/v2"
	"slices"

	"brickhouse/pbx/internal/dialplan"
)

// pickLocked returns the agents that are called for the next caller: one, or with the strategy all each who is free. None: nobody is.
func (q *Queues) pickLocked(l *line, conf *dialplan.Queue) []string {
	free := q.freeLocked(conf)
	if len(free) == 0 {
		return nil
	}
	first := free[0]
	by := func(before func(a, b *agent) bool) {
		for _, name := range free[1:] {
			if before(q.agentLocked(name), q.agentLocked(first)) {
				first = name
			}
		}
	}
	switch dialplan.Strategy(conf.Strategy) {
	case dialplan.All:
		return free
	case dialplan.LongestIdle:
		by(func(a, b *agent) bool { return a.idle.Before(b.idle) })
	case dialplan.FewestCalls:
		by(func(a, b *agent) bool { return a.took < b.took })
	case dialplan.Random:
		first = free[rand.IntN(len(free))]
	case dialplan.RoundRobin:
		for i := range conf.Agents {
			at := (l.next + i) % len(conf.Agents)
			if slices.Contains(free, conf.Agents[at]) {
				first, l.next = conf.Agents[at], at+1
				break
			}
		}
	}
	return []string{first}
}

// freeLocked returns the agents that can be called now, those with the lowest penalty, in the order of the list.
func (q *Queues) freeLocked(conf *dialplan.Queue) []string {
	var free []string
	now, lowest := q.opt.Now(), 0
	for _, name := range conf.Agents {
		a := q.agentLocked(name)
		if a.calls != nil || now.Before(a.until) || q.opt.Presence(name, conf.Login) != In || !q.opt.Free(name) {
			continue
		}
		penalty := conf.Penalties[name]
		if len(free) > 0 && penalty > lowest {
			continue
		}
		if len(free) > 0 && penalty < lowest {
			free = free[:0]
		}
		lowest = penalty
		free = append(free, name)
	}
	return free
}
