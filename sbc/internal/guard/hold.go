package guard

import (
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// holdLocked shuts a source out by address and port, for a short time, in user space: one that is not verified, or one flow of an
// address behind which good registrations live.
func (g *Guard) holdLocked(h Held, now time.Time) {
	for len(g.held) >= g.cfg.MaxHolds {
		g.releaseLocked()
		g.holdsEvicted++
	}
	g.view.holds.set(h.Source, h.Until)
	if h.Verified {
		g.scoring.flows.set(h.Source, h.Until)
	}
	g.held = append(g.held, h)
	g.log.Debug("source is on hold", "source", h.Source, "reason", h.Reason, "verified", h.Verified, "until", h.Until)
	g.watch.publish(Event{At: now, Kind: EventHold, Held: &h})
}

// releaseLocked ends the oldest hold. A later one of the same source stays.
func (g *Guard) releaseLocked() {
	h := g.held[0]
	g.held = g.held[1:]
	for _, holds := range []*holdTable{g.view.holds, g.scoring.flows} {
		if t, ok := holds.get(h.Source); ok && !t.After(h.Until) {
			holds.delete(h.Source)
		}
	}
}

// AdmitFlow decides about a flow that proves its source, a connection or a datagram of a flow that a living registration came over:
// like Admit, and then whether that flow is on hold for what it has proven. Holds of what may be forged do not count, so that
// nobody silences a phone.
func (g *Guard) AdmitFlow(src netip.AddrPort) verdict.Verdict {
	src = netip.AddrPortFrom(plain(src.Addr()), src.Port())
	if v := g.Admit(src.Addr()); !v.OK() {
		return v
	}
	if t, ok := g.scoring.flows.get(src); ok && t.After(g.clock()) {
		return g.view.drop(verdict.SourceHeld, src, g.view.clock())
	}
	return verdict.Passed
}
