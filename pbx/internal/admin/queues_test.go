package admin

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/queue"
)

// queueing is the part of the fake exchange that has queues.
type queueing struct {
	queues []queue.Status
	agents map[string]queue.Presence
}

func (f *queueing) Queues() []queue.Status { return f.queues }

func (f *queueing) SetAgent(_ context.Context, extension string, p queue.Presence) error {
	if p == "away" {
		return callcontrol.Unfit("there is no such state")
	}
	f.agents[extension] = p
	return nil
}

func TestQueues(t *testing.T) {
	r := newRig(t)
	r.do("extension", "add", "1001")
	if out := r.do("queue", "list"); !strings.Contains(out, "no queues") {
		t.Error(out)
	}
	r.x.queues = []queue.Status{{
		Name: "support", Number: "1700", Answered: 3, Abandoned: 1, MeanWait: 12 * time.Second,
		Waiting: []queue.Caller{{Number: "030123", Call: "c", Since: time.Now().Add(-time.Minute), Calling: []string{"1001"}}},
		Agents:  []queue.AgentStatus{{Extension: "1001", Presence: queue.In, State: "called", Took: 3}, {Extension: "1002", Presence: queue.Paused, State: "free"}},
	}}
	out := r.do("queue", "list")
	for _, want := range []string{"support", "1700", "1m", "1001 called, 1002 paused", "12s"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var list []struct {
		Waiting []struct {
			Number  string
			Calling []string
		}
		MeanWait float64 `json:"mean_wait"`
	}
	if err := json.Unmarshal([]byte(r.do("queue", "list", "--json")), &list); err != nil || list[0].Waiting[0].Calling[0] != "1001" || list[0].MeanWait != 12 {
		t.Errorf("%v, %+v", err, list)
	}
	if out := r.do("extension", "agent", "1001", "paused"); !strings.Contains(out, "agent 1001 is paused") || r.x.agents["1001"] != queue.Paused {
		t.Error(out, r.x.agents)
	}
	for args, want := range map[string]string{"1001 away": "in, out, paused", "1099 in": "no extension"} {
		if status, _, errs := r.run(append([]string{"extension", "agent"}, strings.Fields(args)...)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, status, errs)
		}
	}
}
