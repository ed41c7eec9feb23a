package guard

import "time"

// alarmLocked tells once when the circuit breaker opens, and once when it has closed.
func (g *Guard) alarmLocked(now time.Time) {
	s := g.scoring.engine.Breaker(now)
	switch {
	case s.Trips != g.scoring.trips:
		g.scoring.trips, g.scoring.alarmed = s.Trips, true
		g.log.Error("rules ban too many: until the circuit breaker closes they limit rates instead; persons may ban", "cause", s.Cause, "until", s.Until)
	case g.scoring.alarmed && !s.Open:
		g.scoring.alarmed = false
		g.log.Info("the circuit breaker is closed: rules ban again")
	default:
		return
	}
	g.watch.publish(Event{At: now, Kind: EventBreaker, Breaker: &s})
}
