package keying

import "fmt"

// ExportLabel is the label under which DTLS-SRTP exports its keys (RFC 5764 §4.2).
const ExportLabel = "EXTRACTOR-dtls_srtp"

// ExportLength is how many bytes are exported for a suite.
func (s Suite) ExportLength() int { return 2 * (s.keyLen() + s.saltLen()) }

// FromExport cuts what DTLS exported into the keys that client and server send with (RFC 5764 §4.2). It wipes material.
func FromExport(s Suite, material []byte) (client, server *Key, err error) {
	defer clear(material)
	if s == None || len(material) != s.ExportLength() {
		return nil, nil, fmt.Errorf("%d bytes were exported for suite %s", len(material), s)
	}
	rest := material
	next := func(n int) []byte {
		b := append([]byte(nil), rest[:n]...)
		rest = rest[n:]
		return b
	}
	client, server = &Key{Suite: s}, &Key{Suite: s}
	client.master, server.master = next(s.keyLen()), next(s.keyLen())
	client.salt, server.salt = next(s.saltLen()), next(s.saltLen())
	return client, server, nil
}
