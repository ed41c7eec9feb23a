// Package ice is the lite half of interactive connectivity establishment (RFC 8445 §2.5): it answers the checks that a phone makes, learns
// by them from where the phone reaches us, and which path it has chosen. It never sends a check, so it needs none of the phone's
// candidates, and reads none.
//
// It owns no socket and no clock. Only a check that is authentic gets an answer, which is never longer than the check; whatever
// stands in a message behind its MESSAGE-INTEGRITY is not believed.
package ice

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// maxPairs bounds how many paths of one phone are known; a browser has some ten at most.
const maxPairs = 16

// stale is after how long without a check a nominated path gives way to one of lower priority: a phone checks its path every few
// seconds, and has left it when it does so on another one only.
const stale = 6 * time.Second

// Credentials are one side's name and password (RFC 8445 §5.3).
type Credentials struct{ Ufrag, Pwd string }

// NewCredentials draws 48 bits for the name and 144 for the password; RFC 8445 §5.3 asks for 24 and 128.
func NewCredentials(random io.Reader) (Credentials, error) {
	b := make([]byte, 24)
	if _, err := io.ReadFull(random, b); err != nil {
		return Credentials{}, fmt.Errorf("drawing ICE credentials: %w", err)
	}
	s := base64.StdEncoding.EncodeToString(b) // its letters are ice-chars (RFC 8839 §5.1)
	return Credentials{s[:8], s[8:]}, nil
}

// Agent is our half for one medium. It is safe for concurrent use.
type Agent struct {
	mu        sync.Mutex
	username  string // that the checks have: our name, a colon, theirs; without theirs while it is not known
	integrity stun.MessageIntegrity
	local     Credentials
	remote    string
	pairs     map[netip.AddrPort]*pair
	nominated netip.AddrPort
	heard     time.Time // the latest check
	msg       stun.Message
}

// pair is a path on which an authentic check came.
type pair struct {
	priority uint32
	last     time.Time
}

// NewAgent makes an agent with our credentials.
func NewAgent(local Credentials) *Agent {
	a := &Agent{pairs: make(map[netip.AddrPort]*pair)}
	a.setLocked(local, "")
	return a
}

func (a *Agent) setLocked(local Credentials, remote string) {
	a.local, a.remote = local, remote
	a.username = local.Ufrag + ":" + remote
	a.integrity = stun.NewShortTermIntegrity(local.Pwd)
}

// Local returns our credentials.
func (a *Agent) Local() Credentials {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.local
}

// Remote returns the far side's name; empty while it is not known.
func (a *Agent) Remote() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remote
}

// Restart takes new names (RFC 8445 §2.4). Paths that were proved stay known until others are nominated.
func (a *Agent) Restart(local Credentials, remote string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	restarted := a.remote != "" && a.remote != remote
	a.setLocked(local, remote)
	if restarted {
		for _, p := range a.pairs {
			p.priority = 0 // whatever is nominated now wins
		}
	}
}

// Valid reports whether an authentic check came from src.
func (a *Agent) Valid(src netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pairs[src] != nil
}

// Heard returns when the latest authentic check came; zero if none has.
func (a *Agent) Heard() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard
}

// Check is what became of a STUN packet.
type Check struct {
	Reply     []byte // to be sent to where the check came from, before the next call of Take; nil: nothing is answered
	Nominated bool   // the path is now the one that the phone has chosen
}

// Take judges a STUN packet. False if it is not for us, not authentic or not well-formed: then nobody learns anything by it.
func (a *Agent) Take(pkt []byte, src netip.AddrPort, now time.Time) (Check, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.readLocked(pkt)
	if !ok {
		return Check{}, false
	}
	c := Check{}
	if r.controlled { // RFC 8445 §7.3.1.1: a lite agent never takes the other role
		c.Reply = a.replyLocked(stun.BindingError, stun.CodeRoleConflict)
	} else {
		p := a.pairs[src]
		if p == nil {
			if len(a.pairs) >= maxPairs && !a.forgetLocked(now) {
				return Check{}, false
			}
			p = &pair{}
			a.pairs[src] = p
		}
		p.priority, p.last, a.heard = r.priority, now, now
		c.Nominated = r.useCandidate && a.nominateLocked(src, now)
		c.Reply = a.replyLocked(stun.BindingSuccess, xorMapped(src))
	}
	if len(c.Reply) > len(pkt) {
		c.Reply = nil
	}
	return c, true
}

// forgetLocked makes room by dropping the path that is silent longest.
func (a *Agent) forgetLocked(now time.Time) bool {
	var oldest netip.AddrPort
	last := now.Add(-stale)
	for at, p := range a.pairs {
		if at != a.nominated && p.last.Before(last) {
			oldest, last = at, p.last
		}
	}
	delete(a.pairs, oldest)
	return oldest.IsValid()
}

// nominateLocked decides whether a nominated path is the one to use: of several the one of the highest priority (RFC 8445 §8.1.1),
// unless the phone has left it.
func (a *Agent) nominateLocked(src netip.AddrPort, now time.Time) bool {
	old := a.pairs[a.nominated]
	if src != a.nominated && old != nil && old.priority > a.pairs[src].priority && now.Sub(old.last) < stale {
		return false
	}
	a.nominated = src
	return true
}

// request is what we read of a check.
type request struct {
	priority                 uint32
	useCandidate, controlled bool
}

// readLocked parses a binding request and proves it: FINGERPRINT last, MESSAGE-INTEGRITY before it, our name in USERNAME.
func (a *Agent) readLocked(pkt []byte) (request, bool) {
	m := &a.msg
	m.Raw = append(m.Raw[:0], pkt...)
	if m.Decode() != nil || m.Type != stun.BindingRequest || len(m.Raw) != 20+int(m.Length) {
		return request{}, false
	}
	if n := len(m.Attributes); n < 3 || m.Attributes[n-1].Type != stun.AttrFingerprint || m.Attributes[n-2].Type != stun.AttrMessageIntegrity {
		return request{}, false
	}
	var r request
	username := ""
	for _, attr := range m.Attributes[:len(m.Attributes)-2] {
		switch attr.Type {
		case stun.AttrUsername:
			username = string(attr.Value)
		case stun.AttrPriority:
			if len(attr.Value) == 4 {
				r.priority = uint32(attr.Value[0])<<24 | uint32(attr.Value[1])<<16 | uint32(attr.Value[2])<<8 | uint32(attr.Value[3])
			}
		case stun.AttrUseCandidate:
			r.useCandidate = true
		case stun.AttrICEControlled:
			r.controlled = true
		case stun.AttrMessageIntegrity, stun.AttrFingerprint:
			return request{}, false // twice
		}
	}
	if a.remote == "" && !strings.HasPrefix(username, a.username) || a.remote != "" && username != a.username {
		return request{}, false
	}
	return r, stun.Fingerprint.Check(m) == nil && a.integrity.Check(m) == nil
}

// replyLocked writes an answer to the request that was read last.
func (a *Agent) replyLocked(typ stun.MessageType, what stun.Setter) []byte {
	out, err := stun.Build(stun.NewTransactionIDSetter(a.msg.TransactionID), typ, what, a.integrity, stun.Fingerprint)
	if err != nil {
		return nil
	}
	return out.Raw
}

func xorMapped(src netip.AddrPort) *stun.XORMappedAddress {
	return &stun.XORMappedAddress{IP: net.IP(src.Addr().Unmap().AsSlice()), Port: int(src.Port())}
}
