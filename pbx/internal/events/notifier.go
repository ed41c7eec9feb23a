// Package events is the exchange's notifier (RFC 6665): busy lamps (RFC 4235), presence (RFC 3856) with what phones publish of
// themselves (RFC 3903), and waiting messages (RFC 3842).
//
//	store ──changes──► Observe ─► resource: one document for all its watchers ─► NOTIFY to each
//	SUBSCRIBE ─► Subscribe, Refresh          (at most one in flight, at most one document in 100 ms)
//	PUBLISH ─► Publish ─► resource
//
// A document is made once for each change of an extension, whoever watches. A watcher that has not answered its last NOTIFY yet
// gets no other; when it answers, it gets the newest state. Subscriptions do not outlive the process: phones whose SUBSCRIBE is
// answered 481 subscribe anew (RFC 6665 §4.1.2.2).
package events

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
)

// gap is the shortest time between two documents of one resource.
const gap = 100 * time.Millisecond

// Options are what a notifier is made of.
type Options struct {
	Config
	Domain  string
	Store   *store.Store
	Place   func(number string) bool // tells whether calls can be at a number that is no extension; nil: never
	Send    func(f *transport.Flow, req *sip.Request, cb func(transaction.Event)) error
	Border  func() *transport.Flow // the core link; nil while it is down
	Contact func(*transport.Flow) sip.Uri
	Log     *slog.Logger
	Now     func() time.Time
}

// Notifier holds subscriptions and publications. All methods may be called from any goroutine.
type Notifier struct {
	opt Options

	mu        sync.Mutex // never held while something is sent or put
	subs      map[subKey]*subscription
	resources map[topic]*resource
	accounts  map[string]int // subscriptions by watcher
	lines     lines
	published publications
	built     uint64 // documents made, for the tests
}

// topic is what is watched.
type topic struct{ pkg, number string }

// resource is an extension as watchers of one package see it.
type resource struct {
	topic
	subs    map[*subscription]bool
	rev     uint64 // of the document; 0 before the first
	doc     document
	stale   bool // something has changed since
	ended   []eventdoc.DialogEntry
	last    time.Time // when the last document went out
	pending bool      // a flush is on its way
}

// document is the newest state, to be written for one subscription.
type document struct {
	info eventdoc.Template // of dialog
	body []byte            // of the others
}

// New returns a notifier that follows the store.
func New(o Options) *Notifier {
	n := &Notifier{
		opt: o, subs: map[subKey]*subscription{}, resources: map[topic]*resource{}, accounts: map[string]int{},
		lines: newLines(), published: newPublications(),
	}
	o.Store.Observe(n.observe)
	return n
}

// Len returns how many subscriptions there are.
func (n *Notifier) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.subs)
}

// AllowEvents is the value of the header that names the packages (RFC 6665 §8.2.2).
func AllowEvents() string { return strings.Join(eventdoc.Packages(), ", ") }

// observe takes what a transaction of the store has changed. It runs on the store's writer.
func (n *Notifier) observe(changes []store.Changed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range changes {
		switch {
		case c.Call != nil:
			for _, l := range n.lines.set(c.Call, c.Gone) {
				n.lineLocked(l)
			}
		case c.Binding != nil:
			n.touchLocked(topic{eventdoc.Presence, c.Binding.AOR})
		case c.Waiting != nil:
			n.touchLocked(topic{eventdoc.MessageSummary, c.Waiting.Number})
		case c.Extension != nil && c.Gone:
			go n.removed(c.Extension.Number) // it puts to the store
		}
	}
}

// lineLocked takes the news of one party's call.
func (n *Notifier) lineLocked(l line) {
	t := topic{eventdoc.Dialog, l.number}
	if r := n.resources[t]; r != nil && l.entry.State == eventdoc.Terminated && len(r.ended) < maxEntries {
		r.ended = append(r.ended, l.entry)
	}
	n.touchLocked(t)
	n.touchLocked(topic{eventdoc.Presence, l.number})
}

// touchLocked notes that something about a resource has changed.
func (n *Notifier) touchLocked(t topic) {
	if r := n.resources[t]; r != nil {
		r.stale = true
		n.scheduleLocked(r)
	}
}

// scheduleLocked sees to it that watchers hear of a resource, not before its gap is over.
func (n *Notifier) scheduleLocked(r *resource) {
	if r.pending {
		return
	}
	r.pending = true
	time.AfterFunc(max(0, r.last.Add(gap).Sub(n.opt.Now())), func() { n.flush(r) })
}

// flush gives the newest document to all watchers that don't have it and are not busy with an older one.
func (n *Notifier) flush(r *resource) {
	n.mu.Lock()
	r.pending, r.last = false, n.opt.Now()
	if len(r.subs) == 0 {
		n.mu.Unlock()
		return
	}
	n.buildLocked(r)
	var out []notice
	for s := range r.subs {
		if !s.inFlight && s.seen != r.rev {
			out = append(out, n.noticeLocked(s, ""))
		}
	}
	n.mu.Unlock()
	n.launch(out)
}

// watchLocked returns the resource of a topic, with its document made.
func (n *Notifier) watchLocked(t topic) *resource {
	r := n.resources[t]
	if r == nil {
		r = &resource{topic: t, subs: map[*subscription]bool{}, stale: true}
		n.resources[t] = r
	}
	if r.rev == 0 {
		n.buildLocked(r)
	}
	return r
}

// Sweep ends what has expired.
func (n *Notifier) Sweep(now time.Time) {
	n.mu.Lock()
	for _, number := range n.published.expire(now) {
		n.touchLocked(topic{eventdoc.Presence, number})
	}
	var over []*subscription
	for _, s := range n.subs {
		if !now.Before(s.expires) {
			over = append(over, s)
		}
	}
	n.mu.Unlock()
	n.end(over, "timeout")
}

// removed ends what belongs to an extension that is no more.
func (n *Notifier) removed(number string) {
	n.mu.Lock()
	n.published.drop(number)
	var over []*subscription
	for _, s := range n.subs {
		if s.on.number == number || s.watcher == number {
			over = append(over, s)
		}
	}
	n.mu.Unlock()
	n.end(over, "noresource")
}
