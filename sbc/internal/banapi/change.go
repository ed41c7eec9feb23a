package banapi

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"brickhouse/sbc/internal/guard"
)

// outcome is what became of one decision.
type outcome struct {
	Alert   int    `json:"alert"` // place of its alert in the request, from 0
	Value   string `json:"value"` // as it was posted
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
}

// What can become of a decision.
const (
	outcomeBanned    = "banned"
	outcomeKept      = "kept"      // a ban of the same network that lasts at least as long is there
	outcomeSimulated = "simulated" // the caller only plays
	outcomeRefused   = "refused"
)

// workers is how many decisions of a request are put into force at a time: each waits for the journal, which writes them together.
const workers = 32

// Networks that a token without the right to ban wide ones may ban.
const (
	narrow4 = 24
	narrow6 = 48
)

// ban puts the wishes of a request into force. Those for the same network stay in order.
func (s *Server) ban(h *holder, wishes []wish) []outcome {
	out := make([]outcome, len(wishes))
	queues := make([][]int, workers)
	for i, w := range wishes {
		q := maphash.String(s.seed, w.Value) % workers
		queues[q] = append(queues[q], i)
	}
	var all sync.WaitGroup
	for _, q := range queues {
		if len(q) > 0 {
			all.Go(func() {
				for _, i := range q {
					out[i] = s.banOne(h, wishes[i])
				}
			})
		}
	}
	all.Wait()
	return out
}

func (s *Server) banOne(h *holder, w wish) outcome {
	o := outcome{Alert: w.Alert, Value: w.Value, Outcome: outcomeRefused}
	prefix, length, err := w.read()
	if err != nil {
		o.Detail = err.Error()
		return o
	}
	if w.Simulated {
		o.Outcome = outcomeSimulated
		return o
	}
	if !h.Wide && (prefix.Addr().Is4() && prefix.Bits() < narrow4 || prefix.Addr().Is6() && prefix.Bits() < narrow6) {
		o.Detail = fmt.Sprintf("this token may not ban a network wider than /%d or, for IPv6, /%d", narrow4, narrow6)
		return o
	}
	if length > h.MaxBan {
		length, o.Detail = h.MaxBan, "cut to "+h.MaxBan.String()
	}
	old, there := s.standing(prefix)
	if there && old.By != h.by() && old.Left(s.now()) >= length {
		o.Outcome, o.Detail = outcomeKept, "a ban that lasts longer is there"
		return o
	}
	if mine := there && old.By == h.by(); !mine && !s.take(h) {
		o.Detail = fmt.Sprintf("this token has its %d bans already", h.MaxBans)
		return o
	}
	began := s.now()
	err = s.guard.Ban(prefix, length, h.by(), w.Scenario)
	s.changed()
	if err != nil {
		o.Detail = err.Error()
		if b, ok := s.standing(prefix); !ok || b.By != h.by() || b.From.Before(began) {
			return o
		} // else it is in force, and only the journal failed
	}
	o.Outcome = outcomeBanned
	return o
}

// read understands a wish.
func (w wish) read() (netip.Prefix, time.Duration, error) {
	if !strings.EqualFold(w.Type, typeBan) {
		return netip.Prefix{}, 0, fmt.Errorf("type %.20q is not ban", w.Type)
	}
	p, err := prefixOf(w.Scope, w.Value)
	if err != nil {
		return p, 0, err
	}
	length, err := time.ParseDuration(w.Duration)
	if err != nil || length < time.Second {
		return p, 0, fmt.Errorf("duration %.20q is not above 1s; write it as 30m or 4h", w.Duration)
	}
	return p, length, nil
}

// prefixOf reads the value of a scope. Bits beyond the network's length are refused: whoever set them may have meant the host.
func prefixOf(scope, value string) (netip.Prefix, error) {
	switch strings.ToLower(scope) {
	case "ip":
		a, err := netip.ParseAddr(value)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%.50q is no address", value)
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	case "range":
		p, err := netip.ParsePrefix(value)
		if err != nil || p.Masked() != p || p.Addr().Is4In6() {
			return netip.Prefix{}, fmt.Errorf("%.50q is no network", value)
		}
		return p, nil
	}
	return netip.Prefix{}, fmt.Errorf("scope %.20q is neither ip nor range", scope)
}

// standing returns the ban of exactly p, if there is one.
func (s *Server) standing(p netip.Prefix) (guard.Ban, bool) {
	e, _ := s.guard.Why(p.Addr())
	i := slices.IndexFunc(e.Bans, func(b guard.Ban) bool { return b.Prefix == p })
	if i < 0 {
		return guard.Ban{}, false
	}
	return e.Bans[i], true
}

// lift ends the ban of p, if h made it; it returns how many that are.
func (s *Server) lift(h *holder, p netip.Prefix) (int, error) {
	b, ok := s.standing(p)
	if !ok {
		return 0, nil
	}
	if b.By != h.by() {
		return 0, refuse(http.StatusForbidden, reasonForeign, "the ban of %s is not this token's; it was made by %s", p, origin(b))
	}
	err := s.guard.Unban(p, h.by(), "")
	s.changed()
	if errors.Is(err, guard.ErrNoBan) {
		return 0, nil
	}
	return 1, err
}

// deleted is the answer to a deletion.
type deleted struct {
	Number string `json:"nbDeleted"`
}

func countDeleted(n int) deleted { return deleted{strconv.Itoa(n)} }
