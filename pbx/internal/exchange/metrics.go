package exchange

import "brickhouse/shared/telemetry"

// Metrics are the exchange's counters.
type Metrics struct {
	refused *telemetry.Reasons
	denied  *telemetry.Reasons
}

// NewMetrics registers the exchange's counters.
func NewMetrics(m *telemetry.Metrics) *Metrics {
	return &Metrics{
		refused: m.Reasons("refused_total", "Messages and connections that were refused, by reason."),
		denied:  m.Reasons("external_denied_total", "External calls that rights, caps or a block denied, by reason."),
	}
}

// gauges shows what the exchange holds.
func (x *Exchange) gauges(m *telemetry.Metrics) {
	m.Gauge("calls", "Calls in hand.", func() float64 { return float64(x.engine.Len()) })
	m.Gauge("bindings", "Registered contacts.", func() float64 { return float64(len(x.store.AllBindings(x.now()))) })
	m.Gauge("extensions_blocked", "Extensions that are blocked for external calls.", func() float64 {
		n := 0
		for _, s := range x.store.Standings() {
			if !s.Blocked.IsZero() {
				n++
			}
		}
		return float64(n)
	})
	m.Gauge("subscriptions", "Event subscriptions.", func() float64 { return float64(x.events.Len()) })
	m.Gauge("unsaved", "Changes of the state that are not on disk.", func() float64 { return float64(x.store.Unsaved()) })
	m.Gauge("registrations_early", "Registrations that were answered before they were on disk, since the start.", func() float64 {
		return float64(x.registrar.EarlyAnswers())
	})
	m.Gauge("transactions", "Server and client transactions.", func() float64 {
		server, client := x.tx.Counts()
		return float64(server + client)
	})
	m.Families([]telemetry.Family{{Name: "trunk_registered", Help: "1 while we are registered at a carrier.", Labels: []string{"trunk"}}}, func(emit telemetry.Emit) {
		for _, a := range x.accountsAway {
			v := 0.0
			if a.registered() {
				v = 1
			}
			emit("trunk_registered", v, a.trunk.Name)
		}
	})
}
