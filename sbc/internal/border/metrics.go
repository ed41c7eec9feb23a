package border

import "brickhouse/shared/telemetry"

// Metrics are the border's counters.
type Metrics struct {
	refused *telemetry.Reasons
	ended   *telemetry.Reasons
}

// NewMetrics registers the border's counters.
func NewMetrics(m *telemetry.Metrics) *Metrics {
	return &Metrics{
		refused: m.Reasons("refused_total", "Messages and connections that ended at the border, by reason."),
		ended:   m.Reasons("calls_ended_total", "Calls that ended, by reason."),
	}
}

// gauges shows what the border holds.
func (b *Border) gauges(m *telemetry.Metrics) {
	m.Gauge("calls", "Calls in hand.", func() float64 { return float64(b.engine.Len()) })
	m.Gauge("transactions", "Server and client transactions.", func() float64 {
		server, client := b.tx.Counts()
		return float64(server + client)
	})
	m.ReasonsFunc("media_dropped_total", "Media packets that were not relayed, by reason.", b.anchor.Dropped)
	m.Gauge("bans", "Bans in force.", func() float64 {
		stats, err := b.guard.Stats()
		if err != nil {
			b.log.Error("reading the ban filter's counters", "error", err)
		}
		return float64(stats.Bans)
	})
	m.Gauge("core_link_up", "1 while the exchange is connected.", func() float64 {
		if b.core.current() == nil {
			return 0
		}
		return 1
	})
}
