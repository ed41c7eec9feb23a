package loopback

import (
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"brickhouse/shared/pki"
	"brickhouse/shared/siptest"
)

// phoneCA makes an authority for phones and writes it to where the border looks for it.
func (s *site) phoneCA() *pki.Authority {
	s.t.Helper()
	ca, err := pki.NewAuthority("phones", time.Hour, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("phones-ca.crt", string(ca.CertPEM()))
	return ca
}

// carrying is a remote phone with a certificate of an authority.
func (s *site) carrying(number string, ca *pki.Authority) siptest.Config {
	s.t.Helper()
	c := s.config(remote, number)
	c.TLS = s.tls()
	pair, err := ca.Issue(pki.Request{Name: number, DNS: []string{number + ".phones.test"}, Use: pki.Client, Life: time.Hour}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		s.t.Fatal(err)
	}
	c.TLS.Certificates = []tls.Certificate{cert}
	return c
}

// lockedOut wants that a phone gets no connection.
func (s *site) lockedOut(who string, c siptest.Config) {
	s.t.Helper()
	err := s.phone(c).Register(within(s.t, patience), time.Hour)
	var no *siptest.RefusedError
	if err == nil || errors.As(err, &no) {
		s.t.Errorf("%s: %v, want no connection", who, err)
	}
}

// named is the number of the certificate that is shown to who asks for a name.
func (s *site) named(name string, c siptest.Config) string {
	s.t.Helper()
	conf := c.TLS.Clone()
	conf.ServerName = name
	conn, err := tls.Dial("tcp", c.Server, conf)
	if err != nil {
		s.t.Fatalf("asking for %s: %v", name, err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// TestClientCertificates: who has no certificate of the phones' authority does not connect, each name has a certificate of its
// own, and both change under a call that goes on.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *options) { o.Second = true })
	old := s.phoneCA()
	s.certify("second", pki.Request{DNS: []string{"second.test"}, Use: pki.Server})
	s.startExchange()
	s.startBorder()
	s.extension("1981", "1982", "1983")

	a, b := s.register(s.carrying("1981", old)), s.register(s.config(insideUDP, "1982"))
	p := connect(t, a, b, "1982")
	p.talk(t)
	s.lockedOut("no certificate", s.config(remote, "1983"))
	other, err := pki.NewAuthority("others", time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.lockedOut("another authority's", s.carrying("1983", other))
	any := s.carrying("1983", old)
	for _, name := range []string{domain, "second.test"} {
		if got := s.named(name, any); got != name {
			t.Errorf("asked for %s, shown %s", name, got)
		}
	}

	// A file that is none changes nothing.
	s.certify("second", pki.Request{DNS: []string{"third.test"}, Use: pki.Server})
	s.write("phones-ca.crt", "none")
	if failed := s.border.hup(); failed != "1" {
		t.Errorf("%s parts failed with a bad client_ca", failed)
	}
	if got := s.named("second.test", any); got != "second.test" {
		t.Errorf("after a failed reload %s is shown", got)
	}

	// Another authority, and another certificate: the call goes on, the old phones don't come back.
	fresh := s.phoneCA()
	if failed := s.border.hup(); failed != "0" {
		t.Fatalf("%s parts failed: %s", failed, s.border.faulty())
	}
	s.lockedOut("the old authority's", s.carrying("1983", old))
	renewed := s.carrying("1983", fresh)
	s.register(renewed)
	if got := s.named("third.test", renewed); got != "third.test" {
		t.Errorf("asked for third.test, shown %s", got)
	}
	p.talk(t)
	s.renew(a) // over its connection, which has no end
	p.hangup(t, true)
}
