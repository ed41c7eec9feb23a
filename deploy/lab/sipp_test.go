package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A phone calls a carrier that sings; the phone hears it, and what the phone sings is on the wire to the carrier.
func TestBaresipCallsSIPp(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		wire := l.Internet.Capture()
		carrier := l.Carrier.SIPp(SIPp{Scenario: "uas", Tone: 620, Calls: 1})
		alice := l.Remote.Baresip(Account{User: "1001", Tone: 440})
		alice.Call(fmt.Sprintf("sip:0123@%s", l.Carrier.Port(l.Internet, 5060)))
		alice.WaitEstablished()
		alice.Hears(620)
		alice.Hangup()
		carrier.MustSucceed(patience)
		if l.Namespaced() {
			if r := wire.Sound(l.Carrier); !r.Is(440) {
				t.Errorf("the carrier was sent %+v", r)
			}
		}
		if !strings.Contains(carrier.Trace(), "INVITE sip:0123@") {
			t.Error("no INVITE in the carrier's trace")
		}
	})
}

// Without a tone SIPp sends back what it hears.
func TestSIPpEchoes(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		l.Carrier.SIPp(SIPp{Scenario: "uas"})
		alice := l.Remote.Baresip(Account{User: "1001", Tone: 440})
		alice.Call(fmt.Sprintf("sip:0123@%s", l.Carrier.Port(l.Internet, 5060)))
		alice.WaitEstablished()
		alice.Hears(440)
		alice.Hangup()
	})
}

func TestSIPpCallsBaresip(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		alice := l.Remote.Baresip(Account{User: "1001", AutoAnswer: true})
		carrier := l.Carrier.SIPp(SIPp{Scenario: "uac", Server: alice.Addr(), To: "1001", Tone: 620, Talk: 5 * time.Second})
		alice.Answer()
		alice.Hears(620)
		carrier.MustSucceed(patience)
		alice.WaitClosed()
	})
}

func TestSIPpRefusesAndRings(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		l.Carrier.SIPp(SIPp{Scenario: "refuse", Status: "404 Not Found"})
		ringing := l.Carrier.SIPp(SIPp{Scenario: "noanswer", Port: 5070, Calls: 1})
		alice := l.Remote.Baresip(Account{User: "1001"})
		alice.Call(fmt.Sprintf("sip:0123@%s", l.Carrier.Port(l.Internet, 5060)))
		if why := alice.WaitClosed(); !strings.Contains(why, "404") {
			t.Errorf("refused with %q", why)
		}
		alice.Call(fmt.Sprintf("sip:0123@%s", l.Carrier.Port(l.Internet, 5070)))
		alice.WaitRinging()
		alice.Hangup()
		ringing.MustSucceed(patience)
	})
}

// A carrier that challenges, and a caller that knows the password, then one that does not.
func TestSIPpChallenges(t *testing.T) {
	for _, proxy := range []bool{false, true} {
		t.Run(fmt.Sprintf("proxy %v", proxy), func(t *testing.T) {
			Everywhere(t, func(t *testing.T, l *Lab) {
				l.Carrier.SIPp(SIPp{Scenario: "uas", Domain: "carrier.test", User: "trunk", Password: "secret", Proxy: proxy})
				call := SIPp{Scenario: "uac", Server: l.Carrier.Port(l.Internet, 5060), Domain: "carrier.test", To: "0123", User: "trunk", Password: "secret"}
				l.DMZ.SIPp(call).MustSucceed(patience)
				call.Password = "guess"
				if proxy {
					call.User = "stranger"
				}
				if s := l.DMZ.SIPp(call).Done(patience); s.Failed != 1 || s.Successful != 0 {
					t.Errorf("with a wrong password: %+v", s)
				}
			})
		})
	}
}

// Registration and load through the stand-in.
func TestSIPpLoad(t *testing.T) {
	Everywhere(t, func(t *testing.T, l *Lab) {
		l.DMZ.Registrar(Kamailio{Domain: "lab.test", Users: map[string]string{"1002": "two"}})
		server := l.DMZ.Port(l.Internet, 5060)
		uas := l.Remote2.SIPp(SIPp{Scenario: "uas", Port: 5080})
		l.Remote2.SIPp(SIPp{
			Scenario: "register", Server: server, Port: 5090, Domain: "lab.test", User: "1002", Password: "two",
			Contact: l.Remote2.Port(l.Internet, 5080).String(),
		}).MustSucceed(patience)
		s := l.Remote.SIPp(SIPp{
			Scenario: "uac", Server: server, Domain: "lab.test", To: "1002", Rate: 50, Calls: 100, Talk: 200 * time.Millisecond,
		}).MustSucceed(time.Minute)
		if s.Created != 100 || s.Successful != 100 || s.Response <= 0 || s.Rate <= 0 || s.Elapsed <= 0 {
			t.Errorf("%+v", s)
		}
		if uas.Stop(); uas.Stats().Created != 100 {
			t.Errorf("the called side counted %+v", uas.Stats())
		}
	})
}

func TestParseSIPpStats(t *testing.T) {
	head := "StartTime;ElapsedTime(C);CallRate(C);TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);ResponseTime1(C);\n"
	line := "2026-11-22\t00:00:00.000;00:01:02;98.5;100;97;3;4;00:00:00:012345;\n" // as SIPp 3.6 writes it, some columns left out
	want := SIPpStats{Created: 100, Successful: 97, Failed: 3, Retransmissions: 4, Rate: 98.5, Elapsed: 62 * time.Second, Response: 12345 * time.Microsecond}
	for _, c := range []struct {
		name, text string
		want       SIPpStats
	}{
		{"whole", head + line, want},
		{"half a line more", head + line + "2026-11-22;00:0", want},
		{"only a head", head, SIPpStats{}},
		{"empty", "", SIPpStats{}},
		{"odd numbers", head + "x;y;z;a;b;c;d;e;\n", SIPpStats{}},
	} {
		if got, err := parseSIPpStats(c.text); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}
