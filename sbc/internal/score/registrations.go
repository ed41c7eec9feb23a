package score

import (
	"container/heap"
	"net/netip"
	"time"
)

// maxPerSite is how many registrations of one site are kept. Whether there are any is what matters: one more is not kept.
const maxPerSite = 1024

// maxKey is how many bytes of an address of record tell it from others.
const maxKey = 255

// Registrations are the good registrations that live behind each site: an IPv4 host, an IPv6 /64. Over the limit, the one that
// ends first is forgotten.
type Registrations struct {
	limit   int
	sites   map[netip.Prefix]map[string]*registration
	ends    registrationHeap
	evicted uint64
}

// registration is one account behind one site.
type registration struct {
	site  netip.Prefix
	aor   string
	until time.Time
	index int // in the heap
}

// NewRegistrations keeps up to limit registrations.
func NewRegistrations(limit int) *Registrations {
	return &Registrations{limit: limit, sites: map[netip.Prefix]map[string]*registration{}}
}

// Known tells that a registration of aor lives behind src until then; it replaces what was said of both before.
func (r *Registrations) Known(src netip.Addr, aor string, until, now time.Time) {
	r.expire(now)
	site, aor := key(src, aor)
	if !site.IsValid() {
		return
	}
	if !until.After(now) {
		r.remove(r.sites[site][aor])
		return
	}
	if old := r.sites[site][aor]; old != nil {
		old.until = until
		heap.Fix(&r.ends, old.index)
		return
	}
	if len(r.sites[site]) >= maxPerSite {
		return
	}
	for len(r.ends) >= r.limit {
		r.remove(r.ends[0])
		r.evicted++
	}
	if r.sites[site] == nil {
		r.sites[site] = map[string]*registration{}
	}
	one := &registration{site: site, aor: aor, until: until}
	r.sites[site][aor] = one
	heap.Push(&r.ends, one)
}

// Forget tells that the registration of aor behind src has ended.
func (r *Registrations) Forget(src netip.Addr, aor string) {
	site, aor := key(src, aor)
	r.remove(r.sites[site][aor])
}

// Count is how many registrations live behind a site.
func (r *Registrations) Count(site netip.Prefix, now time.Time) int {
	r.expire(now)
	return len(r.sites[site])
}

// Sites is behind how many sites registrations live.
func (r *Registrations) Sites(now time.Time) int {
	r.expire(now)
	return len(r.sites)
}

// Len is how many registrations live.
func (r *Registrations) Len(now time.Time) int {
	r.expire(now)
	return len(r.ends)
}

// Evicted is how many registrations were forgotten early, since there were too many.
func (r *Registrations) Evicted() uint64 { return r.evicted }

// Limit changes how many are kept.
func (r *Registrations) Limit(limit int) {
	r.limit = limit
	for len(r.ends) > limit {
		r.remove(r.ends[0])
		r.evicted++
	}
}

func (r *Registrations) expire(now time.Time) {
	for len(r.ends) > 0 && !r.ends[0].until.After(now) {
		r.remove(r.ends[0])
	}
}

func (r *Registrations) remove(one *registration) {
	if one == nil {
		return
	}
	heap.Remove(&r.ends, one.index)
	delete(r.sites[one.site], one.aor)
	if len(r.sites[one.site]) == 0 {
		delete(r.sites, one.site)
	}
}

func key(src netip.Addr, aor string) (netip.Prefix, string) {
	src = Plain(src)
	if !src.IsValid() || src.IsUnspecified() {
		return netip.Prefix{}, ""
	}
	return Site(src), aor[:min(len(aor), maxKey)]
}

// registrationHeap has the one that ends first in front (container/heap).
type registrationHeap []*registration

func (h registrationHeap) Len() int           { return len(h) }
func (h registrationHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h registrationHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *registrationHeap) Push(x any) {
	one := x.(*registration)
	one.index = len(*h)
	*h = append(*h, one)
}
func (h *registrationHeap) Pop() any {
	old := *h
	one := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return one
}
