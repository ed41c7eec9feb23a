package netns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func twoHosts() Plan {
	return Plan{
		Wires: []Wire{{Name: "inet", V4: netip.MustParsePrefix("198.18.0.0/16"), V6: netip.MustParsePrefix("2001:db8:18::/64")}},
		Hosts: []HostPlan{
			{Name: "border", Links: []Link{{Wire: "inet", Addrs: []netip.Addr{addr("198.18.0.1"), addr("2001:db8:18::1")}}}},
			{Name: "remote", Links: []Link{{Wire: "inet", Addrs: []netip.Addr{addr("198.18.1.1")}}}},
		},
	}
}

func TestPlanValidate(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*Plan)
		want  string // part of the error; empty means valid
	}{
		{"good", func(*Plan) {}, ""},
		{"unknown wire", func(p *Plan) { p.Hosts[0].Links[0].Wire = "moon" }, `no wire "moon"`},
		{"address off the wire", func(p *Plan) { p.Hosts[0].Links[0].Addrs[0] = addr("198.19.0.1") }, "is not on wire"},
		{"address taken", func(p *Plan) { p.Hosts[1].Links[0].Addrs[0] = addr("198.18.0.1") }, `belongs to "border"`},
		{"somebody's address", func(p *Plan) {
			p.Wires[0].V4 = netip.MustParsePrefix("10.0.0.0/8")
			p.Hosts[0].Links[0].Addrs[0] = addr("10.0.0.1")
		}, "outside the documentation"},
		{"long host", func(p *Plan) { p.Hosts[0].Name = "borderborder" }, "one to eight"},
		{"long wire", func(p *Plan) { p.Wires[0].Name = "internet" }, "one to six"},
		{"host twice", func(p *Plan) { p.Hosts[1].Name = "border" }, "named twice"},
		{"reserved host", func(p *Plan) { p.Hosts[1].Name = "wire" }, "reserved"},
		{"wire twice", func(p *Plan) { p.Wires = append(p.Wires, p.Wires[0]) }, "named twice"},
		{"shell in a name", func(p *Plan) { p.Hosts[0].Name = "a;b" }, "lower-case"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := twoHosts()
			c.spoil(&p)
			err := p.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestScript(t *testing.T) {
	s := twoHosts().script("ab12")
	if !slices.Equal(s.order, []string{"", "bh-ab12-wire", "bh-ab12-border", "bh-ab12-remote"}) {
		t.Fatalf("order %v: namespaces must exist before anything is done in them", s.order)
	}
	want := strings.Join([]string{
		"link set lo up",
		"address add 198.18.0.1/16 dev inet",
		"address add 2001:db8:18::1/64 dev inet nodad",
		"link set inet up",
	}, "\n") + "\n"
	if got := s.text("bh-ab12-border"); got != want {
		t.Errorf("border:\n%s\nwant:\n%s", got, want)
	}
	for ns, lines := range s.lines {
		for _, l := range lines {
			if strings.Contains(l, "route") || strings.Contains(l, "forward=1") {
				t.Errorf("%s: %q: nothing here may route", ns, l)
			}
		}
	}
	if !strings.Contains(s.text(""), "link add inet netns bh-ab12-remote type veth peer name remote.inet netns bh-ab12-wire") {
		t.Errorf("no cable for the remote host:\n%s", s.text(""))
	}
	// Linux interface names have at most 15 characters.
	if n := port("exchange", "voicex"); len(n) > 15 {
		t.Errorf("%q is too long for an interface", n)
	}
}
