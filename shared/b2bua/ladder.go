package b2bua

import (
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// DefaultKept is how many calls that are over an engine remembers unless told otherwise.
const DefaultKept = 1000

// maxSteps bounds the ladder of one call. A call that needs more is seen at its beginning.
const maxSteps = 200

// Step is one message of a call: what it was, never what stood in it.
type Step struct {
	At     time.Time         `json:"at"`
	Side   string            `json:"side"` // "a" or "b"
	Leg    string            `json:"leg"`  // of B: the name of the target
	Sent   bool              `json:"sent"` // by us
	Method sip.RequestMethod `json:"method"`
	Code   int               `json:"code,omitempty"` // of a response
	CSeq   uint32            `json:"cseq"`
	SDP    bool              `json:"sdp,omitempty"` // it carried a session description
	Remote netip.AddrPort    `json:"remote,omitzero"`
}

// Record is a call as it went.
type Record struct {
	Info
	Ended   time.Time      `json:"ended,omitzero"`
	Code    int            `json:"code,omitempty"` // final status of the INVITE, once it ended
	Reason  verdict.Reason `json:"reason,omitempty"`
	Media   []MediaSide    `json:"media,omitempty"`
	Steps   []Step         `json:"steps"`
	Skipped int            `json:"skipped,omitempty"` // steps above what is kept of one call
}

// ladder is what passed in a call, in order.
type ladder struct {
	mu      sync.Mutex // the call's goroutine writes, commands read
	steps   []Step
	skipped int
	ending  *Ending // nil: not yet
}

// note writes a message of a leg down. flow is the one that it came or goes by; nil if it has none yet.
func (c *Call) note(l *leg, sent bool, flow *transport.Flow, msg sip.Message) {
	step := Step{At: c.eng.cfg.Now(), Side: l.side.String(), Leg: l.target.Name, Sent: sent, SDP: sdpOf(msg) != nil}
	switch m := msg.(type) {
	case *sip.Request:
		step.Method = m.Method
		if h := m.CSeq(); h != nil {
			step.CSeq = h.SeqNo
		}
	case *sip.Response:
		step.Code = m.StatusCode
		if h := m.CSeq(); h != nil {
			step.Method, step.CSeq = h.MethodName, h.SeqNo
		}
	}
	if flow != nil {
		step.Remote = flow.Remote()
	}
	c.ladder.add(step)
}

// noteCancel writes down a CANCEL of the INVITE with that number: the transaction layer reads and sends it by itself.
func (c *Call) noteCancel(l *leg, sent bool, seq uint32) {
	step := Step{At: c.eng.cfg.Now(), Side: l.side.String(), Leg: l.target.Name, Sent: sent, Method: sip.CANCEL, CSeq: seq}
	if l.flow != nil {
		step.Remote = l.flow.Remote()
	}
	c.ladder.add(step)
}

func (s *ladder) add(step Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == maxSteps {
		s.skipped++
		return
	}
	s.steps = append(s.steps, step)
}

// end writes down how the call ended.
func (s *ladder) end(e Ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = &e
}

// record is the call as it went so far.
func (c *Call) record() Record {
	r := Record{Info: *c.shown.Load()}
	if c.measure != nil {
		r.Media = c.measure()
	}
	c.ladder.mu.Lock()
	defer c.ladder.mu.Unlock()
	r.Steps, r.Skipped = append([]Step(nil), c.ladder.steps...), c.ladder.skipped
	if e := c.ladder.ending; e != nil {
		r.Ended, r.Code, r.Reason = e.At, e.Code, e.Reason
	}
	return r
}

// memory are the calls that are over, the last ones only.
type memory struct {
	mu    sync.Mutex
	calls []Record // a ring
	next  int
}

// keep remembers a call that is over. One whose caller was only asked who it is does not push out a real one.
func (m *memory) keep(r Record, most int) {
	if r.Reason == verdict.Challenged || most <= 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.calls) < most {
		m.calls = append(m.calls, r)
		return
	}
	m.calls[m.next] = r
	m.next = (m.next + 1) % len(m.calls)
}

// Records returns the calls of that ID or trace, in hand or remembered, oldest first.
func (e *Engine) Records(id string) []Record {
	var out []Record
	e.memory.mu.Lock()
	n := len(e.memory.calls)
	for i := range n {
		r := &e.memory.calls[(e.memory.next+i)%n]
		if r.ID == id || r.Trace == id && id != "" {
			out = append(out, *r)
		}
	}
	e.memory.mu.Unlock()
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, c := range e.calls {
		if c.id == id || c.info.Trace == id && id != "" {
			out = append(out, c.record())
		}
	}
	return out
}
