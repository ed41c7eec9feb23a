package callcontrol

import (
	"slices"
	"sync"
)

// parties knows which extensions talk, or are about to: the caller of a call from its beginning, who is called from the answer on.
type parties struct {
	mu    sync.Mutex
	calls map[string][]string        // extensions, by call
	by    map[string]map[string]bool // calls, by extension
}

// talks notes that these extensions have a part in a call.
func (p *parties) talks(call string, extensions ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls == nil {
		p.calls, p.by = map[string][]string{}, map[string]map[string]bool{}
	}
	for _, e := range extensions {
		if e == "" || slices.Contains(p.calls[call], e) {
			continue
		}
		p.calls[call] = append(p.calls[call], e)
		if p.by[e] == nil {
			p.by[e] = map[string]bool{}
		}
		p.by[e][call] = true
	}
}

// drop forgets a call.
func (p *parties) drop(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.calls[call] {
		delete(p.by[e], call)
		if len(p.by[e]) == 0 {
			delete(p.by, e)
		}
	}
	delete(p.calls, call)
}

// busy reports whether an extension has a part in another call than this one.
func (p *parties) busy(extension, call string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.by[extension])
	if p.by[extension][call] {
		n--
	}
	return n > 0
}
