package siptest

import (
	"fmt"
	"sync"
)

// CarrierConfig says what a carrier is. The embedded configuration is that of a phone: Server is the border that the carrier
// calls in to; User, Password and Algorithms say by what it calls itself in From and how it would register.
type CarrierConfig struct {
	Config
	Challenge    int    // 401 or 407: challenge incoming INVITEs; 0: take them as they are
	Realm        string // of the challenge; default "carrier"
	TrunkUser    string // who may call
	TrunkSecret  string
	TrunkAlgo    string // default MD5
	AlwaysStale  int    // answer so many right credentials with "stale" first
	RefuseLogins bool   // answer wrong credentials with 403 instead of a new challenge
}

// CarrierCounts counts what a carrier did with INVITEs.
type CarrierCounts struct {
	Challenged int // had no credentials
	Stale      int // had right credentials for a nonce that the carrier called old
	Wrong      int // had wrong ones, or a nonce that is not ours or was used before
	Accepted   int // had right ones, or no challenge is configured
}

// maxNonces bounds the nonces that a carrier has given out and that were not used yet.
const maxNonces = 10_000

// Carrier is the far end of a trunk. It always listens. All that a Phone does, it does too: it answers and makes calls.
type Carrier struct {
	*Phone
	cfg CarrierConfig

	mu     sync.Mutex
	nonces map[string]challenge
	counts CarrierCounts
}

// NewCarrier opens a carrier's sockets.
func NewCarrier(cfg CarrierConfig) (*Carrier, error) {
	switch cfg.Challenge {
	case 0, 401, 407:
	default:
		return nil, fmt.Errorf("%w: challenge with %d", errConfig, cfg.Challenge)
	}
	def(&cfg.Realm, "carrier")
	def(&cfg.TrunkAlgo, MD5)
	def(&cfg.Config.User, "carrier")
	cfg.Listen = true
	c := &Carrier{cfg: cfg, nonces: make(map[string]challenge)}
	p, err := newPhone(cfg.Config, c.admit)
	if err != nil {
		return nil, err
	}
	c.Phone = p
	return c, nil
}

// Counts says what became of the INVITEs so far.
func (c *Carrier) Counts() CarrierCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// admit challenges an INVITE, or lets it through.
func (c *Carrier) admit(s *serverTx) bool {
	answer, ask := "Authorization", "WWW-Authenticate"
	if c.cfg.Challenge == 407 {
		answer, ask = "Proxy-Authorization", "Proxy-Authenticate"
	}
	c.mu.Lock()
	verdict := c.judgeLocked(s.req.Header(answer))
	ch := challenge{realm: c.cfg.Realm, nonce: token(), algorithm: c.cfg.TrunkAlgo, stale: verdict == judgedStale}
	if verdict != judgedRight && len(c.nonces) < maxNonces {
		c.nonces[ch.nonce] = ch
	}
	c.mu.Unlock()
	switch {
	case verdict == judgedRight:
		return true
	case verdict == judgedWrong && c.cfg.RefuseLogins:
		s.respond(403, nil)
	default:
		s.respond(c.cfg.Challenge, nil, field{ask, ch.header()})
	}
	return false
}

type judgement uint8

const (
	judgedRight judgement = iota
	judgedNone
	judgedStale
	judgedWrong
)

// judgeLocked holds credentials against the nonces given out; each nonce is good for one request.
func (c *Carrier) judgeLocked(value string) judgement {
	if c.cfg.Challenge == 0 {
		c.counts.Accepted++
		return judgedRight
	}
	f, ok := digestFields(value)
	if !ok {
		c.counts.Challenged++
		return judgedNone
	}
	ch, known := c.nonces[f["nonce"]]
	delete(c.nonces, f["nonce"])
	switch {
	case !known || !ch.accepts(value, c.cfg.TrunkUser, c.cfg.TrunkSecret, "INVITE"):
		c.counts.Wrong++
		return judgedWrong
	case c.counts.Stale < c.cfg.AlwaysStale:
		c.counts.Stale++
		return judgedStale
	}
	c.counts.Accepted++
	return judgedRight
}
