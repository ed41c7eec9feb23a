package registrar

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"brickhouse/shared/digest"
)

// decoys chooses how a name that is no account is challenged: like some account that is. The choice is always the same
// for a name; when accounts begin to use another order, only names that fall to the new one change.
type decoys struct {
	source func() [][]digest.Algorithm
	key    []byte

	mu     sync.Mutex
	at     time.Time // when source was asked
	orders [][]digest.Algorithm
}

// decoyLife is how long an answer of source is used: a stranger must not make us walk through all accounts.
const decoyLife = time.Minute

// order returns the order for a name, or nil when there is none to choose.
func (d *decoys) order(name string, now time.Time) (best []digest.Algorithm) {
	if d.source == nil {
		return nil
	}
	var most []byte
	for _, o := range d.current(now) {
		h := hmac.New(sha256.New, d.key) // the highest of the hashes wins (rendezvous hashing)
		h.Write([]byte(name))
		for _, a := range o {
			h.Write([]byte{0})
			h.Write([]byte(a))
		}
		if sum := h.Sum(nil); bytes.Compare(sum, most) > 0 {
			best, most = o, sum
		}
	}
	return best
}

// current are the different orders in use.
func (d *decoys) current(now time.Time) [][]digest.Algorithm {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := now.Sub(d.at); d.orders == nil || age < 0 || age > decoyLife {
		d.at, d.orders = now, [][]digest.Algorithm{}
		for _, o := range d.source() {
			if !slices.ContainsFunc(d.orders, func(p []digest.Algorithm) bool { return slices.Equal(o, p) }) {
				d.orders = append(d.orders, slices.Clone(o))
			}
		}
	}
	return d.orders
}
