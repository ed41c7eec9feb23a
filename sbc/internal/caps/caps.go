// Package caps decides whether one more call fits: how many at a time and how many a second, for a trunk, an account, a
// source address and in all (Caps), and whether there is any room for new calls at all (Gate).
//
// Caps counts calls whose sender is known; it is exact, since a call takes all of its places in one step. Gate stands before
// that, keeps nothing of anybody, and is cheap: it is what holds when far more comes than can be served.
package caps

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/verdict"
)

// Limit is how many calls one may have.
type Limit struct {
	Calls     int     `yaml:"calls" doc:"Calls at a time. 0: any number."`
	PerSecond float64 `yaml:"per_second" doc:"New calls a second, over time. 0: any number."`
	Burst     int     `yaml:"burst" doc:"New calls that may come at once. 0: as many as per_second, at least 1."`
}

// Check says what is wrong with a limit under key.
func (l Limit) Check(key string) []conffile.Fault {
	if l.Calls < 0 || l.Burst < 0 || l.PerSecond < 0 || math.IsNaN(l.PerSecond) || math.IsInf(l.PerSecond, 0) {
		return []conffile.Fault{conffile.Bad(key, "has a negative number", "leave away what is not to be limited")}
	}
	if l.Burst > 0 && l.PerSecond == 0 {
		return []conffile.Fault{conffile.Bad(key+".burst", "has no meaning without per_second", "give both, or none")}
	}
	return nil
}

// None reports whether nothing is limited.
func (l Limit) None() bool { return l.Calls == 0 && l.PerSecond == 0 }

// burst is how many calls may come at once.
func (l Limit) burst() float64 {
	if l.Burst > 0 {
		return float64(l.Burst)
	}
	return max(l.PerSecond, 1)
}

// Kind is what a place is counted for.
type Kind uint8

// The kinds.
const (
	Total Kind = iota
	Trunk
	AOR
	Source
)

// Reasons of a full place, by kind: of too many at a time, of too many a second.
var reasons = map[Kind][2]verdict.Reason{
	Total:  {verdict.Overload, verdict.CallRate},
	Trunk:  {verdict.TrunkCalls, verdict.TrunkRate},
	AOR:    {verdict.AccountCalls, verdict.AccountRate},
	Source: {verdict.SourceCalls, verdict.SourceCallRate},
}

// Place is one thing that a call counts for.
type Place struct {
	Kind  Kind
	Name  string
	Limit Limit
}

// SourcePlace is the place of an address: of its /64, where it is IPv6, which is what one customer has.
func SourcePlace(a netip.Addr, l Limit) Place {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return Place{Source, a.String(), l}
}

// Refusal says why a call does not fit.
type Refusal struct {
	Reason verdict.Reason
	Wait   time.Duration // until it may fit; 0: until another call ends
}

func (r *Refusal) Error() string { return string(r.Reason) }

// maxPlaces bounds the places that are counted at a time.
const maxPlaces = 200_000

type placeKey struct {
	kind Kind
	name string
}

// place is a counted one. It is forgotten once it has neither calls nor a bucket that is not full again.
type place struct {
	calls  int
	tokens float64
	at     time.Time
	limit  Limit
}

// fill adds what has trickled in since.
func (p *place) fill(now time.Time) {
	if d := now.Sub(p.at).Seconds(); d > 0 {
		p.tokens = min(p.tokens+d*p.limit.PerSecond, p.limit.burst())
	}
	p.at = now
}

func (p *place) idle() bool { return p.calls == 0 && p.tokens >= p.limit.burst() }

// Caps counts calls. All methods may be called from any goroutine.
type Caps struct {
	mu     sync.Mutex
	places map[placeKey]*place
	swept  time.Time
}

// New returns Caps without calls.
func New() *Caps { return &Caps{places: map[placeKey]*place{}} }

// Take finds room for a call in all places, or in none: then it returns a *Refusal. The call ends with release, which may be
// called more than once.
func (c *Caps) Take(now time.Time, places ...Place) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var held []placeKey
	var taken []*place
	for _, want := range places {
		if want.Limit.None() || want.Name == "" && want.Kind != Total {
			continue
		}
		p, err := c.placeLocked(want, now)
		if err != nil {
			return nil, err
		}
		if err := p.room(want.Kind); err != nil {
			return nil, err
		}
		held, taken = append(held, placeKey{want.Kind, want.Name}), append(taken, p)
	}
	for _, p := range taken {
		p.calls++
		if p.limit.PerSecond > 0 {
			p.tokens--
		}
	}
	if len(held) == 0 {
		return func() {}, nil
	}
	var once sync.Once
	return func() { once.Do(func() { c.give(held) }) }, nil
}

// room reports whether one more call fits.
func (p *place) room(k Kind) error {
	if p.limit.Calls > 0 && p.calls >= p.limit.Calls {
		return &Refusal{Reason: reasons[k][0]}
	}
	if p.limit.PerSecond > 0 && p.tokens < 1 {
		return &Refusal{Reason: reasons[k][1], Wait: time.Duration((1 - p.tokens) / p.limit.PerSecond * float64(time.Second))}
	}
	return nil
}

// placeLocked returns the place with its bucket filled.
func (c *Caps) placeLocked(want Place, now time.Time) (*place, error) {
	k := placeKey{want.Kind, want.Name}
	p := c.places[k]
	if p == nil {
		if c.sweepLocked(now); len(c.places) >= maxPlaces {
			return nil, &Refusal{Reason: verdict.Overload, Wait: time.Second}
		}
		p = &place{tokens: want.Limit.burst(), at: now}
		c.places[k] = p
	}
	p.limit = want.Limit // a reload may have changed it
	p.fill(now)
	return p, nil
}

// sweepEvery is how often idle places are looked for.
const sweepEvery = 10 * time.Second

// sweepLocked forgets idle places, at most now and then: it looks at all of them.
func (c *Caps) sweepLocked(now time.Time) {
	if now.Sub(c.swept) < sweepEvery {
		return
	}
	c.swept = now
	for k, p := range c.places {
		if p.fill(now); p.idle() {
			delete(c.places, k)
		}
	}
}

// give ends a call.
func (c *Caps) give(held []placeKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range held {
		p := c.places[k]
		if p == nil {
			continue
		}
		if p.calls--; p.calls == 0 && p.limit.PerSecond == 0 {
			delete(c.places, k)
		}
	}
}

// Calls is how many calls a place has.
func (c *Caps) Calls(k Kind, name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.places[placeKey{k, name}]; p != nil {
		return p.calls
	}
	return 0
}

// Places is how many places are counted.
func (c *Caps) Places() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.places)
}

// String tells what a limit allows.
func (l Limit) String() string {
	switch {
	case l.None():
		return "any number"
	case l.PerSecond == 0:
		return fmt.Sprintf("%d calls", l.Calls)
	case l.Calls == 0:
		return fmt.Sprintf("%g calls/s", l.PerSecond)
	}
	return fmt.Sprintf("%d calls, %g calls/s", l.Calls, l.PerSecond)
}
