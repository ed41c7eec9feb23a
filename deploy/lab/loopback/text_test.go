package loopback

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"brickhouse/shared/siptest"
)

// writes wants a text to be answered with a code.
func writes(t testing.TB, p *siptest.Phone, to, text string, code int) {
	t.Helper()
	r, err := p.Message(within(t, patience), to, text)
	if err != nil || r.Code != code {
		t.Errorf("%s writing to %s: %s, %v; want %d", p.Name(), to, r, err, code)
	}
}

// TestTexts sends texts between phones outside and inside (RFC 3428).
func TestTexts(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1611", "1612", "1613")
	a, b := s.register(s.config(remote, "1611")), s.register(s.config(remoteCM, "1612"))
	desk, tcp := s.register(s.config(insideUDP, "1612")), s.register(s.config(insideTCP, "1613"))
	writes(t, a, "1612", "grüße", 200) // both of its phones
	for _, p := range []*siptest.Phone{b, desk} {
		eventually(t, "the text at "+p.Addr().String(), func() string {
			if n := len(p.Texts()); n != 1 {
				return fmt.Sprintf("%d texts", n)
			}
			return ""
		})
		m := p.Texts()[0]
		if typ, _, _ := strings.Cut(m.Header("Content-Type"), ";"); string(m.Body) != "grüße" || typ != "text/plain" || !strings.Contains(m.Header("From"), "1611") {
			t.Errorf("text %q of %s, %s", m.Body, m.Header("From"), m.Header("Content-Type"))
		}
		if text := strings.Join(m.Names(), " "); strings.Contains(text, "Brickhouse") || slices.Contains(m.Names(), "Authorization") || slices.Contains(m.Names(), "Proxy-Authorization") {
			t.Errorf("headers %s", text)
		}
	}
	writes(t, tcp, "1611", "from inside", 200)
	writes(t, a, "1613", "to inside", 200)
	if got := tcp.Texts(); len(got) != 1 || string(got[0].Body) != "to inside" {
		t.Errorf("%d texts inside", len(got))
	}
	writes(t, a, "1699", "x", 404)
	writes(t, a, "*43", "x", 403)
	writes(t, a, "1613", strings.Repeat("x", 1025), 413)
	writes(t, a, "1613", "\x1b[2J", 415)
	if err := tcp.Unregister(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	writes(t, a, "1613", "nobody there", 480)
	stranger := s.config(remote, "1611")
	stranger.Password = "wrong"
	writes(t, s.phone(stranger), "1612", "in another's name", 407)
	if n := len(b.Texts()); n != 1 {
		t.Errorf("%d texts arrived", n)
	}
}
