package guard

import (
	"net/netip"
	"time"
)

// Known tells that a good registration of aor lives behind src until then: the exchange accepted its credentials, over a flow that
// proves its source. Offences of others behind the same address are then held against them, not against the address. Over
// max_known, the registration that ends first is forgotten.
func (g *Guard) Known(src netip.Addr, aor string, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	src = plain(src)
	if g.closed || !src.IsValid() || src.IsUnspecified() {
		return
	}
	now := g.clock()
	g.scoring.known.Known(src, aor, until, now)
	if g.scoring.known.Count(site(src), now) > 0 {
		g.markKnownLocked(site(src), until)
	}
}

// Forget tells that the registration of aor behind src has ended.
func (g *Guard) Forget(src netip.Addr, aor string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	src = plain(src)
	if g.closed || !src.IsValid() {
		return
	}
	g.scoring.known.Forget(src, aor)
	if _, there := g.marked[site(src)]; there && g.scoring.known.Count(site(src), g.clock()) == 0 {
		g.unmarkKnownLocked(site(src))
	}
}
