package callcontrol

import (
	"context"
	"fmt"
	"sync"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/verdict"
)

// meter knows the external calls that are up, so that they can be ended when the minutes of who caused them are used up.
type meter struct {
	mu sync.Mutex
	up map[string]metered // by ID of the toll
}

// metered is one of these calls.
type metered struct{ call, causer string }

func (m *meter) add(toll string, c metered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.up == nil {
		m.up = map[string]metered{}
	}
	m.up[toll] = c
}

func (m *meter) remove(toll string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.up, toll)
}

// calls returns the IDs of the calls by who caused them.
func (m *meter) calls() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]string{}
	for _, c := range m.up {
		out[c.causer] = append(out[c.causer], c.call)
	}
	return out
}

// EndOverdrawn ends the external calls of extensions that have used up their minutes of the day. Whoever runs the exchange calls it
// now and then.
func (c *Control) EndOverdrawn(ctx context.Context) error {
	plan := c.plan.Load()
	for number, calls := range c.meter.calls() {
		e, ok := c.cfg.Store.Extension(number)
		if !ok {
			e = &store.Extension{Number: number} // it is gone, and its call goes on
		}
		most := limitsOf(plan, classOf(e), "").Extension.Talk
		if most >= store.NoTalkCap {
			continue
		}
		used, err := c.cfg.Store.Usage(ctx, store.ExtensionCalls(number), c.cfg.Now())
		if err != nil {
			return fmt.Errorf("counting the minutes of extension %s: %w", number, err)
		}
		if used.Talk < most {
			continue
		}
		for _, id := range calls {
			if c.cfg.Engine.End(id, verdict.TalkCap) {
				c.cfg.Log.Warn("external call is ended: the minutes of the day are used up", "call", id, "extension", number, "reason", verdict.TalkCap, "used", used.Talk)
			}
		}
	}
	return nil
}
