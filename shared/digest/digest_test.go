package digest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The example of RFC 7616 §3.9.1, and what openssl computes for the algorithms that it leaves out.
const (
	rfcUser   = "Mufasa"
	rfcRealm  = "http-auth@example.org"
	rfcPass   = "Circle of Life"
	rfcNonce  = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
	rfcCnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
	rfcURI    = "/dir/index.html"
)

var rfcResponses = map[Algorithm]string{
	MD5:       "8ca523f5e9506fed4657c9700eebdbec",
	SHA256:    "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	SHA512256: "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0",
}

func rfcHeader(a Algorithm, resp string) string {
	return fmt.Sprintf(`Digest username="Mufasa", realm=%q, uri="/dir/index.html", algorithm=%s, nonce=%q, nc=00000001, `+
		`cnonce=%q, qop=auth, response=%q, opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`, rfcRealm, a, rfcNonce, rfcCnonce, resp)
}

func TestVerifyExamples(t *testing.T) {
	for a, resp := range rfcResponses {
		c, err := ParseCredentials(rfcHeader(a, resp))
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		ha1 := HA1(a, rfcUser, rfcRealm, rfcPass)
		if !c.Verify(ha1, "GET") {
			t.Errorf("%s: the RFC's own response is refused", a)
		}
		if c.Verify(ha1, "PUT") || c.Verify(HA1(a, rfcUser, rfcRealm, "circle of life"), "GET") || c.Verify("", "GET") {
			t.Errorf("%s: a wrong method, password or HA1 is taken", a)
		}
		for _, change := range []func(*Credentials){
			func(c *Credentials) { c.Nonce += "x" }, func(c *Credentials) { c.Cnonce += "x" },
			func(c *Credentials) { c.URI += "x" }, func(c *Credentials) { c.nc = "00000002" }, func(c *Credentials) { c.QOP = false },
			func(c *Credentials) { c.Response = c.Response[1:] + "0" },
		} {
			d := *c
			if change(&d); d.Verify(ha1, "GET") {
				t.Errorf("%s: changed credentials are taken: %+v", a, d)
			}
		}
	}
}

func TestVerifyRFC2617(t *testing.T) {
	c, err := ParseCredentials(`Digest username="Mufasa",realm="testrealm@host.com",nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",` +
		`uri="/dir/index.html",qop=auth,nc=00000001,cnonce="0a4f113b",response="6629FAE49393A05397450978507C4EF1",` +
		`opaque="5ccc069c403ebaf9f0171e9517f40e41"`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Algorithm != MD5 || c.NC != 1 || !c.QOP || !c.Verify(HA1(MD5, "Mufasa", "testrealm@host.com", "Circle Of Life"), "GET") {
		t.Errorf("refused: %+v", c)
	}
}

func TestVerifyWithoutQOP(t *testing.T) {
	// RFC 2069 with its erratum.
	c, err := ParseCredentials(`Digest username="Mufasa",realm="testrealm@host.com",nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",` +
		`uri="/dir/index.html",response="1949323746fe6a43ef61f9606e7febea"`)
	if err != nil {
		t.Fatal(err)
	}
	if c.QOP || c.NC != 0 || !c.Verify(HA1(MD5, "Mufasa", "testrealm@host.com", "CircleOfLife"), "GET") {
		t.Errorf("refused: %+v", c)
	}
}

func TestParseCredentialsRefuses(t *testing.T) {
	good := rfcHeader(MD5, rfcResponses[MD5])
	for _, tt := range []struct {
		old, new string
		want     error
	}{
		{"Digest ", "Basic ", ErrScheme},
		{"Digest ", "Digest", ErrScheme},
		{good, "", ErrScheme},
		{good, "Digest ", ErrScheme}, // the blank is trimmed away
		{good, "Digest ,", ErrSyntax},
		{good, "Digest " + strings.Repeat("x", maxHeader), ErrSyntax},
		{good, good + `, username="Mufasa"`, ErrSyntax},
		{good, good + `, UserName="other"`, ErrSyntax},
		{good, good + `, x`, ErrSyntax},
		{good, good + `, x=`, ErrSyntax},
		{good, good + `, x="`, ErrSyntax},
		{good, good + `, x="\`, ErrSyntax},
		{good, good + `, x="a\"`, ErrSyntax},
		{good, good + `, ="x"`, ErrSyntax},
		{good, good + ` x=y`, ErrSyntax},
		{good, good + ", x=\"a\x00b\"", ErrSyntax},
		{good, good + ", x=\"\\a\x00b\"", ErrSyntax},
		{good, good + ", x=\"a\r\nb\"", ErrSyntax},
		{"nc=00000001", "nc=1", ErrSyntax},
		{"nc=00000001", "nc=00000000", ErrSyntax},
		{"nc=00000001", "nc=0000000g", ErrSyntax},
		{"nc=00000001", "nc=000000001", ErrSyntax},
		{"nc=00000001, ", "", ErrSyntax},
		{"qop=auth", "qop=auth-int", ErrUnsupported},
		{"qop=auth", `qop=""`, ErrUnsupported},
		{"algorithm=MD5", "algorithm=MD5-sess", ErrUnsupported},
		{"algorithm=MD5", "algorithm=SHA-1", ErrUnsupported},
		{"algorithm=MD5", "algorithm=SHA-256", ErrSyntax}, // response is too short for it
		{`username="Mufasa"`, `username=""`, ErrSyntax},
		{`username="Mufasa"`, `username*=UTF-8''J%C3%A4s`, ErrUnsupported},
		{`username="Mufasa", `, "", ErrSyntax},
		{good, good + ", userhash=true", ErrUnsupported},
		{`response="8ca5`, `response="8cag`, ErrSyntax},
		{`response="8ca5`, `response="8ca`, ErrSyntax},
	} {
		s := strings.Replace(good, tt.old, tt.new, 1)
		if s == good {
			t.Fatalf("%q is not in the header", tt.old)
		}
		if c, err := ParseCredentials(s); !errors.Is(err, tt.want) {
			t.Errorf("%.200q: %+v, %v; want %v", s, c, err, tt.want)
		}
	}
	many := good
	for i := range maxParams {
		many += fmt.Sprintf(", x%d=1", i)
	}
	if _, err := ParseCredentials(many); !errors.Is(err, ErrSyntax) {
		t.Errorf("%d parameters: %v", maxParams, err)
	}
}

func TestParseCredentialsForms(t *testing.T) {
	c, err := ParseCredentials("  DIGEST\tUSERNAME = \"a\\\"b\\\\c\" ,, Realm=\"r\" , nonce=n,uri=\"sip:x;y=z\", response=" +
		strings.Repeat("A", 32) + ", userhash=false, future=\"x\" ,")
	if err != nil {
		t.Fatal(err)
	}
	if c.Username != `a"b\c` || c.Realm != "r" || c.Nonce != "n" || c.URI != "sip:x;y=z" || c.Response != strings.Repeat("a", 32) {
		t.Errorf("%+v", c)
	}
}

func TestParseAlgorithm(t *testing.T) {
	for s, want := range map[string]Algorithm{"": MD5, "md5": MD5, "MD5": MD5, "sha-256": SHA256, "SHA-512-256": SHA512256} {
		if a, err := ParseAlgorithm(s); a != want || err != nil {
			t.Errorf("%q: %q, %v", s, a, err)
		}
	}
	for _, s := range []string{"SHA256", "MD5-sess", "SHA-1", strings.Repeat("x", 100)} {
		if a, err := ParseAlgorithm(s); err == nil {
			t.Errorf("%q is taken for %q", s, a)
		}
	}
	if Algorithm("x").HexLen() != 0 || HA1("x", "a", "b", "c") != "" {
		t.Error("an unknown algorithm hashes")
	}
}

func FuzzParseCredentials(f *testing.F) {
	f.Add(rfcHeader(MD5, rfcResponses[MD5]))
	f.Add(rfcHeader(SHA256, rfcResponses[SHA256]))
	f.Add(`Digest username="a\"b", realm="r", nonce="n", uri="sip:x", response="`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCredentials(s)
		if err != nil {
			return
		}
		if c.Username == "" || c.Nonce == "" || c.URI == "" || len(c.Response) != c.Algorithm.HexLen() || c.QOP != (c.NC > 0) {
			t.Errorf("%q gives %+v", s, c)
		}
		if c.Verify(strings.Repeat("0", c.Algorithm.HexLen()), "REGISTER") {
			t.Errorf("%q verifies by itself", s)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, a := range []Algorithm{MD5, SHA256} {
		b.Run(string(a), func(b *testing.B) {
			c, err := ParseCredentials(rfcHeader(a, rfcResponses[a]))
			if err != nil {
				b.Fatal(err)
			}
			ha1 := HA1(a, rfcUser, rfcRealm, rfcPass)
			b.ReportAllocs()
			for b.Loop() {
				if !c.Verify(ha1, "GET") {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkParseCredentials(b *testing.B) {
	s := rfcHeader(SHA256, rfcResponses[SHA256])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCredentials(s); err != nil {
			b.Fatal(err)
		}
	}
}
