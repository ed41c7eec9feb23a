package product

import (
	"strings"
	"testing"
)

// TestQueueWithPrograms has two phones outside wait in a queue, with music, until an agent inside logs in by a code and takes the calls, one
// after the other.
func TestQueueWithPrograms(t *testing.T) {
	const music = 1320
	c := assemble(t, Options{Music: music})
	callers, agent := []phone{c.outL, c.outB}, c.inB
	for _, p := range callers {
		p.Call("1700")
		p.WaitEstablished()
		p.hears(t, music)
	}
	if out := c.Command("pbx", "", "queue", "list"); !strings.Contains(out, agent.number+" out") {
		t.Errorf("queues:\n%s", out)
	}
	agent.Call("*50")
	agent.WaitEstablished()
	agent.hearsAt(t, 880, -10)
	agent.WaitClosed()
	for _, p := range callers {
		agent.Answer()
		bothHear(t, p, agent)
		hangup(p, agent)
	}
	c.nothingLeaks(t)
}
