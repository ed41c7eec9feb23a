package route

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := n[host]; ok {
		return a, nil
	}
	return nil, errors.New("no such host")
}

func TestParseGateway(t *testing.T) {
	for in, want := range map[string]Gateway{
		"gw.example.com":      {Host: "gw.example.com", Port: 5060, Network: "udp"},
		"gw.example.com:5080": {Host: "gw.example.com", Port: 5080, Network: "udp"},
		"198.51.100.2":        {Host: "198.51.100.2", Port: 5060, Network: "udp"},
		"[2001:db8::1]:5070":  {Host: "2001:db8::1", Port: 5070, Network: "udp"},
		"2001:db8::1":         {Host: "2001:db8::1", Port: 5060, Network: "udp"},
	} {
		if got, err := ParseGateway(in, "udp"); err != nil || got != want {
			t.Errorf("ParseGateway(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
	if g, err := ParseGateway("gw.example.com", "tls"); err != nil || g.Port != 5061 {
		t.Errorf("TLS without a port = %+v, %v", g, err)
	}
	for _, in := range []string{"", "a b", "gw:0", "gw:70000", "gw:x", "sip:gw", "gw/1", ":5060"} {
		if g, err := ParseGateway(in, "udp"); err == nil {
			t.Errorf("ParseGateway(%q) = %+v, want an error", in, g)
		}
	}
}

func TestHops(t *testing.T) {
	trunk := Trunk{Name: "carrier", Gateways: []Gateway{
		{Host: "second", Port: 5060, Priority: 2},
		{Host: "gone", Port: 5060, Priority: 1},
		{Host: "192.0.2.1", Port: 5061, Priority: 1},
		{Host: "first", Port: 5060, Priority: 0},
	}}
	dns := names{
		"first":  {netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")},
		"second": {netip.MustParseAddr("192.0.2.9")},
	}
	hops, err := trunk.Hops(context.Background(), dns)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"192.0.2.7:5060", "[2001:db8::7]:5060", "192.0.2.1:5061", "192.0.2.9:5060"}
	if len(hops) != len(want) {
		t.Fatalf("hops = %v", hops)
	}
	for i, h := range hops {
		if h.Addr.String() != want[i] {
			t.Errorf("hop %d = %s, want %s", i, h.Addr, want[i])
		}
	}
	if _, err := (&Trunk{Name: "x", Gateways: []Gateway{{Host: "gone"}}}).Hops(context.Background(), dns); err == nil {
		t.Error("a trunk without a reachable gateway, and nothing is said")
	}
}
