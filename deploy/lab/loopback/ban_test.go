package loopback

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// attack tries wrong passwords for an extension from an address, until it is shut out or has tried often enough.
func (s *site) attack(host, tries int, change func(*siptest.Attack)) []siptest.Try {
	s.t.Helper()
	a := siptest.Attack{Config: s.config(remote, "1901"), Tries: tries, Timeout: 5 * time.Second}
	a.Bind, a.Name, a.Each = s.ip(host), "attacker", func(t siptest.Try) bool { return !t.Locked() }
	if change != nil {
		change(&a)
	}
	out, _, err := a.Run(within(s.t, patience))
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// overUDP makes an attack one over UDP.
func (s *site) overUDP(a *siptest.Attack) {
	a.Transport, a.TLS, a.Server = siptest.UDP, nil, net.JoinHostPort(s.addr(1), strconv.Itoa(udpPort))
	a.T1 = 200 * time.Millisecond
	a.Timeout = time.Second
}

// banned wants a ban of an address by a rule, with evidence.
func (s *site) banned(host int, reason, network string) explanation {
	s.t.Helper()
	e := s.why(s.ip(host))
	if len(e.Bans) != 1 || e.Bans[0].Prefix != netip.PrefixFrom(s.ip(host), 32) || e.Bans[0].Rule != "logins" || e.Bans[0].By != "rule" ||
		e.Bans[0].Reason != reason || len(e.Bans[0].Evidence) != 5 || !strings.HasPrefix(e.Outcome, "drop") {
		s.t.Fatalf("why %s: %+v", s.ip(host), e)
	}
	for _, ev := range e.Bans[0].Evidence {
		if ev.Source.Addr() != s.ip(host) || ev.Reason != reason || !strings.HasPrefix(ev.AOR, "19") || !strings.HasPrefix(ev.Interface, network) {
			s.t.Errorf("evidence %+v", ev)
		}
	}
	return e
}

// shutOut reports whether the border ends a connection from an address before anything is said.
func (s *site) shutOut(host int) bool {
	s.t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: s.ip(host).AsSlice()}}
	c, err := d.Dial("tcp", net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort)))
	if err != nil {
		return true
	}
	defer c.Close()
	secure := tls.Client(c, s.tls())
	_ = c.SetDeadline(time.Now().Add(patience))
	return secure.Handshake() != nil
}

// Five wrong passwords ban their source, and nobody else.
func TestBan(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.Ban = "4s" })
	s.extension("1901", "1902")
	honest := s.register(s.config(remote, "1901"))

	tries := s.attack(77, 10, nil)
	if len(tries) > 6 || !tries[len(tries)-1].Locked() || len(tries) < 5 {
		t.Fatalf("the attack: %v", tries)
	}
	e := s.banned(77, "bad-credentials", "access")
	if left := time.Until(e.Bans[0].Until); left > 4*time.Second {
		t.Errorf("the ban lasts %s", left)
	}
	text := command(t, "", "sbc", "ban", "why", s.addr(77), "--socket", s.path("sbc.sock"))
	list := command(t, "", "sbc", "ban", "list", "--socket", s.path("sbc.sock"))
	for _, want := range []string{s.addr(77), "bad-credentials", "rule logins", "time left", "1901@" + domain} {
		if !strings.Contains(text.stdout, want) && time.Now().Before(e.Bans[0].Until) {
			t.Errorf("ban why does not name %q:\n%s", want, text.stdout)
		}
	}
	if !strings.Contains(list.stdout, s.addr(77)) && time.Now().Before(e.Bans[0].Until) {
		t.Errorf("ban list:\n%s", list.stdout)
	}
	s.renew(honest)
	s.renew(s.phone(s.config(remote, "1902")))

	eventually(t, "the ban to end by itself", func() string {
		if s.shutOut(77) {
			return "still shut out"
		}
		return ""
	})
	c := s.config(remote, "1902")
	c.Bind = s.ip(77)
	s.register(c)
	eventually(t, "the ban to be history", func() string {
		if e = s.why(s.ip(77)); len(e.Bans) != 0 || len(e.History) != 1 || e.History[0].EndedBy != "expiry" {
			return fmt.Sprintf("bans %+v, history %+v", e.Bans, e.History)
		}
		return ""
	})

	// Names that are no accounts count as much, and look the same from outside.
	wrong := s.attack(78, 1, nil)
	unknown := s.attack(79, 10, func(a *siptest.Attack) { a.Users = func(n int) string { return fmt.Sprint(1950 + n) } })
	if fmt.Sprint(wrong[0].Codes) != fmt.Sprint(unknown[0].Codes) {
		t.Errorf("a wrong password is answered %v, an unknown name %v", wrong[0].Codes, unknown[0].Codes)
	}
	if !unknown[len(unknown)-1].Locked() {
		t.Errorf("the attack: %v", unknown)
	}
	s.banned(79, "unknown-user", "access")
}

// A ban ends every connection that its source has, and holds while and after the border is dead.
func TestBanOutlivesTheBorder(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1901", "1902")
	from := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.ip(77), 0))}
	old, err := tls.DialWithDialer(from, "tcp", net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort)), s.tls())
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	s.attack(77, 10, nil)
	e := s.banned(77, "bad-credentials", "access")
	if err := old.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := old.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection of the banned source lives: %d, %v", n, err)
	}

	s.border.kill()
	s.startBorder()
	if !s.shutOut(77) {
		t.Error("after the restart the attacker is let in")
	}
	if again := s.banned(77, "bad-credentials", "access"); !again.Bans[0].Until.Equal(e.Bans[0].Until) {
		t.Errorf("the ban ended at %s, now at %s", e.Bans[0].Until, again.Bans[0].Until)
	}
	honest := s.register(s.config(remote, "1902"))
	s.renew(honest)
	s.border.signal(15)
	if status := s.border.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	s.startBorder()
	if !s.shutOut(77) {
		t.Error("after an orderly restart the attacker is let in")
	}
	must(t, "sbc", "ban", "del", s.addr(77), "--socket", s.path("sbc.sock"))
	if s.shutOut(77) {
		t.Error("the ban was lifted, but the source is shut out")
	}
}

// An office is not banned for one who guesses behind its NAT: his connections are held, the others' phones go on.
func TestOfficeIsNotBanned(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1901", "1902")
	c := s.config(remote, "1902")
	c.Bind = s.ip(77)
	phone := s.register(c)
	s.attack(77, 10, nil)
	if e := s.why(s.ip(77)); len(e.Bans) != 0 || len(e.Held) == 0 || e.Held[0].Source.Addr() != s.ip(77) {
		t.Errorf("why: bans %+v, held %+v", e.Bans, e.Held)
	}
	s.renew(phone)
	if s.shutOut(77) {
		t.Error("the office is shut out")
	}
}

// Being asked for a password is no failure.
func TestChallengesDoNotCount(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP = true })
	s.extension("1901", "1902")
	for _, at := range []string{"tls", "udp"} {
		tries := s.attack(77, 12, func(a *siptest.Attack) {
			a.Password = func(int) string { return "" } // answers no challenge
			if at == "udp" {
				s.overUDP(a)
			}
		})
		for _, try := range tries {
			if try.Outcome != siptest.Denied || fmt.Sprint(try.Codes) != "[401]" {
				t.Fatalf("%s: %v", at, tries)
			}
		}
	}
	if e := s.why(s.ip(77)); len(e.Bans)+len(e.Scores)+len(e.Evidence)+len(e.Held) != 0 {
		t.Errorf("why: %+v", e)
	}
	// Nor are right passwords, however often; nor those of a phone whose nonce was too old.
	p := s.register(s.config(remote, "1902"))
	for range 10 {
		s.renew(p)
	}
	if e := s.why(s.ip(100)); len(e.Scores)+len(e.Evidence) != 0 {
		t.Errorf("why: %+v", e)
	}
}

// Over UDP only a nonce that came back proves who sent a message.
func TestBanOverUDP(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP, o.Hold = true, "3s" })
	s.extension("1901", "1902")
	for i := range 20 {
		s.forge(77, 0, i)
	}
	if e := s.why(s.ip(77)); len(e.Bans) != 0 {
		t.Errorf("a source that may be forged is banned: %+v", e)
	}
	c := s.config(remote, "1902")
	c.Bind = s.ip(77)
	s.register(c)

	seeing := s.attack(78, 10, s.overUDP)
	if !seeing[len(seeing)-1].Locked() {
		t.Fatalf("the attack: %v", seeing)
	}
	s.banned(78, "bad-credentials", "access")
	if !s.shutOut(78) {
		t.Error("a ban over UDP does not hold for TLS")
	}
}

// One address and port that may be forged is held for a while; the phone that is registered from there is not hurt.
func TestHold(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP, o.Hold, o.AccessSRTP = true, "3s", "allow" })
	s.extension("1901", "1902")
	victim := s.config(remote, "1902")
	s.overUDPPhone(&victim)
	p := s.register(victim)
	victim.Port = p.Addr().Port()
	p.Close()
	for n := range 8 {
		s.forge(100, victim.Port, n)
	}
	if e := s.why(victim.Bind); len(e.Bans) != 0 {
		t.Errorf("banned: %+v", e)
	}
	s.register(victim) // the same address and port, while it may be on hold
}

// forge sends a login with a nonce that was never given out, and does not wait for what comes back: as somebody does who
// writes another's address on it. Port 0 is any.
func (s *site) forge(host int, port uint16, n int) {
	s.t.Helper()
	c := siptest.Config{Transport: siptest.UDP, Server: net.JoinHostPort(s.addr(1), strconv.Itoa(udpPort)), Bind: s.ip(host), Port: port}
	text := fmt.Sprintf("REGISTER sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bKf%[3]d;rport\r\nMax-Forwards: 70\r\n"+
		"From: <sip:1901@%[1]s>;tag=f\r\nTo: <sip:1901@%[1]s>\r\nCall-ID: forged-%[3]d\r\nCSeq: 1 REGISTER\r\nContact: <sip:1901@%[2]s>\r\n"+
		"Authorization: Digest username=\"1901\", realm=\"%[1]s\", nonce=\"bm9uY2U\", uri=\"sip:%[1]s\", response=\"%032[3]x\", algorithm=MD5, "+
		"qop=auth, nc=00000001, cnonce=\"x\"\r\nContent-Length: 0\r\n\r\n", domain, s.addr(host), n)
	bind(s.t, func() error {
		_, err := siptest.SendRaw(within(s.t, patience), c, []byte(text), 50*time.Millisecond)
		return err
	})
}

// overUDPPhone makes a remote phone one over UDP with plain RTP.
func (s *site) overUDPPhone(c *siptest.Config) {
	c.Transport, c.TLS, c.SRTP, c.Server = siptest.UDP, nil, nil, net.JoinHostPort(s.addr(1), strconv.Itoa(udpPort))
}

// The allow list wins over every rule and every person.
func TestAllowList(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(o *options) { o.Allow = "[{{.}}]" })
	s.opt.Allow = "[" + s.addr(76) + "/31]"
	s.configure()
	s.startExchange()
	s.startBorder()
	s.extension("1901", "1902")
	for _, try := range s.attack(77, 12, nil) {
		if try.Outcome != siptest.Denied {
			t.Errorf("%v", try)
		}
	}
	if e := s.why(s.ip(77)); len(e.Bans) != 0 || !strings.Contains(e.Allowed, s.addr(76)) {
		t.Errorf("why: %+v", e)
	}
	r := command(t, "", "sbc", "ban", "add", s.addr(77), "--socket", s.path("sbc.sock"))
	if r.status == 0 || !strings.Contains(r.stderr, "allow list") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("banning a friend: %+v", r)
	}
	for _, friend := range []int{10, 1} { // the exchange is one, and our own addresses are
		if e := s.why(s.ip(friend)); friend == 10 && e.Allowed == "" {
			t.Errorf("why %d: %+v", friend, e)
		}
	}
}

// UDP and TCP at the access side are as good as TLS for who may use them.
func TestPlainAccess(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP, o.AccessSRTP = true, "allow" })
	s.extension("1911", "1912", "1913")
	udp, tcp := s.config(remote, "1911"), s.config(remote, "1912")
	s.overUDPPhone(&udp)
	s.overUDPPhone(&tcp)
	tcp.Transport = siptest.TCP
	a, b := s.register(udp), s.register(tcp)
	p := connect(t, a, b, "1912")
	p.talk(t)
	p.hangup(t, true)
	p = connect(t, b, a, "1911")
	p.talk(t)
	p.hangup(t, false)
	c := s.register(s.config(remoteCM, "1913"))
	p = connect(t, c, a, "1911")
	p.talk(t)
	p.hangup(t, true)
}

// Whoever says nothing is hung up on, whoever says half is too, and an honest phone does not notice.
func TestSlowloris(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1921")
	dial := func(host int) net.Conn {
		c := s.dial(siptest.Config{Transport: siptest.TCP, Bind: s.ip(host), Server: net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort))})
		t.Cleanup(func() { c.Close() })
		return c
	}
	var idle []net.Conn
	for i := range 12 {
		c := dial(81)
		switch i % 4 {
		case 0: // nothing at all
		case 1: // half a handshake
			fmt.Fprint(c, "\x16\x03\x01\x02\x00\x01")
		case 2, 3: // a handshake, and then nothing or half a message
			secure := tls.Client(c, s.tls())
			if err := secure.HandshakeContext(within(t, patience)); err != nil {
				t.Fatal(err)
			}
			c = secure
			if i%4 == 3 {
				fmt.Fprint(c, "OPTIONS sip:brickhouse.test SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bKslow\r\n")
			}
		}
		idle = append(idle, c)
	}
	honest := s.register(s.config(remote, "1921"))
	for i, c := range idle {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("connection %d is still open", i)
		}
	}
	s.renew(honest)
	got := s.refused("sbc")
	if got["handshake-failed"] != 6 || got["request-timeout"] != 6 {
		t.Errorf("counted %v", got)
	}

	// More connections than one source may have: the oldest stranger goes, others do not notice.
	for range 40 {
		dial(82)
	}
	s.renew(honest)
	s.renew(s.phone(s.config(remote, "1921")))
	eventually(t, "the surplus to be closed", func() string {
		if n := s.refused("sbc")["connection-limit"]; n < 40-16 {
			return fmt.Sprintf("%d are", n)
		}
		return ""
	})
}
