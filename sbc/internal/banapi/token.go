package banapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/time/rate"
)

const (
	hashSize = sha256.Size
	keyBytes = 32 // random bytes of a token
	// maxKey is the longest key that is hashed, in bytes; ours have 43.
	maxKey = 256
)

// NewKey makes a token: the text that the tool keeps, and the sum for the configuration. A plain hash is enough, because there
// is nothing to guess in 256 random bits.
func NewKey() (key, sum string) {
	raw := make([]byte, keyBytes)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	key = base64.RawURLEncoding.EncodeToString(raw)
	h := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(h[:])
}

// holder is a token in use.
type holder struct {
	Token
	sum   [hashSize]byte
	pace  *rate.Limiter
	place sync.Mutex // held while one poll of the stream is answered
	last  []entry    // what the last poll was told; guarded by place
}

// by is how the holder's bans are signed.
func (h *holder) by() string { return byPrefix + h.Name }

// byPrefix begins the name under which the bans of a token are kept.
const byPrefix = "api:"

// burst is how many requests and decisions may come at once: the largest request fits in.
const burst = 1 + maxDecisions

// newHolders makes the table of tokens. What a stream was told so far is taken over from old, where the token is the same.
func newHolders(list []Token, old []*holder) []*holder {
	all := make([]*holder, 0, len(list))
	for _, t := range list {
		h := &holder{Token: t, pace: rate.NewLimiter(rate.Limit(t.Rate), burst)}
		raw, _ := hex.DecodeString(t.SHA256) // Validate saw it
		copy(h.sum[:], raw)
		for _, o := range old {
			if o.sum == h.sum {
				o.place.Lock()
				h.last = o.last
				o.place.Unlock()
			}
		}
		all = append(all, h)
	}
	return all
}

// find returns the holder of a key. It takes the same time whichever it is, and if it is none.
func find(all []*holder, key string) *holder {
	sum := sha256.Sum256([]byte(key))
	var found *holder
	for _, h := range all {
		if subtle.ConstantTimeCompare(sum[:], h.sum[:]) == 1 {
			found = h
		}
	}
	return found
}

// keyOf reads the key of a request: X-Api-Key, as bouncers send it, or a bearer token. Exactly one of them.
func keyOf(h http.Header) (string, bool) {
	own, bearer := h.Values("X-Api-Key"), h.Values("Authorization")
	if len(own)+len(bearer) != 1 {
		return "", false
	}
	if len(own) == 1 {
		return own[0], len(own[0]) <= maxKey
	}
	scheme, key, ok := strings.Cut(bearer[0], " ")
	return key, ok && strings.EqualFold(scheme, "Bearer") && len(key) <= maxKey
}
