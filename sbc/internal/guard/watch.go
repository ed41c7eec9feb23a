package guard

import (
	"context"
	"sync"
	"time"
)

// How many events a watcher may be late, and who captures.
const (
	watchBuffer   = 256
	captureBuffer = 8192
)

// watchHead is how much of a dropped packet those see who do not capture, in bytes.
const watchHead = 128

// watchers get events. Publishing never waits for one of them.
type watchers struct {
	changed func() // called when the first who captures comes and the last goes, without mu

	mu     sync.Mutex
	closed bool
	all    map[*watcher]struct{}
	drops  int   // most drops a second for those who do not capture
	second int64 // the one that told counts
	told   int
}

type watcher struct {
	ch   chan Event // closed by watchers, under mu
	full bool       // it captures: drops only, as much of them as there is
	lost int
}

func newWatchers(changed func()) *watchers {
	return &watchers{changed: changed, all: map[*watcher]struct{}{}}
}

// capturing reports whether anybody captures.
func (w *watchers) capturing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.capturingLocked() > 0
}

func (w *watchers) capturingLocked() int {
	n := 0
	for one := range w.all {
		if one.full {
			n++
		}
	}
	return n
}

func (w *watchers) add(ctx context.Context, full bool) <-chan Event {
	one := &watcher{ch: make(chan Event, watchBuffer), full: full}
	if full {
		one.ch = make(chan Event, captureBuffer)
	}
	w.mu.Lock()
	if w.closed {
		close(one.ch)
		w.mu.Unlock()
		return one.ch
	}
	w.all[one] = struct{}{}
	first := full && w.capturingLocked() == 1
	w.mu.Unlock()
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
	last := there && one.full && w.capturingLocked() == 0 && !w.closed
	w.mu.Unlock()
	if last {
		w.changed()
	}
}

func (w *watchers) publish(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	shown, tell := w.shownLocked(e)
	for one := range w.all {
		if one.full && e.Kind != EventDrop || !one.full && !tell {
			continue
		}
		e := e
		if !one.full {
			e = shown
		}
		e.Lost = one.lost
		select {
		case one.ch <- e:
			one.lost = 0
		default:
			one.lost++
		}
	}
}

// limit says how many drops a second are told to those who do not capture.
func (w *watchers) limit(drops int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drops = drops
}

// shownLocked is what those see of an event who do not capture: while others do, the kernel filter hands over more packets, and more of
// each, than is meant for them.
func (w *watchers) shownLocked(e Event) (shown Event, tell bool) {
	if e.Drop == nil {
		return e, true
	}
	if sec := e.At.Unix(); sec != w.second {
		w.second, w.told = sec, 0
	}
	if w.told++; w.told > w.drops && e.Drop.Where == whereKernel { // in user space that is seen to already
		return e, false
	}
	if len(e.Drop.Head) > watchHead {
		d := *e.Drop
		d.Head = d.Head[:watchHead]
		e.Drop = &d
	}
	return e, true
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
			g.sampled(g.clock(), d)
		}
	}
}

// sampled passes a sample on to watchers, and once a second to the log.
func (g *Guard) sampled(at time.Time, d Drop) {
	g.watch.publish(Event{At: at, Kind: EventDrop, Drop: &d})
	if sec := at.Unix(); g.lastDropLog.Swap(sec) != sec {
		g.log.Info("dropped", "source", d.Source, "reason", d.Reason, "where", d.Where, "monitored", d.Monitored)
	}
}
