package queue

import "time"

// Status is a queue as people see it.
type Status struct {
	Name      string
	Number    string
	Waiting   []Caller
	Agents    []AgentStatus
	Answered  int // since the start
	Abandoned int
	MeanWait  time.Duration // of those who were answered
}

// Caller is one who waits.
type Caller struct {
	Number  string
	Call    string
	Since   time.Time
	Calling []string // agents that are called for it now
}

// AgentStatus is an agent of a queue.
type AgentStatus struct {
	Extension string
	Presence  Presence
	State     string // "free", "called", "talks" (with a caller of a queue), "wraps-up", "busy" (else)
	Took      int    // calls of queues since the start
}

// Status returns what is going on in a queue; false if there is none of that name.
func (q *Queues) Status(name string) (Status, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	conf, ok := q.opt.Queue(name)
	if !ok {
		return Status{}, false
	}
	s := Status{Name: name, Number: conf.Number}
	if l := q.lines[name]; l != nil {
		for _, p := range l.waiting {
			s.Waiting = append(s.Waiting, Caller{p.caller, p.call, p.since, append([]string(nil), p.calling...)})
		}
		s.Answered, s.Abandoned = l.answered, l.abandoned
		if l.answered > 0 {
			s.MeanWait = l.waited / time.Duration(l.answered)
		}
	}
	for _, name := range conf.Agents {
		a := q.agentLocked(name)
		s.Agents = append(s.Agents, AgentStatus{name, q.opt.Presence(name, conf.Login), q.stateLocked(name, a), a.took})
	}
	return s, true
}

func (q *Queues) stateLocked(name string, a *agent) string {
	switch {
	case a.calls != nil && a.calls.taken == name:
		return "talks"
	case a.calls != nil:
		return "called"
	case q.opt.Now().Before(a.until):
		return "wraps-up"
	case !q.opt.Free(name):
		return "busy"
	}
	return "free"
}
