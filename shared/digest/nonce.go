package digest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// NonceState is what a nonce says about itself.
type NonceState uint8

// The states of a nonce.
const (
	NonceForeign NonceState = iota // not ours, or issued to another origin
	NonceStale                     // ours and issued to this origin, but its time is over
	NonceFresh                     // ours, issued to this origin, and young enough
)

// Layout of a nonce in bytes: age, random, HMAC over both and the origin. It is short because a stranger over UDP is sent no more than
// he sent himself; who guesses at the HMAC has to ask us 2^72 times.
const (
	nonceAge    = 5 // of milliseconds: 34 years
	nonceRandom = 4
	nonceMAC    = 9
	nonceHead   = nonceAge + nonceRandom
	nonceLen    = nonceHead + nonceMAC
)

// NonceConfig is how nonces are made.
type NonceConfig struct {
	Key  []byte        // of the HMAC, at least 32 bytes; after a change of key all nonces are foreign
	Life time.Duration // how long a nonce is fresh
	Max  int           // nonces in use whose counters are kept; over it, all nonces so far become stale
	Rand io.Reader     // crypto/rand.Reader
}

// DefaultNonceLife and DefaultNonceMax suit one machine with up to 100,000 phones.
const (
	DefaultNonceLife = 5 * time.Minute
	DefaultNonceMax  = 200_000
)

// Nonces issues nonces without remembering them, and remembers the count of those that were used with right credentials
// (which no stranger can make it do). All methods may be called from any goroutine.
type Nonces struct {
	cfg   NonceConfig
	start time.Time // ages count from here, by the monotonic clock

	mu    sync.Mutex
	floor int64                         // nonces issued before are stale: the table was full
	used  [2]map[[nonceHead]byte]uint32 // highest count; by the era, one Life long, in which the nonce was issued
	era   int64                         // of used[1]; used[0] is the one before
}

var errNonceConfig = errors.New("nonce configuration")

// NewNonces returns an issuer. now is the beginning of its time.
func NewNonces(cfg NonceConfig, now time.Time) (*Nonces, error) {
	if len(cfg.Key) < sha256.Size || cfg.Life <= 0 || cfg.Max <= 0 || cfg.Rand == nil {
		return nil, fmt.Errorf("%w: it needs a key of %d bytes, a life, a maximum and a random source", errNonceConfig, sha256.Size)
	}
	n := &Nonces{cfg: cfg, start: now}
	n.clear()
	return n, nil
}

func (n *Nonces) clear() {
	n.used[0], n.used[1] = map[[nonceHead]byte]uint32{}, map[[nonceHead]byte]uint32{}
}

// age is the time since start in milliseconds.
func (n *Nonces) age(now time.Time) int64 { return now.Sub(n.start).Milliseconds() }

// Issue returns a new nonce for an origin: a name of where it is sent, such as a flow. It works for no other. The error
// is that of the random source.
func (n *Nonces) Issue(origin string, now time.Time) (string, error) {
	var b [nonceLen]byte
	var age [8]byte
	binary.BigEndian.PutUint64(age[:], uint64(n.age(now)))
	copy(b[:nonceAge], age[len(age)-nonceAge:])
	if _, err := io.ReadFull(n.cfg.Rand, b[nonceAge:nonceHead]); err != nil {
		return "", fmt.Errorf("issuing a nonce: %w", err)
	}
	mac := n.mac(b[:nonceHead], origin)
	copy(b[nonceHead:], mac[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// mac binds the head of a nonce to an origin.
func (n *Nonces) mac(head []byte, origin string) (out [nonceMAC]byte) {
	h := hmac.New(sha256.New, n.cfg.Key)
	h.Write(head)
	io.WriteString(h, origin) //nolint:errcheck // a hash takes everything
	var sum [sha256.Size]byte
	copy(out[:], h.Sum(sum[:0]))
	return out
}

// open reads a nonce and checks that it was issued to origin.
func (n *Nonces) open(nonce, origin string) (head [nonceHead]byte, issued int64, ok bool) {
	var b [nonceLen]byte
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceLen) {
		return head, 0, false
	}
	if k, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(nonce)); err != nil || k != nonceLen {
		return head, 0, false
	}
	want := n.mac(b[:nonceHead], origin)
	copy(head[:], b[:])
	var age [8]byte
	copy(age[len(age)-nonceAge:], b[:nonceAge])
	return head, int64(binary.BigEndian.Uint64(age[:])), subtle.ConstantTimeCompare(want[:], b[nonceHead:]) == 1
}

// Check tells what a nonce that came from origin is worth.
func (n *Nonces) Check(nonce, origin string, now time.Time) NonceState {
	_, issued, ok := n.open(nonce, origin)
	if !ok {
		return NonceForeign
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stateLocked(issued, now)
}

func (n *Nonces) stateLocked(issued int64, now time.Time) NonceState {
	if age := n.age(now); issued < n.floor || age-issued > n.cfg.Life.Milliseconds() {
		return NonceStale
	}
	return NonceFresh
}

// Use takes a nonce with its count and reports whether it may be taken: fresh, and with a count higher than any before
// (RFC 7616 §3.4, nc). Call it only after Verify: right credentials are what earns a place in the table. Without qop the
// count is 0, and the nonce works once.
func (n *Nonces) Use(nonce, origin string, nc uint32, now time.Time) bool {
	head, issued, ok := n.open(nonce, origin)
	if !ok {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stateLocked(issued, now) != NonceFresh {
		return false
	}
	n.turnLocked(now)
	table := n.used[0]
	if issued/n.eraLen() >= n.era {
		table = n.used[1]
	}
	last, known := table[head]
	if known && nc <= last {
		return false
	}
	if !known && len(n.used[0])+len(n.used[1]) >= n.cfg.Max {
		// Nothing can be forgotten one by one without letting a replay in: all that was issued so far goes stale. Phones
		// come back with a new nonce and never notice.
		n.clear()
		n.floor = n.age(now) + 1
		return false
	}
	table[head] = nc
	return true
}

// eraLen is the length of an era in milliseconds: with two of Life each, what is dropped is over.
func (n *Nonces) eraLen() int64 { return max(1, n.cfg.Life.Milliseconds()) }

// turnLocked drops the counters of nonces whose time is over.
func (n *Nonces) turnLocked(now time.Time) {
	era := n.age(now) / n.eraLen()
	switch {
	case era == n.era+1:
		n.used[0], n.used[1] = n.used[1], map[[nonceHead]byte]uint32{}
	case era > n.era:
		n.clear()
	default:
		return
	}
	n.era = era
}
