package keying

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Key is a master key with its salt, for one direction of one session. It prints as nothing.
type Key struct {
	Suite  Suite
	master []byte
	salt   []byte
	mki    []byte // nil: packets carry none
}

// NewKey draws a key for a suite.
func NewKey(s Suite, random io.Reader) (*Key, error) {
	b := make([]byte, s.keyLen()+s.saltLen())
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("drawing an SRTP key: %w", err)
	}
	return &Key{Suite: s, master: b[:s.keyLen()], salt: b[s.keyLen():]}, nil
}

// Equal reports, in constant time, whether both are the same key, salt, suite and MKI. Nil equals nothing.
func (k *Key) Equal(o *Key) bool {
	if k == nil || o == nil || k.Suite != o.Suite || len(k.master) == 0 {
		return false
	}
	same := subtle.ConstantTimeCompare(k.master, o.master) & subtle.ConstantTimeCompare(k.salt, o.salt)
	return same&subtle.ConstantTimeCompare(k.mki, o.mki) == 1
}

// Clone returns a copy that is wiped on its own.
func (k *Key) Clone() *Key {
	c := &Key{Suite: k.Suite}
	c.master = append(c.master, k.master...)
	c.salt = append(c.salt, k.salt...)
	c.mki = append(c.mki, k.mki...)
	return c
}

// Wipe overwrites the key; it can't be used any more. Nil is allowed.
func (k *Key) Wipe() {
	if k == nil {
		return
	}
	clear(k.master[:cap(k.master)])
	clear(k.salt[:cap(k.salt)])
	k.master, k.salt = nil, nil
}

// String hides the key.
func (k Key) String() string { return "[key]" }

// Format hides the key from every verb of package fmt.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[key]") }

// LogValue hides the key from logs.
func (k Key) LogValue() slog.Value { return slog.StringValue("[key]") }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte("[key]"), nil }
