package border

import (
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/verdict"
)

// sampleStats moves every number of the guard.
func sampleStats() guard.Stats {
	return guard.Stats{
		Mode: guard.ModeMixed, Why: "because", Interfaces: []guard.InterfaceMode{{Name: "eth0", Mode: guard.ModeNative}, {Name: "lo", Mode: guard.ModeUserSpace}},
		Bans: 1, Holds: 2, Scored: 3, Allowed: 4, Offences: 5, BansMade: 6, BansRefused: 7, ScoresEvicted: 8, HoldsEvicted: 9, JournalFaults: 10, KernelFaults: 11,
		Counts: []guard.Count{
			{Where: "kernel", Family: "ipv4", Reason: verdict.HostBanned, Action: "drop", Packets: 12, Bytes: 1200},
			{Where: "kernel", Family: "ipv4", Reason: verdict.HostBanned, Action: "drop", Packets: 1, Bytes: 100}, // the same labels again
			{Where: "kernel", Family: "ipv6", Reason: verdict.None, Action: "pass", Packets: 13, Bytes: 1300},
			{Where: "user-space", Family: "ipv4", Reason: verdict.HostBanned, Action: "monitor", Packets: 14},
		},
	}
}

func sampleState() FilterState {
	return FilterState{
		MaxBans: 15, Lists: []ListState{{Name: "drop", Entries: 16, Success: time.Unix(1_800_000_000, 0), Failures: 17}, {Name: "new"}},
		Breaker: &BreakerState{Open: true, Trips: 18}, Offences: map[verdict.Reason]uint64{verdict.BadCredentials: 19},
	}
}

// scrape is what Prometheus reads.
func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatal(w.Code, w.Body.String())
	}
	return w.Body.String()
}

// sampleScrape is the whole filter in numbers, as Prometheus reads it.
func sampleScrape(t *testing.T) string {
	m := telemetry.NewMetrics("sbc", "test")
	m.Families(filterFamilies(), func(emit telemetry.Emit) {
		emit("guard_read_faults_total", 20)
		emitStats(emit, sampleStats())
		emitState(emit, sampleState())
	})
	return scrape(t, m)
}

// Names and labels are a promise to dashboards that are not ours: a change of this list breaks them.
func TestFilterMetrics(t *testing.T) {
	const want = `bans 1
guard_allowed 4
guard_bans_made_total 6
guard_bans_max 15
guard_bans_refused_total 7
guard_breaker_open 1
guard_breaker_trips_total 18
guard_bytes_total{action="drop",family="ipv4",reason="host-banned",where="kernel"} 1300
guard_bytes_total{action="pass",family="ipv6",reason="none",where="kernel"} 1300
guard_holds 2
guard_holds_evicted_total 9
guard_interface_mode{interface="eth0",mode="native"} 1
guard_interface_mode{interface="lo",mode="user-space"} 1
guard_journal_faults_total 10
guard_kernel_faults_total 11
guard_list_entries{list="drop"} 16
guard_list_entries{list="new"} 0
guard_list_failures_total{list="drop"} 17
guard_list_failures_total{list="new"} 0
guard_list_success_timestamp_seconds{list="drop"} 1.8e+09
guard_list_success_timestamp_seconds{list="new"} 0
guard_mode{mode="generic"} 0
guard_mode{mode="mixed"} 1
guard_mode{mode="native"} 0
guard_mode{mode="user-space"} 0
guard_offences_by_reason_total{reason="bad-credentials"} 19
guard_offences_total 5
guard_packets_total{action="drop",family="ipv4",reason="host-banned",where="kernel"} 13
guard_packets_total{action="monitor",family="ipv4",reason="host-banned",where="user-space"} 14
guard_packets_total{action="pass",family="ipv6",reason="none",where="kernel"} 13
guard_read_faults_total 20
guard_scored_sources 3
guard_scores_evicted_total 8
media_kernel_streams{state="in-force"} 0
media_kernel_streams{state="waiting"} 0`
	var got []string
	for line := range strings.Lines(sampleScrape(t)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "brickhouse_sbc_"); ok && !strings.HasPrefix(name, "build_info") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	lines := strings.Split(want, "\n")
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

// families returns the names of our metrics in a scrape.
func families(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (brickhouse_sbc_\w+) `).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	return names
}

// A running border shows the numbers of its own guard, and its limits after a reload.
func TestBorderMetrics(t *testing.T) {
	r := prepare(t)
	r.exchange = r.newExchange(exchangeHost, "pbx.test")
	m := telemetry.NewMetrics("sbc", "test")
	r.startWith(m)
	if err := r.b.guard.Ban(single(r.ip(77)), time.Hour, "anna", ""); err != nil {
		t.Fatal(err)
	}
	text := scrape(t, m)
	for _, want := range []string{"brickhouse_sbc_bans 1\n", "brickhouse_sbc_guard_bans_made_total 1\n", `brickhouse_sbc_guard_mode{mode="user-space"} 1`, "brickhouse_sbc_guard_bans_max 100000\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %v", want, slices.Sorted(maps.Keys(families(text))))
		}
	}
	cfg := r.cfg
	cfg.Guard.MaxBans = 7
	if err := r.b.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if text := scrape(t, m); !strings.Contains(text, "brickhouse_sbc_guard_bans_max 7\n") {
		t.Error("the limit is still the old one")
	}
}
