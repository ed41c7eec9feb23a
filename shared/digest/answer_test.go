package digest

import (
	"errors"
	"strings"
	"testing"
)

func asked() Asked {
	return Asked{Username: rfcUser, Method: "GET", URI: rfcURI, Cnonce: rfcCnonce, NC: 1}
}

func offer(extra string) string {
	return `Digest realm="http-auth@example.org", nonce="` + rfcNonce + `"` + extra
}

func TestAnswer(t *testing.T) {
	secret := Password(rfcUser, rfcPass)
	for _, tt := range []struct {
		name       string
		challenges []string
		q          func(*Asked)
		want       string // the response
		has        string
	}{
		{"MD5", []string{offer(`, qop="auth", algorithm=MD5`)}, nil, rfcResponses[MD5], "algorithm=MD5, qop=auth, nc=00000001"},
		{"first on top", []string{offer(`, qop="auth", algorithm=SHA-256`), offer(`, qop="auth", algorithm=MD5`)}, nil, rfcResponses[SHA256], "SHA-256"},
		{"first that is known", []string{offer(`, qop="auth", algorithm=SHA3`), "Basic realm=x", offer(`, qop="auth"`)}, nil, rfcResponses[MD5], ""},
		{"SHA-512-256", []string{offer(`, qop="auth", algorithm=SHA-512-256`)}, nil, rfcResponses[SHA512256], ""},
		{"auth before auth-int", []string{offer(`, qop="auth-int, auth"`)}, nil, rfcResponses[MD5], "qop=auth,"},
		{"session", []string{offer(`, qop="auth", algorithm=MD5-sess`)}, nil, "e783283f46242139c486a698fec7211d", "algorithm=MD5-sess"},
		{"auth-int", []string{offer(`, qop="auth-int", algorithm=SHA-256`)}, func(q *Asked) {
			q.Method, q.Body, q.NC = "PUT", []byte("body"), 2
		}, "a7459b972542f8e350ba8785c439cc0e3a1a2fc0e686172b527a65ba7fdd6f9c", "qop=auth-int, nc=00000002"},
		{"realm of ours", []string{offer(`, qop="auth"`)}, func(q *Asked) { q.Realm = rfcRealm }, rfcResponses[MD5], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := asked()
			if tt.q != nil {
				tt.q(&q)
			}
			v, _, err := Answer(tt.challenges, secret, q)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(v, `response="`+tt.want+`"`) || !strings.Contains(v, tt.has) {
				t.Errorf("%s\nwant response %s and %q", v, tt.want, tt.has)
			}
		})
	}
}

func TestAnswerWithoutQOP(t *testing.T) {
	q := Asked{Username: "Mufasa", Method: "GET", URI: rfcURI, Cnonce: "secret", NC: 1}
	v, c, err := Answer([]string{`Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="o\"p"`},
		Password("Mufasa", "CircleOfLife"), q)
	if err != nil {
		t.Fatal(err)
	}
	want := `Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", ` +
		`response="1949323746fe6a43ef61f9606e7febea", algorithm=MD5, opaque="o\"p"`
	if v != want || c.Opaque != `o"p` {
		t.Errorf("got  %s\nwant %s", v, want)
	}
}

func TestAnswerRefuses(t *testing.T) {
	only := func(a Algorithm) Secret {
		return func(b Algorithm, _ string) (string, bool) { return HA1(a, "u", "r", "p"), a == b }
	}
	for name, tt := range map[string]struct {
		challenges []string
		secret     Secret
		realm      string
	}{
		"none":              {nil, only(MD5), ""},
		"another's realm":   {[]string{offer(`, qop="auth"`)}, only(MD5), "example.com"},
		"no secret":         {[]string{offer(`, qop="auth"`)}, only(SHA256), ""},
		"unknown qop":       {[]string{offer(`, qop="token"`)}, only(MD5), ""},
		"unknown algorithm": {[]string{offer(`, algorithm=AKAv1-MD5`)}, only(MD5), ""},
		"no nonce":          {[]string{`Digest realm="x"`}, only(MD5), ""},
		"malformed":         {[]string{`Digest realm="x`}, only(MD5), ""},
	} {
		q := asked()
		q.Realm = tt.realm
		if v, _, err := Answer(tt.challenges, tt.secret, q); !errors.Is(err, ErrNoChallenge) {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
}

// What Answer writes, the server side takes: with every byte that can stand in a name.
func TestAnswerIsVerified(t *testing.T) {
	for _, user := range []string{"1001", `a"b\c`, "Jäger", "a,b=c"} {
		for _, a := range []Algorithm{MD5, SHA256, SHA512256} {
			ch := Challenge{Realm: `r"x`, Nonce: "n/+=", Algorithm: a, Auth: true, Opaque: "o"}
			v, _, err := Answer([]string{ch.String()}, Password(user, "p"), Asked{Username: user, Method: "INVITE", URI: "sip:x@y", Cnonce: "c", NC: 0xabc})
			if err != nil {
				t.Fatal(err)
			}
			c, err := ParseCredentials(v)
			if err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			if c.Username != user || c.NC != 0xabc || !c.Verify(HA1(a, user, ch.Realm, "p"), "INVITE") {
				t.Errorf("%s %s: refused: %s", user, a, v)
			}
		}
	}
}

func TestChallengeRoundTrip(t *testing.T) {
	for _, c := range []Challenge{
		{Realm: "a", Nonce: "b", Algorithm: MD5, Auth: true},
		{Realm: `a"\b`, Nonce: "b", Opaque: "c", Algorithm: SHA256, Stale: true, Auth: true, AuthInt: true},
		{Realm: "", Nonce: "b", Algorithm: SHA512256, Session: true, AuthInt: true},
		{Realm: "x", Nonce: "b", Algorithm: MD5},
	} {
		if got, err := ParseChallenge(c.String()); err != nil || got != c {
			t.Errorf("%s gives %+v, %v", c, got, err)
		}
	}
	if got := (Challenge{Realm: "a\r\nX: y", Nonce: "n"}).String(); strings.ContainsAny(got, "\r\n") {
		t.Errorf("line break in %q", got)
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(offer(`, qop="auth,auth-int", algorithm=SHA-256-sess, stale=TRUE, opaque="x"`))
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChallenge(s)
		if err != nil {
			return
		}
		again, err := ParseChallenge(c.String())
		if err != nil || again != c {
			t.Errorf("%q gives %+v, then %+v, %v", s, c, again, err)
		}
		v, _, err := Answer([]string{s}, Password("u", "p"), Asked{Username: "u", Method: "M", URI: "sip:x", Cnonce: "c", NC: 1})
		if err != nil || strings.ContainsAny(v, "\r\n\x00") {
			t.Errorf("%q is answered by %q, %v", s, v, err)
		}
	})
}
