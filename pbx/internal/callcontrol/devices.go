package callcontrol

import (
	"context"
	"slices"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
)

// Bounds of what one call rings.
const (
	maxForks = 16 // devices of one extension that ring together
	maxFlows = 4  // flows over which one of them is tried
)

// devices makes the targets of an extension's bindings, one for each device. A device that registered over several flows (RFC
// 5626 §4.2) rings once: over its latest one, and over another if that has failed (§5.3).
func (a *attempt) devices(bindings []*store.Binding) []b2bua.Target {
	var group []b2bua.Target
	at := map[string]int{} // instance → index in group
	latest := slices.Clone(bindings)
	slices.SortStableFunc(latest, func(x, y *store.Binding) int { return y.Registered.Compare(x.Registered) })
	for _, b := range latest {
		t, err := a.phone(b)
		if err != nil {
			a.c.cfg.Log.Warn("binding can't be called", "aor", b.AOR, "error", err)
			continue
		}
		i, known := at[b.Instance]
		switch {
		case b.RegID > 0 && known:
			if len(group[i].Else) < maxFlows-1 {
				group[i].Else = append(group[i].Else, t)
			}
		case len(group) < maxForks:
			if b.RegID > 0 {
				at[b.Instance] = len(group)
			}
			group = append(group, t)
		}
	}
	return group
}

// unbind forgets a binding whose flow the border says is gone (RFC 5626 §5.3.1), unless the phone has registered again
// meanwhile.
func (c *Control) unbind(b *store.Binding) {
	_, err := c.cfg.Store.UpdateBindings(context.Background(), b.AOR, func(now []*store.Binding) (put, del []*store.Binding, err error) {
		for _, o := range now {
			if o.ID == b.ID && o.Registered.Equal(b.Registered) {
				del = append(del, o)
			}
		}
		return nil, del, nil
	})
	if err != nil {
		c.cfg.Log.Error("forgetting a binding whose flow is gone", "aor", b.AOR, "error", err)
	}
}
