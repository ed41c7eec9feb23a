package trunk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"brickhouse/sbc/internal/route"
)

// The faults of a trunk that takes no call.
var (
	ErrDisabled = errors.New("the trunk is disabled")
	ErrDown     = errors.New("no gateway of the trunk is alive")
)

// forgetAfter is how long a hop is remembered to which no name leads any more.
const forgetAfter = time.Hour

// maxKnown bounds the hops of a trunk that are remembered.
const maxKnown = 1024

// Choice is a hop to call, and the gateway that it belongs to.
type Choice struct {
	Gateway string
	Hop     route.Hop
}

// Trunk is one carrier. All methods may be called from any goroutine.
type Trunk struct {
	cfg      Config
	opt      *Options
	gateways []*gateway
	log      *slog.Logger

	mu       sync.Mutex
	disabled bool
	known    map[route.Hop]*health
}

// gateway is one way in.
type gateway struct {
	route.Gateway
	name string
	wake chan struct{} // a hop of it needs a probe soon
	hops []route.Hop   // where its name led last; guarded by the trunk's mu
	lost error         // why it leads nowhere; guarded by the trunk's mu
}

func newTrunk(c Config, opt *Options) (*Trunk, error) {
	t := &Trunk{cfg: c, opt: opt, known: map[route.Hop]*health{}, log: opt.Log.With("trunk", c.Name)}
	for _, g := range c.Gateways {
		gw, err := route.ParseGateway(g.Address, g.Transport)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: %w", c.Name, err)
		}
		gw.Weighted = route.Weighted{Priority: g.Priority, Weight: g.Weight}
		t.gateways = append(t.gateways, &gateway{Gateway: gw, name: g.Transport + " " + gw.String(), wake: make(chan struct{}, 1)})
	}
	return t, nil
}

// Config returns what the configuration says of the trunk.
func (t *Trunk) Config() Config { return t.cfg }

// Named reports whether choosing may have to wait for a name server.
func (t *Trunk) Named() bool {
	return slices.ContainsFunc(t.gateways, func(g *gateway) bool { return g.Named() })
}

// Enabled reports whether the trunk may be used.
func (t *Trunk) Enabled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.disabled
}

// locate looks up where a gateway leads.
func (t *Trunk) locate(ctx context.Context, g *gateway) []route.Hop {
	hops, err := t.opt.Locator.Locate(ctx, g.Gateway)
	now := t.opt.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		return g.hops // its own patience is over: that says nothing about the name
	}
	if err != nil && g.lost == nil {
		t.log.Warn("gateway leads nowhere", "gateway", g.name, "error", err)
	}
	g.hops, g.lost = hops, err
	for _, h := range hops {
		if t.known[h] == nil && len(t.known) < maxKnown {
			t.known[h] = &health{state: Unknown, since: now}
		}
		if k := t.known[h]; k != nil {
			k.seen = now
		}
	}
	for h, k := range t.known {
		if now.Sub(k.seen) > forgetAfter {
			delete(t.known, h)
		}
	}
	return hops
}

// Choose returns the hops that a call may try, in their order: by priority, at random by weight, and only those that are
// alive. Its error is ErrDisabled or ErrDown.
func (t *Trunk) Choose(ctx context.Context) ([]Choice, error) {
	if !t.Enabled() {
		return nil, ErrDisabled
	}
	var out, trial []Choice
	for _, g := range route.Order(t.gateways, func(g *gateway) route.Weighted { return g.Weighted }, t.opt.Random) {
		for _, h := range t.locate(ctx, g) {
			c := Choice{g.name, h}
			switch {
			case slices.ContainsFunc(out, func(o Choice) bool { return o.Hop == h }):
			case t.usable(h):
				out = append(out, c)
			case len(trial) == 0 && t.tries(h):
				trial = append(trial, c)
			}
		}
	}
	if out = append(out, trial...); len(out) == 0 {
		return nil, ErrDown
	}
	return out, nil
}

func (t *Trunk) usable(h route.Hop) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[h]
	return k == nil || k.usable()
}

// tries lets one call a minute try what is down, where no OPTIONS goes to gateways that are well.
func (t *Trunk) tries(h route.Hop) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[h]
	return k != nil && t.cfg.Health.Interval == 0 && k.tries(t.opt.Now())
}

// Report tells what a call found out about a hop: an answer, or that there was none in time (RFC 3263 §4.3). 408 and 503 of a
// call say nothing about the gateway: carriers answer so for a single number, too.
func (t *Trunk) Report(h route.Hop, r Result) {
	if r.Code != 0 && !r.Alive() {
		return
	}
	if r.Alive() { // a call shows that a gateway lives, but a dead one comes back by what its probes say, unless nothing probes it
		t.mu.Lock()
		k := t.known[h]
		ignore := k == nil || k.state == Down && t.cfg.Health.Interval > 0
		if !ignore && k.state == Down {
			k.row = t.cfg.Health.Up // the one trial is enough
		}
		t.mu.Unlock()
		if ignore {
			return
		}
	}
	t.take(h, r)
}

// take counts a result, and wakes the probes of a hop that became doubtful.
func (t *Trunk) take(h route.Hop, r Result) {
	t.mu.Lock()
	k := t.known[h]
	if k == nil {
		t.mu.Unlock()
		return
	}
	changed, state, doubt := k.take(r, t.cfg.Health, t.opt.Now()), k.state, !k.settled()
	t.mu.Unlock()
	if changed && state == Down {
		t.log.Warn("gateway is down", "hop", h.String(), "code", r.Code, "error", r.Err)
	} else if changed {
		t.log.Info("gateway is up", "hop", h.String())
	}
	if !doubt {
		return
	}
	for _, g := range t.gateways {
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
}

// inherit takes over what an earlier configuration's trunk of the same name knew.
func (t *Trunk) inherit(old *Trunk) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for h, k := range old.known {
		c := *k
		t.known[h] = &c
	}
	for _, g := range t.gateways {
		for _, o := range old.gateways {
			if o.Gateway == g.Gateway {
				g.hops, g.lost = o.hops, o.lost
			}
		}
	}
}

// stateLocked sums up a gateway: it is up while one of its hops is.
func (t *Trunk) stateLocked(g *gateway) State {
	state := Down
	if g.lost == nil && len(g.hops) == 0 {
		state = Unknown
	}
	for _, h := range g.hops {
		if k := t.known[h]; k != nil {
			switch {
			case k.state == Up:
				return Up
			case k.state == Unknown:
				state = Unknown
			}
		}
	}
	return state
}

// compareHops orders hops for people.
func compareHops(a, b route.Hop) int {
	return cmp.Or(cmp.Compare(a.Network, b.Network), a.Addr.Compare(b.Addr))
}
