package loopback

import (
	"fmt"
	"testing"
)

// Calls between every two places, begun and ended by each side.
func TestCalls(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	places := []place{remote, remoteCM, insideUDP, insideTCP}
	n := 1100
	for _, from := range places {
		for _, to := range places {
			n += 2
			a, b, byCaller := fmt.Sprint(n), fmt.Sprint(n+1), n%4 == 0
			s.extension(a, b)
			t.Run(fmt.Sprintf("%s-%s", from, to), func(t *testing.T) {
				pa, pb := s.register(t, s.config(from, a)), s.register(t, s.config(to, b))
				p := connect(t, pa, pb, b)
				p.talk(t)
				p.hangup(t, byCaller)
				r := s.recorded(a, 1)
				if r.Disposition != "answered" || r.Code != 200 || r.Reason != "normal-clearing" || r.Dialled != b || r.Callee != b || r.Answer == "" {
					t.Errorf("call record %+v", r)
				}
			})
		}
	}
	for _, name := range []string{"sbc", "pbx"} {
		s.awaitMetric(name, "calls", "", 0)
	}
}
