// Package regcache ties what a phone registered to the flow it registered over (RFC 5626 §5.1).
//
// Inside, a binding has an opaque contact, the token; where the phone is and which address it wrote into its Contact stays
// here. A request that the exchange sends to the token goes out over the phone's flow, addressed as the phone asked.
package regcache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/transport"
)

// DefaultMax is how many bindings a cache holds unless told otherwise.
const DefaultMax = 200_000

// ErrFull is the fault of a cache that takes no more bindings.
var ErrFull = errors.New("too many bindings")

// Binding is one registered contact. It is a constant: a refresh makes a new one.
type Binding struct {
	Token   string  // user part of the contact that the exchange knows
	AOR     string  // user@domain
	Contact sip.Uri // where the phone wants its requests addressed
	Flow    *transport.Flow
	Proven  bool      // the flow's remote address is the phone's: nobody registered in its name
	Expires time.Time // as the phone knows it

	// What a refresh is held to that the exchange need not see (Cache.Refresh).
	Params    string        // parameters of the Contact that the exchange knows
	CallID    string        // of the phone's REGISTERs
	CSeq      uint32        // of its last one
	Life      time.Duration // what the phone was told last
	Outbound  bool          // it registered by RFC 5626
	Confirmed time.Time     // when the exchange last said so
	Inside    time.Time     // how long the exchange keeps it
}

// Cache holds the bindings. All methods may be called from any goroutine.
type Cache struct {
	key  []byte
	max  int
	tell func(*Binding) // of a binding that is gone; may be nil

	mu      sync.RWMutex
	byToken map[string]*Binding
	byFlow  index      // flow ID → tokens
	byAOR   index      // AOR → tokens
	gone    []*Binding // to be told of when mu is free
}

// index finds tokens by something that bindings have in common.
type index map[string]map[string]bool

func (x index) add(key, token string) {
	if x[key] == nil {
		x[key] = map[string]bool{}
	}
	x[key][token] = true
}

func (x index) remove(key, token string) {
	delete(x[key], token)
	if len(x[key]) == 0 {
		delete(x, key)
	}
}

// New makes a cache. Tokens are derived with key: with the same key they are the same after a restart, so that a phone
// that comes back replaces its old binding instead of adding one.
func New(key []byte, max int) *Cache {
	if max == 0 {
		max = DefaultMax
	}
	return &Cache{key: key, max: max, byToken: map[string]*Binding{}, byFlow: index{}, byAOR: index{}}
}

// OnGone sets who is told of each binding that is gone: removed, expired, or replaced by one from elsewhere. It is called after
// the change, while the cache is free to be asked. Set it before the first Put.
func (c *Cache) OnGone(tell func(*Binding)) { c.tell = tell }

// unlock ends a change and tells what is gone.
func (c *Cache) unlock() {
	gone := c.gone
	c.gone = nil
	c.mu.Unlock()
	for _, b := range gone {
		c.tell(b)
	}
}

// Token names the binding of a contact. The same device (by its +sip.instance and reg-id, RFC 5626 §4.1; else by its
// contact URI) of the same AOR has the same token.
func (c *Cache) Token(aor, instance, regID string, contact sip.Uri) string {
	device := contact.String()
	if instance != "" {
		device = instance + "\x00" + regID
	}
	mac := hmac.New(sha256.New, c.key)
	mac.Write([]byte(aor + "\x00" + device))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Put adds or replaces a binding.
func (c *Cache) Put(b Binding) error {
	c.mu.Lock()
	defer c.unlock()
	old := c.byToken[b.Token]
	if old == nil && len(c.byToken) >= c.max {
		return ErrFull
	}
	if old != nil {
		c.removeLocked(old)
		if old.AOR == b.AOR && old.source() == b.source() && b.Proven {
			c.gone = nil // a refresh
		}
	}
	c.byToken[b.Token] = &b
	c.byFlow.add(b.Flow.ID(), b.Token)
	c.byAOR.add(b.AOR, b.Token)
	return nil
}

// removeLocked forgets a binding; the caller holds mu.
func (c *Cache) removeLocked(b *Binding) {
	delete(c.byToken, b.Token)
	c.byFlow.remove(b.Flow.ID(), b.Token)
	c.byAOR.remove(b.AOR, b.Token)
	if c.tell != nil {
		c.gone = append(c.gone, b)
	}
}

// source is the address that the binding's phone has as we see it.
func (b *Binding) source() netip.Addr { return b.Flow.Remote().Addr() }

// Get returns the live binding of a token.
func (c *Cache) Get(token string, now time.Time) (*Binding, bool) {
	c.mu.RLock()
	b := c.byToken[token]
	c.mu.RUnlock()
	if b == nil || !now.Before(b.Expires) {
		return nil, false
	}
	return b, true
}

// Registered reports whether a live binding was made over that flow, and returns one of its AORs.
func (c *Cache) Registered(flowID string, now time.Time) (aor string, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for token := range c.byFlow[flowID] {
		if b := c.byToken[token]; b != nil && now.Before(b.Expires) {
			return b.AOR, true
		}
	}
	return "", false
}

// Proven returns until when an account has a proven binding from an address; false if it has none.
func (c *Cache) Proven(aor string, src netip.Addr, now time.Time) (until time.Time, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for token := range c.byAOR[aor] {
		b := c.byToken[token]
		if b.Proven && b.source() == src && b.Expires.After(now) && b.Expires.After(until) {
			until, ok = b.Expires, true
		}
	}
	return until, ok
}

// Refresh keeps a binding that the phone renews by itself, without the exchange: until is when it expires then, seq the CSeq of
// the REGISTER that says so. It reports false if the binding is not b any more, so that something happened meanwhile.
func (c *Cache) Refresh(b *Binding, seq uint32, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byToken[b.Token] != b {
		return false
	}
	next := *b
	next.CSeq, next.Expires = seq, until
	c.byToken[b.Token] = &next
	return true
}

// Lookup returns the binding of a token, also one that has expired and was not swept out yet; nil if there is none.
func (c *Cache) Lookup(token string) *Binding {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byToken[token]
}

// OfAOR returns the live bindings of an account, in no order.
func (c *Cache) OfAOR(aor string, now time.Time) []*Binding {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Binding
	for token := range c.byAOR[aor] {
		if b := c.byToken[token]; now.Before(b.Expires) {
			out = append(out, b)
		}
	}
	return out
}

// All returns every binding, in no order.
func (c *Cache) All() []*Binding {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*Binding, 0, len(c.byToken))
	for _, b := range c.byToken {
		out = append(out, b)
	}
	return out
}

// Remove forgets a binding.
func (c *Cache) Remove(token string) {
	c.mu.Lock()
	defer c.unlock()
	if b := c.byToken[token]; b != nil {
		c.removeLocked(b)
	}
}

// RemoveFlow forgets every binding of a flow that ended: nothing can be sent over it any more.
func (c *Cache) RemoveFlow(flowID string) {
	c.mu.Lock()
	defer c.unlock()
	for token := range c.byFlow[flowID] {
		c.removeLocked(c.byToken[token])
	}
}

// RemoveAOR forgets every binding of an address of record.
func (c *Cache) RemoveAOR(aor string) {
	c.mu.Lock()
	defer c.unlock()
	for token := range c.byAOR[aor] {
		c.removeLocked(c.byToken[token])
	}
}

// Expire forgets what has expired and returns how many bindings are left.
func (c *Cache) Expire(now time.Time) int {
	c.mu.Lock()
	defer c.unlock()
	for _, b := range c.byToken {
		if !now.Before(b.Expires) {
			c.removeLocked(b)
		}
	}
	return len(c.byToken)
}
