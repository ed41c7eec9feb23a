package border

import (
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/verdict"
)

// Metrics are the border's counters.
type Metrics struct {
	refused *telemetry.Reasons
	ended   *telemetry.Reasons
	banAPI  func(token, result string)
	answers *answers
	quality quality
	trunk   func(trunk, direction string, why verdict.Reason)
}

// NewMetrics registers the border's counters.
func NewMetrics(m *telemetry.Metrics) *Metrics {
	requests := m.CounterVec("ban_api_requests_total", "Requests of other tools on this host, by token and by what became of them.", "token", "result")
	trunks := m.CounterVec("trunk_calls_total", "Calls of trunks that ended, by trunk, direction and reason.", "trunk", "direction", "reason")
	count := &answers{}
	m.Families(count.families(), count.emit)
	return &Metrics{
		answers: count,
		quality: newQuality(m),
		trunk: func(trunk, direction string, why verdict.Reason) {
			trunks.WithLabelValues(trunk, direction, string(why)).Inc()
		},
		banAPI:  func(token, result string) { requests.WithLabelValues(token, result).Inc() },
		refused: m.Reasons("refused_total", "Messages and connections that ended at the border, by reason."),
		ended:   m.Reasons("calls_ended_total", "Calls that ended, by reason."),
	}
}

// gauges shows what the border holds.
func (b *Border) gauges(m *telemetry.Metrics) {
	m.Gauge("calls", "Calls in hand.", func() float64 { return float64(b.engine.Len()) })
	m.Gauge("subscriptions", "Event subscriptions of phones.", func() float64 { return float64(b.watchers.len()) })
	m.Gauge("transactions", "Server and client transactions.", func() float64 {
		server, client := b.tx.Counts()
		return float64(server + client)
	})
	m.ReasonsFunc("media_dropped_total", "Media packets that were not relayed, by reason.", b.anchor.Dropped)
	m.Families(filterFamilies(), b.filterMetrics)
	m.Families(trunkFamilies(), b.trunkMetrics)
	m.Gauge("core_link_up", "1 while the exchange is connected.", func() float64 {
		if b.core.current() == nil {
			return 0
		}
		return 1
	})
}

// FilterState is what the ban filter is made of beside the guard's own numbers. The zero value shows nothing of it.
type FilterState struct {
	MaxBans  int                       // most bans of one address family; 0: unknown
	Lists    []ListState               // lists that the operator names
	Breaker  *BreakerState             // nil: there is none
	Offences map[verdict.Reason]uint64 // offences by reason, since start
}

// ListState is one list of networks that is followed or was imported.
type ListState struct {
	Name     string    // as in the configuration
	Entries  int       // in force
	Success  time.Time // when it was last read and put into force; zero: never
	Failures uint64    // attempts that failed, since start
}

// BreakerState is the circuit breaker that turns bans into rate limits when there are too many at once.
type BreakerState struct {
	Open  bool   // it has tripped, and rules ban nobody
	Trips uint64 // since start
}

// filterFamilies are the metrics of the ban filter. They are documented in deploy/monitoring, and their names are kept.
func filterFamilies() []telemetry.Family {
	counts := []string{"where", "family", "reason", "action"}
	return []telemetry.Family{
		{Name: "bans", Help: "Bans in force."},
		{Name: "guard_bans_max", Help: "Most bans that may be in force, of IPv4 and of IPv6 each."},
		{Name: "guard_bans_made_total", Help: "Bans made, by rules, persons and other tools."},
		{Name: "guard_bans_refused_total", Help: "Bans that a rule wanted and the full table refused."},
		{Name: "guard_holds", Help: "Unverified sources on hold."},
		{Name: "guard_holds_evicted_total", Help: "Holds that ended early since their table was full."},
		{Name: "guard_scored_sources", Help: "Sources with offences that still count."},
		{Name: "guard_scores_evicted_total", Help: "Sources forgotten early since their table was full."},
		{Name: "guard_allowed", Help: "Entries of the never-ban list."},
		{Name: "guard_offences_total", Help: "Offences that were reported to the guard."},
		{Name: "guard_offences_by_reason_total", Help: "Offences that were reported to the guard, by reason.", Labels: []string{"reason"}},
		{Name: "guard_journal_faults_total", Help: "Failed writes of the ban journal; the bans are in force all the same."},
		{Name: "guard_kernel_faults_total", Help: "Failed changes of the kernel's tables; user space holds them."},
		{Name: "media_kernel_streams", Help: "Directions of calls whose plain RTP the kernel sends on (in-force), or could if it knew the next hop or the interface took frames (waiting).", Labels: []string{"state"}},
		{Name: "guard_read_faults_total", Help: "Scrapes that could not read the kernel's counters."},
		{Name: "guard_mode", Help: "1 for the way in which bans are enforced, 0 for the others.", Labels: []string{"mode"}},
		{Name: "guard_interface_mode", Help: "1 for the way in which a network interface is filtered.", Labels: []string{"interface", "mode"}},
		{Name: "guard_packets_total", Help: "Packets that were decided about, by where, reason (none: nothing was against it) and action.", Labels: counts},
		{Name: "guard_bytes_total", Help: "Bytes of those packets; the kernel alone counts them.", Labels: counts},
		{Name: "guard_list_entries", Help: "Networks of a list that are in force.", Labels: []string{"list"}},
		{Name: "guard_list_success_timestamp_seconds", Help: "When a list was last read and put into force, Unix time; 0: never.", Labels: []string{"list"}},
		{Name: "guard_list_failures_total", Help: "Attempts to read a list that failed.", Labels: []string{"list"}},
		{Name: "guard_breaker_open", Help: "1 while the circuit breaker keeps rules from banning."},
		{Name: "guard_breaker_trips_total", Help: "How often the circuit breaker tripped."},
	}
}

// filterMetrics reads the guard once and shows all of it.
func (b *Border) filterMetrics(emit telemetry.Emit) {
	s, err := b.guard.Stats()
	if err != nil {
		b.readFaults.Add(1)
		b.log.Error("reading the ban filter's counters", "error", err)
	}
	emit("guard_read_faults_total", float64(b.readFaults.Load()))
	emitStats(emit, s)
	emitState(emit, b.filterState(s))
}

// filterState gathers what is not a plain number of the guard's.
func (b *Border) filterState(s guard.Stats) FilterState {
	state := FilterState{
		MaxBans: int(b.maxBans.Load()), Offences: s.OffencesBy, Breaker: &BreakerState{Open: s.Breaker.Open, Trips: s.Breaker.Trips},
	}
	followed := map[string]bool{}
	for _, l := range b.lists.follower.Status() {
		followed[l.Name] = true
		state.Lists = append(state.Lists, ListState{Name: l.Name, Entries: l.Entries, Success: l.Fetched, Failures: l.FailedAll})
	}
	for _, f := range s.Feeds {
		if !followed[f.Name] {
			state.Lists = append(state.Lists, ListState{Name: f.Name, Entries: f.Entries, Success: f.At})
		}
	}
	return state
}

// emitStats shows the guard's numbers.
func emitStats(emit telemetry.Emit, s guard.Stats) {
	for name, v := range map[string]uint64{
		"bans": uint64(s.Bans), "guard_holds": uint64(s.Holds), "guard_scored_sources": uint64(s.Scored), "guard_allowed": uint64(s.Allowed),
		"guard_bans_made_total": s.BansMade, "guard_bans_refused_total": s.BansRefused, "guard_offences_total": s.Offences,
		"guard_holds_evicted_total": s.HoldsEvicted, "guard_scores_evicted_total": s.ScoresEvicted,
		"guard_journal_faults_total": s.JournalFaults, "guard_kernel_faults_total": s.KernelFaults,
	} {
		emit(name, float64(v))
	}
	for _, mode := range []guard.Mode{guard.ModeNative, guard.ModeGeneric, guard.ModeMixed, guard.ModeUserSpace} {
		emit("guard_mode", flag(mode == s.Mode), string(mode))
	}
	emit("media_kernel_streams", float64(s.MediaInKernel), "in-force")
	emit("media_kernel_streams", float64(s.MediaWaiting), "waiting")
	for _, i := range s.Interfaces {
		emit("guard_interface_mode", 1, i.Name, string(i.Mode))
	}
	type labels [4]string
	packets, octets := map[labels]uint64{}, map[labels]uint64{} // sums: no two values may have the same labels
	for _, c := range s.Counts {
		l := labels{c.Where, c.Family, reasonLabel(c.Reason), c.Action}
		packets[l] += c.Packets
		if c.Where == whereKernel {
			octets[l] += c.Bytes
		}
	}
	for l, n := range packets {
		emit("guard_packets_total", float64(n), l[:]...)
	}
	for l, n := range octets {
		emit("guard_bytes_total", float64(n), l[:]...)
	}
}

// whereKernel is how guard.Count names the kernel.
const whereKernel = "kernel"

// emitState shows the rest.
func emitState(emit telemetry.Emit, s FilterState) {
	if s.MaxBans > 0 {
		emit("guard_bans_max", float64(s.MaxBans))
	}
	for _, l := range s.Lists {
		emit("guard_list_entries", float64(l.Entries), l.Name)
		at := 0.0
		if !l.Success.IsZero() {
			at = float64(l.Success.Unix())
		}
		emit("guard_list_success_timestamp_seconds", at, l.Name)
		emit("guard_list_failures_total", float64(l.Failures), l.Name)
	}
	if s.Breaker != nil {
		emit("guard_breaker_open", flag(s.Breaker.Open))
		emit("guard_breaker_trips_total", float64(s.Breaker.Trips))
	}
	for reason, n := range s.Offences {
		emit("guard_offences_by_reason_total", float64(n), reasonLabel(reason))
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// reasonLabel is a reason as a label.
func reasonLabel(r verdict.Reason) string {
	if r == verdict.None {
		return "none"
	}
	return string(r)
}
