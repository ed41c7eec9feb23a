package keying

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"brickhouse/shared/sdp"
)

const (
	key30 = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	key44 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKis="
	key28 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=="
	cm    = "AES_CM_128_HMAC_SHA1_80"
	gcm   = "AEAD_AES_256_GCM"
)

func line(suite, params string, session ...string) sdp.Crypto {
	return sdp.Crypto{Tag: 1, Suite: suite, KeyParams: params, SessionParams: session}
}

func TestParseParam(t *testing.T) {
	for _, c := range []struct {
		name string
		in   sdp.Crypto
		mki  string
	}{
		{"cm", line(cm, "inline:"+key30), ""},
		{"gcm 256", line(gcm, "inline:"+key44), ""},
		{"gcm 128", line("AEAD_AES_128_GCM", "inline:"+key28), ""},
		{"gcm without padding", line(gcm, "inline:"+strings.TrimRight(key44, "=")), ""},
		{"lifetime", line(cm, "inline:"+key30+"|2^31"), ""},
		{"lifetime in packets", line(cm, "inline:"+key30+"|1000000"), ""},
		{"lifetime and MKI", line(cm, "inline:"+key30+"|2^20|1:4"), "00000001"},
		{"MKI alone", line(cm, "inline:"+key30+"|258:2"), "0102"},
		{"window hint", line(cm, "inline:"+key30, "WSH=64"), ""},
		{"optional extension", line(cm, "inline:"+key30, "-whatever=1"), ""},
		{"KDR of zero", line(cm, "inline:"+key30, "KDR=0"), ""},
	} {
		p, err := ParseParam(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fmt.Sprintf("%x", p.Key.mki); got != c.mki || p.Tag != 1 || p.Key.Suite.String() != c.in.Suite {
			t.Errorf("%s: tag %d suite %v MKI %s", c.name, p.Tag, p.Key.Suite, got)
		}
	}
}

func TestRefusedParams(t *testing.T) {
	for name, in := range map[string]sdp.Crypto{
		"short tag suite":        line("AES_CM_128_HMAC_SHA1_32", "inline:"+key30),
		"unknown suite":          line("AES_192_CM_HMAC_SHA1_80", "inline:"+key30),
		"no suite":               line("", "inline:"+key30),
		"null cipher":            line("NULL_HMAC_SHA1_80", "inline:"+key30),
		"f8":                     line("F8_128_HMAC_SHA1_80", "inline:"+key30),
		"unencrypted SRTP":       line(cm, "inline:"+key30, "UNENCRYPTED_SRTP"),
		"unencrypted SRTCP":      line(cm, "inline:"+key30, "UNENCRYPTED_SRTCP"),
		"unauthenticated":        line(cm, "inline:"+key30, "WSH=64", "UNAUTHENTICATED_SRTP"),
		"KDR":                    line(cm, "inline:"+key30, "KDR=1"),
		"FEC":                    line(cm, "inline:"+key30, "FEC_ORDER=SRTP_FEC"),
		"unknown session param":  line(cm, "inline:"+key30, "MAGIC"),
		"not inline":             line(cm, "uri:"+key30),
		"nothing":                line(cm, ""),
		"no key":                 line(cm, "inline:"),
		"short key":              line(cm, "inline:"+key30[:36]),
		"long key":               line(cm, "inline:"+key44),
		"cm key for gcm":         line(gcm, "inline:"+key30),
		"no base64":              line(cm, "inline:"+strings.Repeat("*", 40)),
		"very long":              line(cm, "inline:"+strings.Repeat("A", 400)),
		"two keys":               line(cm, "inline:"+key30+"|1:1;inline:"+key30+"|2:1"),
		"too many parts":         line(cm, "inline:"+key30+"|2^20|1:4|x"),
		"MKI first":              line(cm, "inline:"+key30+"|1:4|2^20"),
		"two lifetimes":          line(cm, "inline:"+key30+"|2^20|2^20"),
		"lifetime exponent":      line(cm, "inline:"+key30+"|2^49"),
		"lifetime no number":     line(cm, "inline:"+key30+"|long"),
		"lifetime too large":     line(cm, "inline:"+key30+"|281474976710657"),
		"lifetime of seconds":    line(cm, "inline:"+key30+"|2^6"),
		"lifetime zero":          line(cm, "inline:"+key30+"|0"),
		"lifetime empty":         line(cm, "inline:"+key30+"||1:4"),
		"MKI length 0":           line(cm, "inline:"+key30+"|1:0"),
		"MKI length 128":         line(cm, "inline:"+key30+"|1:128"),
		"MKI larger than length": line(cm, "inline:"+key30+"|256:1"),
		"MKI no number":          line(cm, "inline:"+key30+"|x:1"),
	} {
		p, err := ParseParam(in)
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if err != nil && strings.Contains(err.Error(), key30[:8]) {
			t.Errorf("%s: the key is in %q", name, err)
		}
	}
}

func TestLineReadsBack(t *testing.T) {
	for s := AESCM128HMACSHA180; s <= AEADAES256GCM; s++ {
		k, err := NewKey(s, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseParam(Param{7, k}.Line())
		if err != nil || !p.Key.Equal(k) || p.Tag != 7 {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func TestKeyNeverPrints(t *testing.T) {
	p, err := ParseParam(line(cm, "inline:"+key30))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", p.Key, "param", p)
	js, _ := json.Marshal(p)
	out := fmt.Sprintf("%v %+v %#v %s %x %q %d %v %x", p.Key, p, p, p.Key, p.Key, p.Key, p.Key, *p.Key, *p.Key) + log.String() + string(js)
	for _, secret := range []string{"d0Rm", "wDfv", "77446676", "119 68 102"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q in %s", secret, out)
		}
	}
}

func TestWipe(t *testing.T) {
	k, _ := NewKey(AEADAES256GCM, rand.Reader)
	c := k.Clone()
	master, salt := k.master, k.salt
	k.Wipe()
	k.Wipe()
	(*Key)(nil).Wipe()
	for _, b := range append(append([]byte{}, master...), salt...) {
		if b != 0 {
			t.Fatal("key bytes are left")
		}
	}
	if k.Equal(k) || k.Equal(c) || k.Equal(nil) || !c.Equal(c.Clone()) {
		t.Error("equality after wiping")
	}
	if _, err := NewReceiver(k); err == nil {
		t.Error("a wiped key makes a context")
	}
	if _, err := NewSender(k); err == nil {
		t.Error("a wiped key makes a context")
	}
}

func TestNoRandomNoKey(t *testing.T) {
	if _, err := NewKey(AEADAES256GCM, strings.NewReader("short")); err == nil {
		t.Error("a key came out of five bytes")
	}
}

// FuzzParseParam: nothing panics, and what is accepted has a key of the right size that can be used.
func FuzzParseParam(f *testing.F) {
	f.Add(cm, "inline:"+key30+"|2^20|1:4", "WSH=64")
	f.Add(gcm, "inline:"+key44, "")
	f.Add(cm, "inline:"+key30+"|2^20|1:4;inline:x", "UNENCRYPTED_SRTP")
	f.Fuzz(func(t *testing.T, suite, params, session string) {
		p, err := ParseParam(sdp.Crypto{Tag: 1, Suite: suite, KeyParams: params, SessionParams: strings.Fields(session)})
		if err != nil {
			return
		}
		if strings.Contains(session, "UN") && !strings.Contains(session, "-") && !strings.Contains(session, "WSH=") {
			t.Fatalf("session parameters %q accepted", session)
		}
		if _, err := NewReceiver(p.Key); err != nil {
			t.Fatal(err)
		}
	})
}
