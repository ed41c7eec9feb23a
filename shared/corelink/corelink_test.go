package corelink

import (
	"strings"
	"testing"
)

func TestVerdictRoundTrip(t *testing.T) {
	for _, v := range []Verdict{
		{Outcome: OutcomeOK, AOR: "1001@example.com", NonceKnown: true},
		{Outcome: OutcomeBadCredentials, AOR: "", NonceKnown: false},
		{Outcome: OutcomeUnknownUser, AOR: "a.b+c@example.com"},
		{Outcome: OutcomeChallenge}, {Outcome: OutcomeStale, NonceKnown: true}, {Outcome: OutcomeRefused},
	} {
		got, err := ParseVerdict(v.String())
		if err != nil || got != v {
			t.Errorf("ParseVerdict(%q) = %+v, %v; want %+v", v.String(), got, err, v)
		}
	}
}

func TestVerdictCleansAddress(t *testing.T) {
	v := Verdict{Outcome: OutcomeOK, AOR: "a\r\nX: 1;b\"c\x00@d"}
	got, err := ParseVerdict(v.String())
	if err != nil || got.AOR != "aX:1bc@d" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseVerdictRefuses(t *testing.T) {
	for _, s := range []string{
		"", "ok", "ok;nonce=known", "OK;nonce=known;aor=\"\"", "good;nonce=known;aor=\"\"", "ok;nonce=maybe;aor=\"\"",
		"ok;nonce=known;aor=x", "ok;nonce=known;aor=\"x", "ok;nonce=known;aor=\"x\";y", "ok;nonce=known;aor=\"a b\"",
	} {
		if v, err := ParseVerdict(s); err == nil {
			t.Errorf("ParseVerdict(%q) = %+v, want an error", s, v)
		}
	}
}

func TestIsPrivate(t *testing.T) {
	for name, want := range map[string]bool{
		"Brickhouse-Realm": true, "brickhouse-verdict": true, "BRICKHOUSE-X": true,
		"Brickhouse": false, "X-Brickhouse-Realm": false, "Via": false, "": false,
	} {
		if IsPrivate(name) != want {
			t.Errorf("IsPrivate(%q) = %v", name, !want)
		}
	}
}

func FuzzParseVerdict(f *testing.F) {
	f.Add(`ok;nonce=known;aor="1001@example.com"`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVerdict(s)
		if err != nil {
			return
		}
		if again, err := ParseVerdict(v.String()); err != nil || again != v {
			t.Errorf("%q → %+v → %q → %+v, %v", s, v, v.String(), again, err)
		}
	})
}

func TestIsTrunkName(t *testing.T) {
	for _, s := range []string{"carrier", "a", "Carrier_2-B", strings.Repeat("x", 64)} {
		if !IsTrunkName(s) {
			t.Errorf("%q is none", s)
		}
	}
	for _, s := range []string{"", "a b", "a/b", "caf\u00e9", "a\r\nb", "a;b", strings.Repeat("x", 65)} {
		if IsTrunkName(s) {
			t.Errorf("%q is one", s)
		}
	}
}
