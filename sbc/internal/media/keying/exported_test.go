package keying

import (
	"bytes"
	"testing"
)

// The order is that of RFC 5764 §4.2: both keys, then both salts, the client's before the server's.
func TestFromExport(t *testing.T) {
	for _, s := range []Suite{AESCM128HMACSHA180, AEADAES128GCM, AEADAES256GCM} {
		b := make([]byte, s.ExportLength())
		for i := range b {
			b[i] = byte(i + 1)
		}
		want := bytes.Clone(b)
		client, server, err := FromExport(s, b)
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.Join([][]byte{client.master, server.master, client.salt, server.salt}, nil)
		if !bytes.Equal(got, want) || len(client.master) != s.keyLen() || len(server.salt) != s.saltLen() {
			t.Errorf("%s: %x", s, got)
		}
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: the exported bytes are not wiped", s)
		}
		if _, _, err := FromExport(s, want[1:]); err == nil {
			t.Errorf("%s: a byte is missing", s)
		}
	}
	if _, _, err := FromExport(None, nil); err == nil {
		t.Error("keys for no suite")
	}
}
