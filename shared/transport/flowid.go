package transport

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
)

// flowIDs makes and reads the identifiers of UDP flows: the local address and the remote address and port, encrypted with
// AES-CTR under a synthetic IV that is also the proof of origin (as in RFC 5297, with HMAC-SHA-256 for S2V). The same
// flow always has the same identifier, nobody else can make one (RFC 5626 §5.2), and it shows no address.
type flowIDs struct {
	mac   []byte
	block cipher.Block
}

const (
	idTag    = 12          // bytes of the synthetic IV kept
	maxIDLen = 128         // characters; the longest has two IPv6 addresses with zones
	udpMark  = byte('u')   // first character of a UDP flow's identifier
	tcpMark  = byte('c')   // first character of a connection's identifier
	maxZone  = 15          // IFNAMSIZ-1
	rawIDMax = idTag + 256 // bytes decoded
)

var idEncoding = base64.RawURLEncoding

// newFlowIDs derives the keys for the interface of that name.
func newFlowIDs(key []byte, name string) (*flowIDs, error) {
	derive := func(use string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte("brickhouse flow id " + use + "\x00" + name))
		return h.Sum(nil)
	}
	block, err := aes.NewCipher(derive("encrypt"))
	if err != nil {
		return nil, fmt.Errorf("making the flow id cipher: %w", err)
	}
	return &flowIDs{mac: derive("mac"), block: block}, nil
}

// seal returns the identifier of the flow from local to remote.
func (d *flowIDs) seal(local netip.Addr, remote netip.AddrPort) string {
	l := local.AsSlice()
	if len(local.Zone()) > maxZone || len(remote.Addr().Zone()) > maxZone {
		remote = netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port())
	}
	r, _ := remote.MarshalBinary() // cannot fail
	out := make([]byte, idTag, idTag+1+len(l)+len(r))
	out = append(out, byte(len(l)))
	out = append(out, l...)
	out = append(out, r...)
	copy(out, d.tag(out[idTag:]))
	d.crypt(out)
	return string(udpMark) + idEncoding.EncodeToString(out)
}

// open reads an identifier that seal made.
func (d *flowIDs) open(id string) (local netip.Addr, remote netip.AddrPort, ok bool) {
	if len(id) < 2 || len(id) > maxIDLen || id[0] != udpMark {
		return local, remote, false
	}
	raw, err := idEncoding.DecodeString(id[1:])
	if err != nil || len(raw) < idTag+1 || len(raw) > rawIDMax {
		return local, remote, false
	}
	d.crypt(raw)
	plain := raw[idTag:]
	if !hmac.Equal(raw[:idTag], d.tag(plain)) {
		return local, remote, false
	}
	n := int(plain[0])
	if len(plain) < 1+n {
		return local, remote, false
	}
	local, ok = netip.AddrFromSlice(plain[1 : 1+n])
	if !ok || remote.UnmarshalBinary(plain[1+n:]) != nil {
		return local, remote, false
	}
	return local, remote, true
}

// tag is the truncated MAC of plain.
func (d *flowIDs) tag(plain []byte) []byte {
	h := hmac.New(sha256.New, d.mac)
	h.Write(plain)
	return h.Sum(nil)[:idTag]
}

// crypt encrypts or decrypts what follows the tag, in place.
func (d *flowIDs) crypt(b []byte) {
	var iv [aes.BlockSize]byte
	copy(iv[:], b[:idTag])
	cipher.NewCTR(d.block, iv[:]).XORKeyStream(b[idTag:], b[idTag:])
}

// newConnID returns a random identifier of 96 bits for a connection.
func newConnID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return string(tcpMark) + idEncoding.EncodeToString(b[:])
}
