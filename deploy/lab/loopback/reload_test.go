package loopback

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/pki"
)

// shown is the number of the certificate that the border shows to a new connection.
func (s *site) shown() string {
	s.t.Helper()
	d := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: s.ip(90).AsSlice()}}
	c, err := tls.DialWithDialer(d, "tcp", net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort)), s.tls())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// certify writes a new certificate.
func (s *site) certify(name string, r pki.Request) {
	s.t.Helper()
	ca, err := pki.LoadAuthority(s.path("ca.crt"), s.path("ca.key"), time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	r.Name = name
	if r.Life == 0 {
		r.Life = 24 * time.Hour
	}
	pair, err := ca.Issue(r, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := pair.Write(s.path(name+".crt"), s.path(name+".key")); err != nil {
		s.t.Fatal(err)
	}
}

// faulty are the errors of failed reloads in a program's log.
func (p *program) faulty() string {
	var out []string
	for line := range strings.Lines(p.out.String()) {
		if strings.Contains(line, "reload failed") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// SIGHUP changes what it can, and no call notices.
func TestReload(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1701", "1702")
	a, b := s.register(s.config(remote, "1701")), s.register(s.config(insideUDP, "1702"))
	p := connect(t, a, b, "1702")
	p.talk(t)
	old := s.shown()

	// New certificates at all three places, and a dialplan with another number.
	s.certify("sbc", pki.Request{DNS: []string{domain}, Use: pki.Server})
	s.certify("sbc-core", pki.Request{DNS: []string{"sbc.brickhouse.internal"}, Use: pki.Client})
	s.certify("pbx", pki.Request{DNS: []string{"pbx.brickhouse.internal"}, Use: pki.Server})
	s.opt.Dialplan = `  - {number: "555", do: milliwatt}`
	s.configure()
	fails(t, a, "555", 404)
	for _, prog := range []*program{s.border, s.pbx} {
		if failed := prog.hup(); failed != "0" {
			t.Fatalf("%s: %s parts failed: %s", prog.name, failed, prog.faulty())
		}
	}
	fresh := s.shown()
	if fresh == old {
		t.Error("a new connection is shown the old certificate")
	}
	p.talk(t)
	c, err := a.Call(within(t, patience), "555") // over the old connection
	if err != nil {
		t.Fatal(err)
	}
	hears(t, a, c, 1004)
	if err := c.Hangup(within(t, patience)); err != nil {
		t.Error(err)
	}

	// The core link is made anew with the new certificates.
	s.faults(p, fresh)
	p.talk(t)
	p.hangup(t, true)
	if len(s.bound("1701")) != 1 {
		t.Errorf("bindings %+v", s.bound("1701"))
	}
	if r := s.recorded("1701", 5); r.Disposition != "answered" || r.Dialled != "1702" {
		t.Errorf("call record %+v", r)
	}
	s.border.kill()
	s.startBorder()
	s.renew(s.phone(s.config(remote, "1701")))
}

// faults has both programs read files with faults: nothing changes, and the log names file and fault.
func (s *site) faults(p pair, shown string) {
	t := s.t
	good := map[string][]byte{}
	for _, name := range []string{"sbc.crt", "sbc.yaml", "pbx.yaml", "pbx.crt", "dialplan.yaml"} {
		b, err := os.ReadFile(s.path(name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = b
	}
	for _, c := range []struct {
		prog       *program
		name, text string
		want       string
	}{
		{s.border, "sbc.crt", "no certificate", s.path("sbc.crt")},
		{s.border, "sbc.yaml", string(good["sbc.yaml"]) + "\nnonsense: 1\n", "nonsense"},
		{s.border, "sbc.yaml", strings.Replace(string(good["sbc.yaml"]), "threshold: 5", "threshold: 0", 1), "threshold"},
		{s.pbx, "pbx.crt", "no certificate", s.path("pbx.crt")},
		{s.pbx, "pbx.yaml", "domain: [", s.path("pbx.yaml")},
		{s.pbx, "dialplan.yaml", "rules:\n  - {number: \"556\", do: dance}\n", s.path("dialplan.yaml")},
		{s.pbx, "dialplan.yaml", "rules:\n  - {number: \"556\", do: trunk, trunk: nobody}\n", "nobody"},
	} {
		before := c.prog.faulty()
		s.write(c.name, c.text)
		if failed := c.prog.hup(); failed != "1" {
			t.Errorf("%s with a fault: %s parts failed", c.name, failed)
		}
		if said := strings.TrimPrefix(c.prog.faulty(), before); !strings.Contains(said, c.want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s with a fault: the log says %q, without %q", c.name, said, c.want)
		}
		s.write(c.name, string(good[c.name]))
	}
	if s.shown() != shown {
		t.Error("a faulty file changed the certificate")
	}
	fails(t, p.pa, "556", 404)
	c, err := p.pa.Call(within(t, patience), "555")
	if err != nil {
		t.Fatalf("the dialplan changed: %v", err)
	}
	if err := c.Hangup(within(t, patience)); err != nil {
		t.Error(err)
	}
}

// A fault in one file leaves all others as they were, too.
func TestReloadIsWhole(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1711")
	a := s.register(s.config(insideUDP, "1711"))

	// The border: a good certificate, but rules with a fault; then good rules, but a certificate with a fault.
	old := s.shown()
	crt, key := s.read("sbc.crt"), s.read("sbc.key")
	s.certify("sbc", pki.Request{DNS: []string{domain}, Use: pki.Server})
	s.opt.Threshold = 0
	s.configure()
	s.border.hup()
	if s.shown() != old {
		t.Error("border: the certificate changed although the rules have a fault")
	}
	s.opt.Threshold = 5
	s.opt.Allow = "[" + s.addr(99) + "/32]"
	s.configure()
	s.write("sbc.crt", "no certificate")
	s.border.hup()
	if why := s.why(s.ip(99)); why.Allowed != "" {
		t.Errorf("border: the allow list changed although the certificate has a fault: %+v", why)
	}
	s.write("sbc.crt", crt)
	s.write("sbc.key", key)
	if failed := s.border.hup(); failed != "0" || s.why(s.ip(99)).Allowed == "" {
		t.Errorf("border: all is well again, but %s parts failed: %s", failed, s.border.faulty())
	}

	// The exchange: a good dialplan, but a certificate with a fault.
	s.opt.Dialplan = `  - {number: "555", do: milliwatt}`
	s.configure()
	crt = s.read("pbx.crt")
	s.write("pbx.crt", "no certificate")
	s.pbx.hup()
	fails(t, a, "555", 404)
	s.write("pbx.crt", crt)
	if failed := s.pbx.hup(); failed != "0" {
		t.Errorf("exchange: all is well again, but %s parts failed: %s", failed, s.pbx.faulty())
	}
	c, err := a.Call(within(t, patience), "555")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Hangup(within(t, patience)); err != nil {
		t.Error(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// explanation is what the border tells about an address.
type explanation struct {
	Outcome string
	Allowed string `json:"allowed_by"`
	Bans    []struct {
		Prefix       netip.Prefix
		Reason, Rule string
		By           string
		Until        time.Time
		Evidence     []evidence
	}
	Scores []struct {
		Rule           string
		Sum, Threshold int
	}
	Held     []struct{ Source netip.AddrPort }
	Evidence []evidence
	History  []struct {
		EndedBy string `json:"ended_by"`
	}
}

type evidence struct {
	Source                 netip.AddrPort
	Reason, AOR, Interface string
	At                     time.Time
}

// why asks the border about an address.
func (s *site) why(a netip.Addr) explanation {
	s.t.Helper()
	var e explanation
	s.get("sbc", "/bans/why?addr="+a.String(), &e)
	return e
}
