package loopback

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

// registration is what `pbx registration list` knows.
type registration struct {
	Number, Contact, Via, Agent string

	Expires time.Time
}

// bound are the bindings of an extension.
func (s *site) bound(number string) []registration {
	s.t.Helper()
	var all, out []registration
	s.get("pbx", "/registrations", &all)
	for _, r := range all {
		if r.Number == number {
			out = append(out, r)
		}
	}
	return out
}

// Registrations come, are refreshed, and go.
func TestRegistrations(t *testing.T) {
	t.Parallel()
	tell(t, open(t, nil), 1600, []story{
		{"several contacts", severalContacts},
		{"too many contacts", func(s *site, x []string) {
			for range 8 { // limits.contacts
				s.register(s.config(insideUDP, x[0]))
			}
			ninth := s.register(s.config(insideUDP, x[0])) // the oldest has to go
			got := s.bound(x[0])
			if len(got) != 8 || !slices.ContainsFunc(got, func(r registration) bool { return strings.Contains(r.Contact, ninth.Addr().String()) }) {
				s.t.Errorf("bindings %+v", got)
			}
		}},
		{"expiry outside", expiry(remote)},
		{"expiry inside", expiry(insideUDP)},
		{"longest", func(s *site, x []string) {
			for i, p := range []place{remote, insideTCP} {
				if err := s.phone(s.config(p, x[i])).Register(within(s.t, patience), 24*time.Hour); err != nil {
					s.t.Fatal(err)
				}
				if got := s.bound(x[i]); len(got) != 1 || time.Until(got[0].Expires) > time.Hour {
					s.t.Errorf("%s: %+v", p, got)
				}
			}
		}},
		{"connection of a remote phone ends", comesBack},
		{"digest of the account", func(s *site, x []string) {
			for i, alg := range []string{siptest.MD5, siptest.SHA256} {
				for j, p := range []place{remote, insideUDP} {
					c := s.config(p, x[2*i+j])
					c.Algorithms = []string{alg}
					s.register(c)
				}
			}
		}},
		{"another's name", anothersName},
	})
}

// expiry registers for two seconds: the phone can be called, and then no more.
func expiry(at place) func(s *site, x []string) {
	return func(s *site, x []string) {
		p, caller := s.phone(s.config(at, x[1])), s.register(s.config(insideUDP, x[0]))
		if err := p.Register(within(s.t, patience), 2*time.Second); err != nil {
			s.t.Fatal(err)
		}
		if got := s.bound(x[1]); len(got) != 1 || !at.outside() && time.Until(got[0].Expires) > 2*time.Second {
			s.t.Errorf("bindings %+v", got)
		}
		if at.outside() { // the exchange holds it for longer, and hears from the border that it is gone when somebody calls
			time.Sleep(2 * time.Second)
			fails(s.t, caller, x[1], 480)
		}
		eventually(s.t, "the binding to end", func() string {
			if got := s.bound(x[1]); len(got) > 0 {
				return fmt.Sprintf("%+v", got)
			}
			return ""
		})
		fails(s.t, caller, x[1], 480)
		s.renew(p)
		connect(s.t, caller, p, x[1]).hangup(s.t, false)
	}
}

// severalContacts registers four phones of one extension, refreshes them, and takes three back.
func severalContacts(s *site, x []string) {
	var phones []*siptest.Phone
	for _, p := range []place{remote, insideUDP, insideTCP, remoteCM} {
		phones = append(phones, s.register(s.config(p, x[1])))
	}
	if got := s.bound(x[1]); len(got) != 4 {
		s.t.Fatalf("bindings %+v", got)
	}
	for range 3 { // a refresh is no new binding
		for _, p := range phones {
			s.renew(p)
		}
	}
	if got := s.bound(x[1]); len(got) != 4 {
		s.t.Fatalf("bindings after refreshing %+v", got)
	}
	for i, p := range phones[:3] {
		if err := p.Unregister(within(s.t, patience)); err != nil {
			s.t.Fatal(err)
		}
		if got := s.bound(x[1]); len(got) != 3-i {
			s.t.Fatalf("bindings after unregistering %d: %+v", i+1, got)
		}
	}
	connect(s.t, s.register(s.config(insideUDP, x[0])), phones[3], x[1]).hangup(s.t, true)
}

// comesBack loses a phone with its connection, and finds it again on another.
func comesBack(s *site, x []string) {
	p := s.register(s.config(remote, x[1]))
	p.Close()
	caller := s.register(s.config(insideUDP, x[0]))
	eventually(s.t, "the call to fail", func() string {
		_, err := caller.Call(within(s.t, patience), x[1])
		if err == nil {
			return "it was answered"
		}
		return ""
	})
	// It comes back with another connection: the same extension rings again.
	again := s.register(s.config(remote, x[1]))
	connect(s.t, caller, again, x[1]).hangup(s.t, true)
}

// anothersName tries to be an extension with the password of another.
func anothersName(s *site, x []string) {
	for _, p := range []place{remote, insideUDP} {
		c := s.config(p, x[0])
		c.AuthUser, c.Password = x[1], password(x[1])
		if err := s.phone(c).Register(within(s.t, patience), time.Hour); err == nil {
			s.t.Errorf("%s: %s registered with the password of %s", p, x[0], x[1])
		}
		fails(s.t, s.phone(c), x[2], 403)
	}
	if got := s.bound(x[0]); len(got) != 0 {
		s.t.Errorf("%+v", got)
	}
}
