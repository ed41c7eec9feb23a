package relay

import "net/netip"

// Kernel sends plain RTP on before it comes to us.
type Kernel interface {
	Stream() (KernelStream, error) // room for one direction of a call
}

// KernelStream is one direction of a call. Counted and InForce may be called at any time, the others one at a time; none waits for long.
type KernelStream interface {
	Forward(Stream)                   // from now on the kernel sends its packets on, or as soon as it can
	Stop()                            // from now on they come to us
	Counted() (packets, bytes uint64) // sent on since the stream was made; bytes are UDP payload
	InForce() bool                    // the kernel sends on now
	Close()                           // gives the room back
}

// Stream says what is sent on: packets of exactly this source, with these payload types. What else comes to the port comes to us.
type Stream struct {
	Local  netip.AddrPort // ours that they come to
	From   netip.AddrPort // latched
	Source netip.AddrPort // ours that they leave from
	Target netip.AddrPort
	Types  PayloadTypes
}

// UseKernel has plain streams sent on by the kernel. It is called before the first Open.
func (r *Readers) UseKernel(k Kernel) {
	r.kernel, r.moved = k, make(chan *Session, movedQueue)
	r.running.Go(func() {
		for {
			select {
			case <-r.stop:
				return
			case s := <-r.moved:
				s.follow()
			}
		}
	})
}

// movedQueue is how many sessions with a latch that moved may wait; one that finds no room is handed over at its next move or rule.
const movedQueue = 4096

// stream is what the kernel may do for the packets from a side: with plain RTP on both sides there is nothing else that we would do
// with them. False if they have to come to us: a side with a Link also sends STUN and DTLS. Nothing is handed over before it is latched.
func (n *rule) stream(side int, hosts [2]netip.AddrPort) (Stream, bool) {
	in, out := &n.ends[side], &n.ends[side^1]
	from := in.latches.rtp.at.Load()
	to, wanted := out.target()
	if !in.sendsPlain() || out.Sender != nil || out.Link != nil || from == nil || !wanted || !to.IsValid() || to.Port() == 0 {
		return Stream{}, false
	}
	s := Stream{Local: hosts[side], From: *from, Source: hosts[side^1], Target: to, Types: in.Types}
	for _, a := range []netip.AddrPort{s.Local, s.From, s.Source, s.Target} {
		if a.Addr().Is4() != s.Local.Addr().Is4() || a.Addr().IsUnspecified() {
			return Stream{}, false
		}
	}
	return s, true
}

// sendsPlain reports whether what comes from a side is RTP, and nothing else.
func (e *end) sendsPlain() bool {
	return e.Receiver == nil && e.Previous == nil && e.Link == nil && !e.Pending
}

// handed is one direction of a session as the kernel has it.
type handed struct {
	k    KernelStream // nil: never was there
	want Stream
	on   bool
}

// latchMoved has the session's streams follow, soon.
func (s *Session) latchMoved() {
	if s.moved == nil || s.waiting.Swap(true) {
		return
	}
	select {
	case s.moved <- s:
	default:
		s.waiting.Store(false)
	}
}

// follow brings the kernel up to what the latches say.
func (s *Session) follow() {
	s.waiting.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rule.Load(); r != nil {
		s.handOverLocked(r)
	}
}

// handOverLocked gives the kernel the streams that it may have.
func (s *Session) handOverLocked(r *rule) {
	if s.kernel == nil || s.closed.Load() {
		return
	}
	for side := range s.handed {
		h := &s.handed[side]
		want, ok := r.stream(side, s.locals())
		if !ok || h.on && h.want == want {
			continue
		}
		if h.k == nil {
			k, err := s.kernel.Stream()
			if err != nil {
				s.log.Debug("a call is relayed in user space", "error", err)
				return
			}
			h.k = k
			s.sentOn[side].Store(&k)
		}
		h.k.Forward(want)
		h.want, h.on = want, true
	}
}

// takeBackLocked ends what the kernel does that it may not do under the rule to come; nil: all.
func (s *Session) takeBackLocked(next *rule) {
	for side := range s.handed {
		h := &s.handed[side]
		if !h.on {
			continue
		}
		if next != nil {
			if want, ok := next.stream(side, s.locals()); ok && want == h.want {
				continue
			}
		}
		h.k.Stop()
		h.on = false
	}
}

// closeKernelLocked gives the kernel's room back and keeps what was counted.
func (s *Session) closeKernelLocked() {
	s.takeBackLocked(nil)
	for side := range s.handed {
		if k := s.handed[side].k; k != nil {
			packets, bytes := k.Counted()
			s.sentOn[side].Store(nil)
			s.counts[side].keep(packets, bytes)
			k.Close()
			s.handed[side] = handed{}
		}
	}
}

// locals are our addresses of RTP.
func (s *Session) locals() (a [2]netip.AddrPort) {
	for i, p := range s.pairs {
		a[i] = netip.AddrPortFrom(p.Host.Unmap(), p.Port)
	}
	return a
}

// byKernel is what the kernel has sent on of the packets from a side, and whether it does so now.
func (s *Session) byKernel(side int) (packets, bytes uint64, now bool) {
	k := s.sentOn[side].Load()
	if k == nil {
		return 0, 0, false
	}
	packets, bytes = (*k).Counted()
	return packets, bytes, (*k).InForce()
}
