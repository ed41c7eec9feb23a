package route

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseGateway(t *testing.T) {
	for in, want := range map[string]Gateway{
		"gw.example.com":      {Host: "gw.example.com", Network: UDP},
		"gw.example.com:5080": {Host: "gw.example.com", Port: 5080, Network: UDP},
		"198.51.100.2":        {Host: "198.51.100.2", Network: UDP},
		"[2001:db8::1]:5070":  {Host: "2001:db8::1", Port: 5070, Network: UDP},
		"2001:db8::1":         {Host: "2001:db8::1", Network: UDP},
	} {
		got, err := ParseGateway(in, UDP)
		if err != nil || got != want {
			t.Errorf("ParseGateway(%q) = %+v, %v; want %+v", in, got, err, want)
		}
		if got.String() != in {
			t.Errorf("%q is shown as %q", in, got)
		}
	}
	for _, in := range []string{"", "a b", "gw:0", "gw:70000", "gw:x", "sip:gw", "gw/1", ":5060"} {
		if g, err := ParseGateway(in, UDP); err == nil {
			t.Errorf("ParseGateway(%q) = %+v, want an error", in, g)
		}
	}
}

// Priority is law, weight is chance.
func TestOrder(t *testing.T) {
	type one struct {
		name string
		Weighted
	}
	list := []one{{"spare", Weighted{2, 0}}, {"a", Weighted{1, 3}}, {"b", Weighted{1, 1}}, {"z", Weighted{1, 0}}}
	of := func(o one) Weighted { return o.Weighted }
	random := rand.New(rand.NewPCG(1, 2))
	const rounds = 10_000
	first := map[string]int{}
	for range rounds {
		got := Order(list, of, random.IntN)
		if len(got) != 4 || got[3].name != "spare" {
			t.Fatalf("order %v", got)
		}
		first[got[0].name]++
	}
	if a, b := first["a"], first["b"]; a < 2*b || a > 4*b || a+b < rounds*9/10 {
		t.Errorf("weights 3, 1 and 0 came first %v times", first)
	}
	if first["z"] == 0 {
		t.Error("weight 0 has no chance at all")
	}
	var names []string
	for _, o := range Order([]one{{"a", Weighted{}}, {"b", Weighted{}}}, of, func(int) int { return 0 }) {
		names = append(names, o.name)
	}
	if strings.Join(names, "") != "ab" || list[0].name != "spare" {
		t.Errorf("order %q of %v", names, list)
	}
}
