package trunk

import (
	"context"
	"slices"
	"sync"
	"time"

	"brickhouse/sbc/internal/route"
)

// watch probes a gateway until ctx ends: now and then while it is well, often while it is not.
func (t *Trunk) watch(ctx context.Context, g *gateway) {
	var last time.Time
	for ctx.Err() == nil {
		wait := t.pause(g)
		if last.IsZero() {
			wait = 0
		}
		if !t.sleep(ctx, g, last, wait) {
			return
		}
		last = time.Now()
		if t.Enabled() {
			t.round(ctx, g)
		}
	}
}

// forever is as good as no probe at all.
const forever = 24 * time.Hour

// pause is the time between two rounds.
func (t *Trunk) pause(g *gateway) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.cfg.Health
	wait := h.Interval
	if wait == 0 {
		wait = forever
	}
	for _, hop := range g.hops {
		if k := t.known[hop]; k != nil && (k.state == Down || k.row > 0) {
			wait = min(wait, h.Retry)
		}
	}
	if g.lost != nil {
		wait = min(wait, h.Retry)
	}
	return wait
}

// sleep waits since the last round; less if the pause has become shorter. It reports false if ctx has ended.
func (t *Trunk) sleep(ctx context.Context, g *gateway, last time.Time, wait time.Duration) bool {
	for {
		// Gateways that fail together are not asked together.
		timer := time.NewTimer(time.Until(last.Add(wait + wait*time.Duration(t.opt.Random(100))/1000)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
			return true
		case <-g.wake:
			timer.Stop()
			wait = t.pause(g)
		}
	}
}

// round looks the gateway up and probes its hops, all at once.
func (t *Trunk) round(ctx context.Context, g *gateway) {
	hops := t.locate(ctx, g)
	if t.cfg.Health.Interval == 0 {
		hops = slices.DeleteFunc(slices.Clone(hops), func(h route.Hop) bool {
			t.mu.Lock()
			defer t.mu.Unlock()
			k := t.known[h]
			return k == nil || k.state != Down
		})
	}
	t.probe(ctx, hops)
}

// probe asks hops, all at once, and counts what they say.
func (t *Trunk) probe(ctx context.Context, hops []route.Hop) []Result {
	out := make([]Result, len(hops))
	var all sync.WaitGroup
	for i, h := range hops {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, t.cfg.Health.Timeout)
			defer cancel()
			start := t.opt.Now()
			out[i] = t.opt.Probe(ctx, t, h)
			out[i].RTT = t.opt.Now().Sub(start)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return out // we stop: that nobody answered says nothing
	}
	for i, h := range hops {
		t.take(h, out[i])
	}
	return out
}

// Probed is what a test found out about one hop.
type Probed struct {
	Gateway string `json:"gateway"`
	Hop     string `json:"hop,omitempty"` // empty: the gateway leads nowhere
	Code    int    `json:"code,omitempty"`
	RTT     string `json:"rtt,omitempty"`
	Alive   bool   `json:"alive"`
	Error   string `json:"error,omitempty"`
}

// Test probes all gateways now. What it finds counts like any other probe.
func (t *Trunk) Test(ctx context.Context) []Probed {
	out := []Probed{}
	var hops []route.Hop
	for _, g := range t.gateways {
		found := t.locate(ctx, g)
		if len(found) == 0 {
			out = append(out, Probed{Gateway: g.name, Error: text(t.lost(g))})
		}
		for _, h := range found {
			out = append(out, Probed{Gateway: g.name, Hop: h.String()})
			hops = append(hops, h)
		}
	}
	results := t.probe(ctx, hops)
	n := 0
	for i := range out {
		p := &out[i]
		if p.Hop == "" {
			continue
		}
		r := results[n]
		n++
		p.Code, p.Alive, p.Error = r.Code, r.Alive(), text(r.Err)
		if r.Code != 0 {
			p.RTT = r.RTT.Round(10 * time.Microsecond).String()
		}
	}
	return out
}

func (t *Trunk) lost(g *gateway) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return g.lost
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
