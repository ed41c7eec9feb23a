package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFamilies(t *testing.T) {
	m := NewMetrics("sbc", "1")
	reads := 0
	m.Families([]Family{
		{Name: "filter_packets_total", Help: "Packets.", Labels: []string{"where", "reason"}},
		{Name: "filter_bans", Help: "Bans."},
		{Name: "filter_lists", Help: "None yet.", Labels: []string{"list"}},
	}, func(emit Emit) {
		reads++
		emit("filter_packets_total", 3, "kernel", "host-banned")
		emit("filter_packets_total", 4, "kernel", "none")
		emit("filter_bans", 2)
	})
	before := reads // registering may read
	text := scrape(t, m)
	for _, want := range []string{
		"# TYPE brickhouse_sbc_filter_packets_total counter", `brickhouse_sbc_filter_packets_total{reason="host-banned",where="kernel"} 3`,
		"# TYPE brickhouse_sbc_filter_bans gauge", "brickhouse_sbc_filter_bans 2",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if reads != before+1 {
		t.Errorf("one scrape reads %d times", reads-before)
	}
}

// A mistake of ours is told by the scrape, and does not end the program.
func TestFamiliesMistakes(t *testing.T) {
	for _, c := range []func(Emit){
		func(emit Emit) { emit("other", 1) },
		func(emit Emit) { emit("bans", 1, "label") },
	} {
		m := NewMetrics("sbc", "1")
		m.Families([]Family{{Name: "bans", Help: "Bans."}}, c)
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 500 {
			t.Error(w.Code)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("taken twice")
		}
	}()
	NewMetrics("sbc", "").Families([]Family{{Name: "x"}, {Name: "x"}}, func(Emit) {})
}
