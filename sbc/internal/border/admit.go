package border

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/caps"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// gate decides about a new call from outside before anything is done for it. A refusal is answered here: it reports whether the call goes
// on.
func (b *Border) gate(from realmName, s *transaction.Server) bool {
	req := s.Request()
	_, begun := sipmsg.Header(req, "Proxy-Authorization")
	c := caps.Caller{Begun: begun || from == peer, Emergency: b.emergency(req), Known: from == peer}
	if !c.Known && c.Emergency {
		c.Known = b.realms[from].registered(s.Flow())
	}
	if why := b.valve.Admit(c, b.now()); why != verdict.None {
		b.turnAway(s, why, time.Second)
		return false
	}
	return true
}

// emergency reports whether a call is for one of the emergency numbers.
func (b *Border) emergency(req *sip.Request) bool {
	number, err := topology.User(req.Recipient)
	return err == nil && slices.Contains(b.limits.Load().Emergency, number)
}

// callerPlaces is what a call from outside counts for.
func (b *Border) callerPlaces(from realmName, trunk string, s *transaction.Server) []caps.Place {
	limits := b.limits.Load()
	if b.emergency(s.Request()) {
		return nil
	}
	total := limits.Total
	total.PerSecond, total.Burst = 0, 0 // the gate's
	places := []caps.Place{{Kind: caps.Total, Limit: total}}
	if from == peer {
		return append(places, b.trunkPlace(trunk))
	}
	if aor, ok := b.cache.Registered(s.Flow().ID(), b.now()); ok && !limits.Phone.None() {
		places = append(places, caps.Place{Kind: caps.AOR, Name: aor, Limit: limits.Phone})
	}
	return append(places, caps.SourcePlace(s.Flow().Remote().Addr(), limits.Source))
}

func (b *Border) trunkPlace(name string) caps.Place {
	p := caps.Place{Kind: caps.Trunk, Name: name}
	if t, ok := b.carriers.Trunk(name); ok {
		p.Limit = t.Config().Limits
	}
	return p
}

// admit finds room for a call in all of its places. A refusal is answered here: release is nil then.
func (b *Border) admit(s *transaction.Server, places ...caps.Place) (release func()) {
	release, err := b.caps.Take(b.now(), places...)
	if err == nil {
		return release
	}
	why, wait := verdict.Overload, time.Duration(0)
	var r *caps.Refusal
	if errors.As(err, &r) {
		why, wait = r.Reason, r.Wait
	}
	b.turnAway(s, why, wait)
	return nil
}

// turnAway refuses a call for which there is no room, and keeps nothing of it. It has cost no more than to read it.
func (b *Border) turnAway(s *transaction.Server, why verdict.Reason, wait time.Duration) {
	b.metrics.refused.Inc(why)
	res := b.realms[b.realmOf(s.Flow())].rules.Refusal(s.Request(), verdict.Rejected(sip.StatusServiceUnavailable, why))
	res.AppendHeader(sip.NewHeader("Retry-After", retryAfter(wait))) // RFC 3261 §21.5.4
	res.SetBody(nil)
	if err := s.RespondStateless(res); err != nil {
		b.log.Debug("turning a call away", "error", err)
	}
}

// retryAfter is a time in whole seconds, as long as one should wait at least.
func retryAfter(wait time.Duration) string {
	if wait <= 0 {
		return retryAfterCore
	}
	return strconv.Itoa(int(math.Ceil(wait.Seconds())))
}
