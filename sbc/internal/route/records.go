package route

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// How long answers are kept, whatever their TTL says: not so short that each call asks, not so long that a change is never seen.
const (
	minKeep   = 5 * time.Second
	maxKeep   = time.Hour
	keepNone  = 30 * time.Second // that there is no such record
	keepFault = 5 * time.Second  // that nobody answered
	keepHosts = 30 * time.Second // what the system said, which tells no TTL
	staleFor  = 24 * time.Hour   // an answer serves on for so long while no name server answers (RFC 8767 §4)
)

const (
	maxRecords  = 1024            // answers that are kept
	lookupLimit = 4 * time.Second // of one look-up, over all name servers
)

// Clock tells the time.
type Clock func() time.Time

// recordKey is a question.
type recordKey struct {
	name string
	typ  uint16 // 0: addresses from the system
}

// record is an answer. It is a constant.
type record struct {
	rrs   []dns.RR
	addrs []netip.Addr // of typ 0
	err   error
	until time.Time
	stale time.Time // until when it serves although nobody can be asked
}

// records keeps answers by their TTL. Each question is asked once at a time, on nobody's own deadline.
type records struct {
	dns DNS
	now Clock
	one singleflight.Group

	mu   sync.Mutex
	kept map[recordKey]*record
}

func newRecords(d DNS, now Clock) *records {
	return &records{dns: d, now: now, kept: map[recordKey]*record{}}
}

// get returns the records of a name; ErrNoRecord if there are none.
func (r *records) get(ctx context.Context, name string, typ uint16) ([]dns.RR, error) {
	if r.dns == nil {
		return nil, ErrNoRecord
	}
	rec, err := r.ask(ctx, recordKey{strings.ToLower(name), typ}, func(ctx context.Context) *record {
		rrs, ttl, err := r.dns.Query(ctx, name, typ)
		return &record{rrs: rrs, err: err, until: r.now().Add(keep(ttl, err))}
	})
	if err != nil {
		return nil, err
	}
	return rec.rrs, rec.err
}

// fallback asks the system.
func (r *records) fallback(ctx context.Context, h Hosts, name string) ([]netip.Addr, error) {
	rec, err := r.ask(ctx, recordKey{name: strings.ToLower(name)}, func(ctx context.Context) *record {
		list, err := h.LookupNetIP(ctx, "ip", name)
		rec := &record{addrs: list, err: err, until: r.now().Add(keepHosts)}
		if err != nil {
			rec.until = r.now().Add(keepFault)
		}
		return rec
	})
	if err != nil {
		return nil, err
	}
	return rec.addrs, rec.err
}

func keep(ttl time.Duration, err error) time.Duration {
	switch {
	case errors.Is(err, ErrNoRecord):
		return keepNone
	case err != nil:
		return keepFault
	}
	return min(max(ttl, minKeep), maxKeep)
}

// ask returns the kept answer, or a new one.
func (r *records) ask(ctx context.Context, k recordKey, query func(context.Context) *record) (*record, error) {
	r.mu.Lock()
	old := r.kept[k]
	r.mu.Unlock()
	if old != nil && r.now().Before(old.until) {
		return old, nil
	}
	// The name holds no "/": it is a host name.
	done := r.one.DoChan(k.name+"/"+dns.TypeToString[k.typ], func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupLimit)
		defer cancel()
		return r.keep(k, query(ctx)), nil
	})
	select {
	case res := <-done:
		return res.Val.(*record), nil
	case <-ctx.Done():
		if old != nil && old.err == nil && r.now().Before(old.stale) {
			return old, nil
		}
		return nil, ctx.Err()
	}
}

// keep stores an answer. Where nobody answered, what was known before serves on.
func (r *records) keep(k recordKey, rec *record) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, now := r.kept[k], r.now()
	failed := rec.err != nil && !errors.Is(rec.err, ErrNoRecord)
	switch {
	case failed && old != nil && old.err == nil && now.Before(old.stale):
		rec = &record{rrs: old.rrs, addrs: old.addrs, until: rec.until, stale: old.stale}
	default:
		rec.stale = rec.until.Add(staleFor)
	}
	if old == nil && len(r.kept) >= maxRecords {
		r.evictLocked(now)
	}
	r.kept[k] = rec
	return rec
}

// evictLocked makes room: what is over goes, or any one.
func (r *records) evictLocked(now time.Time) {
	for k, rec := range r.kept {
		if now.After(rec.until) {
			delete(r.kept, k)
		}
	}
	for k := range r.kept {
		if len(r.kept) < maxRecords {
			return
		}
		delete(r.kept, k)
	}
}
