package guard

import (
	"context"
	"sync"
)

// watchBuffer is how many events a watcher may be late.
const watchBuffer = 256

// watchers get events. Publishing never waits for one of them.
type watchers struct {
	changed func() // called when the first comes and the last goes, without mu

	mu     sync.Mutex
	closed bool
	all    map[*watcher]struct{}
}

type watcher struct {
	ch   chan Event // closed by watchers, under mu
	lost int
}

func newWatchers(changed func()) *watchers {
	return &watchers{changed: changed, all: map[*watcher]struct{}{}}
}

func (w *watchers) any() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all) > 0
}

func (w *watchers) add(ctx context.Context) <-chan Event {
	one := &watcher{ch: make(chan Event, watchBuffer)}
	w.mu.Lock()
	closed := w.closed
	if closed {
		close(one.ch)
	} else {
		w.all[one] = struct{}{}
	}
	first := len(w.all) == 1
	w.mu.Unlock()
	if closed {
		return one.ch
	}
	if first {
		w.changed()
	}
	context.AfterFunc(ctx, func() { w.remove(one) })
	return one.ch
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	_, there := w.all[one]
	if there {
		delete(w.all, one)
		close(one.ch)
	}
	last := there && len(w.all) == 0 && !w.closed
	w.mu.Unlock()
	if last {
		w.changed()
	}
}

func (w *watchers) publish(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		e.Lost = one.lost
		select {
		case one.ch <- e:
			one.lost = 0
		default:
			one.lost++
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for one := range w.all {
		delete(w.all, one)
		close(one.ch)
	}
}

// forwardSamples passes drops in user space on to watchers.
func (g *Guard) forwardSamples(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-g.view.sampler.out:
			g.watch.publish(Event{At: g.clock(), Kind: EventDrop, Drop: &d})
		}
	}
}
