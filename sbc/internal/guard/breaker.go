package guard

import "time"

// alarmLocked tells once when the circuit breaker opens, and once when it has closed.
func (g *Guard) alarmLocked(now time.Time) {
	s := g.scoring.engine.Breaker(now)
	if s.Open == g.scoring.alarmed {
		return
	}
	g.scoring.alarmed = s.Open
	if s.Open {
		g.log.Error("rules ban too many: until the circuit breaker closes they limit rates instead; persons may ban", "cause", s.Cause, "until", s.Until)
	} else {
		g.log.Info("the circuit breaker is closed: rules ban again")
	}
	g.watch.publish(Event{At: now, Kind: EventBreaker, Breaker: &s})
}
