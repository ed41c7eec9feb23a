package border

import (
	"net/netip"
	"sync"
	"time"

	"brickhouse/shared/dialog"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// watcher is a phone's subscription: one dialog with the phone, one with the exchange, and nothing of either in the other. It is
// bound to the flow that it was made over, and dies with it, with its time, or when either side knows it no more.
type watcher struct {
	aor   string
	event eventdoc.Event

	mu      sync.Mutex // guards the dialogs and the flow
	outer   *dialog.Dialog
	inner   *dialog.Dialog
	flow    *transport.Flow
	asked   time.Time // when the exchange was last asked
	expires time.Time // watchers.mu guards it
	source  netip.Addr
}

// side names a dialog by what comes with its requests: Call-ID, our tag, the other's tag.
type side struct{ callID, ours, theirs string }

func sideOf(d *dialog.Dialog) side { return side{d.CallID, d.Local.Tag, d.Remote.Tag} }

// watchers holds the subscriptions of phones.
type watchers struct {
	limits Subscriptions

	mu       sync.Mutex
	outer    map[side]*watcher
	inner    map[side]*watcher
	byFlow   map[string]map[*watcher]bool
	bySource map[netip.Addr]int
	places   int // taken, also by requests that are on their way
}

func newWatchers(limits Subscriptions) *watchers {
	return &watchers{
		limits: limits, outer: map[side]*watcher{}, inner: map[side]*watcher{}, byFlow: map[string]map[*watcher]bool{}, bySource: map[netip.Addr]int{},
	}
}

// network is what counts as one source: an address, or an IPv6 /64 (RFC 6177).
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a
	}
	p, _ := a.Prefix(64)
	return p.Addr()
}

// take takes a place for a subscription that is asked for.
func (w *watchers) take(source netip.Addr) verdict.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places >= w.limits.Total || w.bySource[source] >= w.limits.PerSource {
		return verdict.Rejected(503, verdict.SubscriptionLimit)
	}
	w.places++
	w.bySource[source]++
	return verdict.Passed
}

// release gives a place back.
func (w *watchers) release(source netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.releaseLocked(source)
}

func (w *watchers) releaseLocked(source netip.Addr) {
	w.places--
	if w.bySource[source]--; w.bySource[source] <= 0 {
		delete(w.bySource, source)
	}
}

// add keeps a subscription, for which a place was taken.
func (w *watchers) add(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outer[sideOf(one.outer)], w.inner[sideOf(one.inner)] = one, one
	w.flowLocked(one, one.flow, true)
}

// flowLocked notes that a subscription hangs on a flow, or no more. Over UDP nothing ever says that a flow is gone.
func (w *watchers) flowLocked(one *watcher, f *transport.Flow, on bool) {
	if !f.Reliable() {
		return
	}
	id := f.ID()
	if on {
		if w.byFlow[id] == nil {
			w.byFlow[id] = map[*watcher]bool{}
		}
		w.byFlow[id][one] = true
		return
	}
	if delete(w.byFlow[id], one); len(w.byFlow[id]) == 0 {
		delete(w.byFlow, id)
	}
}

// moved notes that a subscription goes on over another flow until then.
func (w *watchers) moved(one *watcher, from, to *transport.Flow, expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inner[sideOf(one.inner)] != one {
		return
	}
	one.expires = expires
	w.flowLocked(one, from, false)
	w.flowLocked(one, to, true)
}

// remove forgets a subscription. It reports whether it was there.
func (w *watchers) remove(one *watcher) bool {
	one.mu.Lock()
	flow := one.flow
	one.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inner[sideOf(one.inner)] != one {
		return false
	}
	delete(w.outer, sideOf(one.outer))
	delete(w.inner, sideOf(one.inner))
	w.flowLocked(one, flow, false)
	w.releaseLocked(one.source)
	return true
}

// removeFlow forgets the subscriptions of a connection that ended. The exchange learns of it by its next NOTIFY.
func (w *watchers) removeFlow(id string) {
	w.mu.Lock()
	var gone []*watcher
	for one := range w.byFlow[id] {
		gone = append(gone, one)
	}
	w.mu.Unlock()
	for _, one := range gone {
		w.remove(one)
	}
}

// find returns the subscription whose dialog with the phone (outer) or with the exchange this is; nil if there is none.
func (w *watchers) find(outer bool, s side) *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if outer {
		return w.outer[s]
	}
	return w.inner[s]
}

// expire forgets what both sides have let lapse.
func (w *watchers) expire(now time.Time) {
	w.mu.Lock()
	var gone []*watcher
	for _, one := range w.inner {
		if now.After(one.expires.Add(lapse)) {
			gone = append(gone, one)
		}
	}
	w.mu.Unlock()
	for _, one := range gone {
		w.remove(one)
	}
}

// lapse is how long a subscription is kept after its time, for the exchange's last NOTIFY.
const lapse = 10 * time.Second

// before returns the subscriptions that the exchange was last asked about before a time.
func (w *watchers) before(at time.Time) []*watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*watcher
	for _, one := range w.inner {
		if one.asked.Before(at) {
			out = append(out, one)
		}
	}
	return out
}

func (w *watchers) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.inner)
}
