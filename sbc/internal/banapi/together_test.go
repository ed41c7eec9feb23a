package banapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"brickhouse/sbc/internal/guard"
)

// FuzzQuery holds that no query makes the endpoint do more than it says: the answer is an answer or a problem, and the bans of
// others stay.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "ip=192.0.2.7", "range=192.0.2.0/24", "scope=Range&value=2001:db8::/32", "startup=true&scopes=ip,range&origins=rule",
		"scenarios_containing=ssh,http&scenarios_not_containing=x", "ip=%00", "ip=1.2.3.4&ip=1.2.3.5", "value=1&type=ban", ";", "ip=::ffff:192.0.2.7%25eth0"} {
		f.Add(q)
	}
	r := openRig(f, nil)
	for _, p := range []string{"192.0.2.7/32", "192.0.2.0/24", "2001:db8::/32"} {
		if err := r.guard.Ban(guardPrefix(p), guard.Forever, "anna", ""); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, c := range [][2]string{{"GET", "/v1/decisions"}, {"GET", "/v1/decisions/stream"}, {"DELETE", "/v1/decisions"}} {
			q := r.request("ban", c[0], c[1], "")
			q.URL.RawQuery = query
			r.move(time.Second) // the pace is not what is looked for
			w := httptest.NewRecorder()
			r.server.ServeHTTP(w, q)
			if w.Code != 200 && w.Code != 400 && w.Code != 403 {
				t.Fatalf("%s %s?%s: %d %s", c[0], c[1], query, w.Code, w.Body)
			}
		}
		if n := len(r.guard.List()); n != 3 {
			t.Fatalf("%d bans are left after %q", n, query)
		}
	})
}

// Many tools at once: every ban is made once and told to everybody.
func TestTogether(t *testing.T) {
	r := newRig(t, nil)
	cfg := Config{Tokens: []Token{(*r.server.holders.Load())[0].Token, (*r.server.holders.Load())[1].Token}}
	var all sync.WaitGroup
	heard := map[string]bool{}
	for i := range 8 {
		all.Go(func() {
			for j := range 10 {
				r.do("ban", "POST", "/v1/alerts", alert("1h", "ip", fmt.Sprintf("10.3.%d.%d", i, j)), 201)
			}
		})
	}
	all.Go(func() {
		for range 20 {
			for _, v := range strings.Fields(strings.TrimSuffix(r.poll("read", ""), "-")) {
				heard[strings.TrimPrefix(v, "+")] = true
			}
			r.server.Reload(cfg)
		}
	})
	all.Wait()
	for _, v := range strings.Fields(strings.TrimSuffix(r.poll("read", ""), "-")) {
		heard[strings.TrimPrefix(v, "+")] = true
	}
	delete(heard, "")
	if len(heard) != 80 || len(r.guard.List()) != 80 {
		t.Errorf("heard of %d bans of %d", len(heard), len(r.guard.List()))
	}
}
