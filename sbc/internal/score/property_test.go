package score

import (
	"go/parser"
	"go/token"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/verdict"
)

// Whatever is done, in whatever order: no unverified source is banned, no ban exceeds its rule's ceiling, no site with living
// registrations is banned below its threshold, and a reload leaves nothing that does not fit.
func TestRandomOffences(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := newRig(t, randomConfig(random))
	proven := map[netip.Prefix]int{} // verified offences since the last decision about the site
	for range 200_000 {
		r.now = r.now.Add(time.Duration(random.Int64N(int64(2 * time.Second))))
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(20))})
		if random.IntN(2) == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 13, 0xb8, 7: byte(random.IntN(20)), 15: byte(random.IntN(5))})
		}
		switch random.IntN(200) {
		case 0:
			cfg := randomConfig(random)
			r.engine.Reload(cfg)
			proven = map[netip.Prefix]int{}
			if r.engine.Scored() != 0 {
				t.Fatal("scores outlive a reload")
			}
		case 1:
			r.now = r.now.Add(-time.Duration(random.Int64N(int64(time.Hour)))) // somebody sets the clock
		case 2, 3, 4:
			r.known.Known(a, "a", r.now.Add(time.Duration(random.Int64N(int64(time.Hour)))), r.now)
		case 5:
			r.known.Forget(a, "a")
		case 6:
			r.engine.Forget(r.now)
		}
		rs := offences()
		o := Offence{Source: netip.AddrPortFrom(a, uint16(random.IntN(4))), Verified: random.IntN(2) == 0, Reason: rs[random.IntN(len(rs))],
			AOR: string(rune('a' + random.IntN(3))), At: r.now.Add(time.Duration(random.Int64N(int64(time.Hour))) - time.Hour/2)}
		o, _ = o.Normal(r.now)
		site := Site(a)
		if o.Verified {
			proven[site]++
		}
		for _, d := range r.engine.Offence(o, r.now, r.env()) {
			r.judge(o, d, proven[site])
			if d.Kind == Ban {
				r.history.Add(d.Prefix, r.now)
				proven[site] = 0
			}
		}
	}
	if r.engine.Scored() > 3*r.engine.cfg.MaxScores {
		t.Errorf("%d scored", r.engine.Scored())
	}
}

// judge holds one decision to what is always true.
func (r *rig) judge(o Offence, d Decision, offences int) {
	r.Helper()
	var rule Rule
	for _, one := range r.engine.cfg.Rules {
		if one.Name == d.Rule {
			rule = one
		}
	}
	switch {
	case rule.Name == "":
		r.Fatalf("no such rule: %+v", d)
	case rule.Weights[o.Reason] == 0:
		r.Fatalf("the rule does not count it: %+v", d)
	case d.Length < 0, d.Prefix != Site(o.Source.Addr()):
		r.Fatalf("%+v", d)
	case rule.Monitor != (d.Kind == Monitor):
		r.Fatalf("a rule in monitor mode decides, or another reports: %+v", d)
	case d.Kind == Hold && d.Flow != o.Source:
		r.Fatalf("another flow is held: %+v", d)
	case d.Kind == Hold && d.Verified && d.Known == 0:
		r.Fatalf("a flow is held where the address is to be banned: %+v", d)
	}
	if d.Kind != Ban {
		return
	}
	most := 0
	for _, w := range rule.Weights {
		most = max(most, w)
	}
	threshold := rule.Threshold
	if d.Known > 0 {
		threshold *= rule.Office
	}
	switch {
	case !o.Verified:
		r.Fatalf("an unverified source is banned: %+v", d)
	case d.Length > max(rule.Ceiling, rule.Ban) || d.Length < rule.Ban:
		r.Fatalf("a ban of %s, ceiling %s: %+v", d.Length, rule.Ceiling, d)
	case threshold == 0 || offences*most < threshold:
		r.Fatalf("%d offences are too few for %d: %+v", offences, threshold, d)
	case len(d.Evidence) == 0 || len(d.Evidence) > r.engine.cfg.Evidence:
		r.Fatalf("%d pieces of evidence", len(d.Evidence))
	}
}

func randomConfig(random *rand.Rand) Config {
	c := Default()
	c.MaxScores, c.Evidence = 1+random.IntN(60), 1+random.IntN(20)
	c.Breaker.Bans, c.Breaker.Cooldown = 1+random.IntN(30), time.Minute
	for i := range c.Rules {
		r := &c.Rules[i]
		r.Threshold = 2 + random.IntN(30)
		r.Ban = time.Duration(1 + random.Int64N(int64(time.Hour)))
		r.Ceiling = r.Ban + time.Duration(random.Int64N(int64(time.Hour)))
		r.Growth, r.Monitor, r.Office = 1+3*random.Float64(), random.IntN(4) == 0, random.IntN(4)
		for range 5 {
			rs := offences()
			r.Weights[rs[random.IntN(len(rs))]] = 1 + random.IntN(5)
		}
	}
	return c
}

// The room is pure: no sockets, no files, no clock, no random of its own.
func TestPure(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	clock := regexp.MustCompile(`time\.(Now|Since|Until|Sleep|After|AfterFunc|Tick|NewTicker|NewTimer)\b`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if clock.Match(text) {
			t.Errorf("%s has a clock of its own", name)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			switch strings.Trim(imp.Path.Value, `"`) {
			case "net", "net/http", "os", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "sync", "log/slog":
				t.Errorf("%s imports %s", name, imp.Path.Value)
			}
		}
	}
}

func BenchmarkOffence(b *testing.B) {
	env := Env{
		Known:      func(p netip.Prefix) int { return int(p.Addr().As16()[15] & 1) },
		KnownTotal: func() int { return 1000 },
		Prior:      func(netip.Prefix, time.Time) int { return 0 },
	}
	for name, next := range map[string]func(i int) (netip.AddrPort, bool){
		"unverified/new":  func(i int) (netip.AddrPort, bool) { return addrOf(i), false },
		"unverified/same": func(i int) (netip.AddrPort, bool) { return addrOf(i % 1000), false },
		"verified/new":    func(i int) (netip.AddrPort, bool) { return addrOf(2 * i), true },
		"verified/same":   func(i int) (netip.AddrPort, bool) { return addrOf(i % 1000 * 2), true },
		"office/same":     func(i int) (netip.AddrPort, bool) { return addrOf(i%1000*2 + 1), true },
	} {
		b.Run(name, func(b *testing.B) {
			e, now := New(Default()), start
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				src, verified := next(i)
				now = now.Add(10 * time.Microsecond)
				o, _ := Offence{Source: src, Verified: verified, Reason: verdict.BadCredentials, AOR: "100@example.com", At: now}.Normal(now)
				e.Offence(o, now, env)
			}
		})
	}
}

func addrOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(i>>24) + 11, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)
}
