package transport

import (
	"crypto/x509"
	"net/url"
	"slices"
	"testing"
)

// TestPeerNames: RFC 5922 §7.1.
func TestPeerNames(t *testing.T) {
	uri := func(list ...string) (out []*url.URL) {
		for _, s := range list {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, u)
		}
		return out
	}
	for _, c := range []struct {
		name string
		cert x509.Certificate
		want []string
	}{
		{"nothing", x509.Certificate{}, nil},
		{"DNS names", x509.Certificate{DNSNames: []string{"GW.Example.com", "*.example.net", "a.example."}}, []string{"gw.example.com", "*.example.net", "a.example"}},
		{"a SIP domain beats them", x509.Certificate{DNSNames: []string{"host.example.com"}, URIs: uri("sip:Example.com")}, []string{"example.com"}},
		{"port and parameters", x509.Certificate{URIs: uri("sip:a.example:5061", "sip:b.example;transport=tls", "sip:c.example?x=y")}, []string{"a.example", "b.example", "c.example"}},
		{"users are no domains", x509.Certificate{DNSNames: []string{"h"}, URIs: uri("sip:alice@example.com", "sips:example.com", "https://example.com", "sip://example.com")}, []string{"h"}},
	} {
		if got := peerNames(&c.cert); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
