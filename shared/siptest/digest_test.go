package siptest

import (
	"strings"
	"testing"
)

// The examples of RFC 7616 §3.9.1.
func TestDigestOfTheRFC(t *testing.T) {
	for algorithm, want := range map[string]string{
		MD5:    "8ca523f5e9506fed4657c9700eebdbec",
		SHA256: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		c := challenge{realm: "http-auth@example.org", nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", algorithm: algorithm, qop: true,
			opaque: "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"}
		k := credentials{user: "Mufasa", password: "Circle of Life", method: "GET", uri: "/dir/index.html", count: 1,
			cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"}
		if got := c.response(k); got != want {
			t.Errorf("%s: %s, want %s", algorithm, got, want)
		}
		value := c.answer(k)
		for _, part := range []string{`nc=00000001`, `qop=auth`, `opaque="FQhe`, "algorithm=" + algorithm, want} {
			if !strings.Contains(value, part) {
				t.Errorf("%s lacks %s", value, part)
			}
		}
		if !c.accepts(value, "Mufasa", "Circle of Life", "GET") {
			t.Error("own answer is not accepted")
		}
		for name, bad := range map[string]bool{
			"password": c.accepts(value, "Mufasa", "circle of life", "GET"),
			"user":     c.accepts(value, "Simba", "Circle of Life", "GET"),
			"method":   c.accepts(value, "Mufasa", "Circle of Life", "POST"),
			"no nc":    c.accepts(strings.Replace(value, "nc=00000001", "nc=z", 1), "Mufasa", "Circle of Life", "GET"),
		} {
			if bad {
				t.Errorf("%s: accepted with a wrong %s", algorithm, name)
			}
		}
	}
}

// RFC 2617 §3.5 without qop is RFC 2069's form.
func TestDigestWithoutQop(t *testing.T) {
	c, err := chooseChallenge([]string{`Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"`}, []string{MD5})
	must(t, err)
	got := c.response(credentials{user: "Mufasa", password: "Circle Of Life", method: "GET", uri: "/dir/index.html"})
	if got != "670fd8c2df070c60b045671b8b24ff02" {
		t.Errorf("response %s", got)
	}
}

func TestChooseChallenge(t *testing.T) {
	sha := `Digest realm="r", nonce="1", algorithm=SHA-256, qop="auth"`
	md5 := `Digest realm="r, \"x\"", nonce="2", qop="auth-int,auth", stale=TRUE`
	other := `Digest realm="r", nonce="3", algorithm=SHA-512-256, qop="auth"`
	tests := []struct {
		values, algorithms []string
		nonce              string
	}{
		{[]string{sha, md5}, []string{MD5, SHA256}, "1"},
		{[]string{other, md5, sha}, []string{MD5, SHA256}, "2"},
		{[]string{sha, md5}, []string{MD5}, "2"},
		{[]string{other}, []string{MD5, SHA256}, ""},
		{[]string{`Basic realm="r"`, `Digest realm="r"`, "Digest", `Digest realm="r", nonce="4", qop="auth-int"`}, []string{MD5}, ""},
		{nil, []string{MD5}, ""},
	}
	for i, tt := range tests {
		c, err := chooseChallenge(tt.values, tt.algorithms)
		if c.nonce != tt.nonce || (err == nil) != (tt.nonce != "") {
			t.Errorf("%d: nonce %q, %v", i, c.nonce, err)
		}
	}
	c, err := chooseChallenge([]string{md5}, []string{MD5})
	must(t, err)
	if c.realm != `r, "x"` || !c.stale || c.algorithm != MD5 || !c.qop {
		t.Errorf("%+v", c)
	}
	back, err := chooseChallenge([]string{c.header()}, []string{MD5})
	must(t, err)
	if back != c {
		t.Errorf("%+v is read back as %+v", c, back)
	}
}
