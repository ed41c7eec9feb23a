package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"brickhouse/bpf/table"
	"brickhouse/shared/verdict"
)

// Trial is what would happen now to a packet from a source, and why.
type Trial struct {
	Addr    netip.Addr     `json:"addr"`
	Outcome string         `json:"outcome"`          // "pass" or "drop: reason"
	Reason  verdict.Reason `json:"reason,omitempty"` // why it would be dropped
	Where   string         `json:"where"`            // "kernel" or "user-space": where that is decided
	Source  string         `json:"source"`           // "never banned", "banned", "limited", "known" or "stranger"
	Because string         `json:"because,omitempty"`
	Steps   []string       `json:"steps"` // the checks, in their order
}

// Test says what would happen to a packet from a source: to a local port over UDP, or to make a TCP connection to it. port 0 stands for
// a SIP port of ours. It sends nothing and counts nothing.
func (g *Guard) Test(addr netip.Addr, port uint16, tcp bool) Trial {
	addr = plain(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	t := Trial{Addr: addr, Where: whereUser}
	if g.kernel != nil {
		t.Where = whereKernel
	}
	now := g.clock()
	f := g.set.Lookup(addr, table.Now(g.base.of(now)))
	step := func(format string, a ...any) { t.Steps = append(t.Steps, fmt.Sprintf(format, a...)) }
	monitored := g.cfg.monitored()
	switch {
	case f.Class == table.Allow:
		t.Source = "never banned"
		p, group, _ := g.view.allowed(addr)
		t.Because = group + " " + p.String()
		step("never-ban list: %s; nothing else is asked", t.Because)
		t.Outcome = verdict.Passed.String()
		return t
	case f.Ban != 0:
		t.Source, t.Because = "banned", g.listName(f.Ban.List())
		t.Reason = banReason(f.Network)
		step("never-ban list: not on it")
		step("%s by %s", t.Reason, t.Because)
	default:
		t.Source = map[table.List]string{table.Known: "known", table.Limited: "limited"}[f.Class]
		if t.Source == "" {
			t.Source = "stranger"
		}
		step("never-ban list: not on it")
		if f.Noted != 0 {
			step("%s by %s, which only counts", banReason(f.NotedIn), g.listName(f.Noted.List()))
		} else {
			step("no ban")
		}
		t.Reason = g.testPort(port, tcp, f.Class, step)
	}
	if n, until := g.heldLocked(addr, now); n > 0 && t.Reason == verdict.None {
		step("the border answers nothing to %d ports of it, which are on hold until %s at most", n, until.Format(time.DateTime))
	}
	switch {
	case t.Reason == verdict.None:
		t.Outcome = verdict.Passed.String()
	case monitored[t.Reason]:
		step("%s only counts", t.Reason)
		t.Outcome = verdict.Passed.String()
	default:
		t.Outcome = verdict.Dropped(t.Reason).String()
	}
	return t
}

// heldLocked is how many ports of an address are on hold, and until when the last of them is.
func (g *Guard) heldLocked(a netip.Addr, now time.Time) (n int, until time.Time) {
	ports := map[uint16]bool{}
	for _, h := range g.held {
		if h.Source.Addr() == a && h.Until.After(now) {
			ports[h.Source.Port()] = true
			if h.Until.After(until) {
				until = h.Until
			}
		}
	}
	return len(ports), until
}

// testPort goes on where no ban decides.
func (g *Guard) testPort(port uint16, tcp bool, class table.List, step func(string, ...any)) verdict.Reason {
	sip := g.ports.SIPUDP
	if tcp {
		sip = g.ports.SIPTCP
	}
	if port == 0 || slices.Contains(sip, port) {
		r := g.cfg.Rates
		switch {
		case class == table.Limited:
			step("strict rate: %v a second, %d at once", r.Limited.Rate, r.Limited.Burst)
		case class == table.Known:
			step("good registrations live there: %v datagrams or connections a second, %d at once", r.Known.Rate, r.Known.Burst)
		case tcp:
			step("new connections: %v a second, %d at once", r.Connections.Rate, r.Connections.Burst)
		default:
			step("a stranger: %v datagrams a second, %d at once; all strangers together %v", r.Source.Rate, r.Source.Burst, r.Strangers.Rate)
		}
		return verdict.None
	}
	if m := g.ports.Media; tcp || m.First == 0 || port < m.First || port > m.Last {
		step("port %d is not guarded", port)
		return verdict.None
	}
	g.portsMu.Lock()
	defer g.portsMu.Unlock()
	switch {
	case g.portsOf == nil || g.unguarded != "":
		step("media port %d: not closed in the kernel", port)
	case g.portsOf.IsOpen(port):
		step("media port %d: a call uses it", port)
	default:
		step("media port %d: no call uses it", port)
		return verdict.PortClosed
	}
	return verdict.None
}
