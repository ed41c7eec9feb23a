package b2bua

import (
	"runtime/debug"
	"sync"

	"brickhouse/shared/crew"
)

// mailboxLimit is how many events may wait for one call before those that a far side can send at will are refused.
const mailboxLimit = 256

// mailbox runs the events of one call one after the other. It keeps a goroutine only while there is something to do, so
// that a call which merely talks costs none.
type mailbox struct {
	mu      sync.Mutex // guards waiting, running
	waiting []func()
	running bool
	crew    *crew.Crew
	loop    func()            // run
	crashed func(any, []byte) // told of a panic in an event; the mailbox goes on
}

// post adds an event that the call can't do without: a timer, a command, the outcome of a request of ours. There are as
// many of them as we asked for.
func (m *mailbox) post(ev func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addLocked(ev)
}

// offer adds an event that a far side may cause as often as it likes. It reports whether there was room.
func (m *mailbox) offer(ev func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) >= mailboxLimit {
		return false
	}
	m.addLocked(ev)
	return true
}

func (m *mailbox) addLocked(ev func()) {
	m.waiting = append(m.waiting, ev)
	if !m.running {
		m.running = true
		m.crew.Go(m.loop)
	}
}

func (m *mailbox) run() {
	for {
		m.mu.Lock()
		batch := m.waiting
		m.waiting = nil
		if len(batch) == 0 {
			m.running = false
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		for _, ev := range batch {
			m.one(ev)
		}
	}
}

func (m *mailbox) one(ev func()) {
	defer func() {
		if p := recover(); p != nil {
			m.crashed(p, debug.Stack())
		}
	}()
	ev()
}
