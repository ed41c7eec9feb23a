package keying

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"brickhouse/shared/sdp"
)

// ErrRefused says that an a=crypto line is well-formed or not, but not one that we use. The text says why, never the key.
var ErrRefused = errors.New("crypto line refused")

// maxMKI bounds the master key identifier in bytes; RFC 4568 §6.1 allows 128, no phone needs them.
const maxMKI = 8

// Param is an a=crypto line understood.
type Param struct {
	Tag uint32
	Key *Key
}

// ParseParam reads an a=crypto line as a stranger sent it. Every error wraps ErrRefused.
func ParseParam(c sdp.Crypto) (Param, error) {
	suite, err := ParseSuite(c.Suite)
	if err != nil {
		return Param{}, fmt.Errorf("%w: tag %d: %w", ErrRefused, c.Tag, err)
	}
	if err := checkSessionParams(c.SessionParams); err != nil {
		return Param{}, fmt.Errorf("%w: tag %d: %w", ErrRefused, c.Tag, err)
	}
	key, err := parseInline(suite, c.KeyParams)
	if err != nil {
		return Param{}, fmt.Errorf("%w: tag %d: %w", ErrRefused, c.Tag, err)
	}
	return Param{c.Tag, key}, nil
}

// checkSessionParams lets pass what changes nothing for us. UNENCRYPTED_SRTP, UNENCRYPTED_SRTCP and UNAUTHENTICATED_SRTP would open
// what SRTP closes; KDR and FEC_ORDER we do not do; what nobody knows must not be accepted (RFC 4568 §6.3.7).
func checkSessionParams(params []string) error {
	for _, p := range params {
		switch {
		case strings.HasPrefix(p, "-"): // RFC 4568 §6.3.7: optional by the writer's own word
		case strings.HasPrefix(p, "WSH="): // RFC 4568 §6.3.6: a hint for the replay window
		case p == "KDR=0":
		default:
			name, _, _ := strings.Cut(p, "=")
			return fmt.Errorf("session parameter %.32q is not accepted", name)
		}
	}
	return nil
}

// parseInline reads inline:base64["|"lifetime]["|"MKI:length] (RFC 4568 §6.1).
func parseInline(suite Suite, s string) (*Key, error) {
	s, ok := strings.CutPrefix(s, "inline:")
	if !ok {
		return nil, errors.New("key method is not inline")
	}
	if strings.Contains(s, ";") {
		return nil, errors.New("several keys in one line are not supported")
	}
	parts := strings.Split(s, "|")
	if len(parts) > 3 {
		return nil, errors.New("too many key parameters")
	}
	b, err := decodeKey(parts[0])
	if err != nil || len(b) != suite.keyLen()+suite.saltLen() {
		clear(b)
		return nil, fmt.Errorf("key is not %d bytes of base64", suite.keyLen()+suite.saltLen())
	}
	key := &Key{Suite: suite, master: b[:suite.keyLen():suite.keyLen()], salt: b[suite.keyLen():]}
	for i, p := range parts[1:] {
		if strings.Contains(p, ":") {
			if i != len(parts)-2 {
				return nil, errors.New("MKI is not the last key parameter")
			}
			if key.mki, err = parseMKI(p); err != nil {
				return nil, err
			}
			continue
		}
		if i > 0 {
			return nil, errors.New("two lifetimes")
		}
		if err := checkLifetime(p); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// decodeKey takes base64 with and, as some phones write it, without padding.
func decodeKey(s string) ([]byte, error) {
	if len(s) > 128 {
		return nil, errors.New("too long")
	}
	if strings.HasSuffix(s, "=") {
		return base64.StdEncoding.Strict().DecodeString(s)
	}
	return base64.RawStdEncoding.Strict().DecodeString(s)
}

// checkLifetime reads 2^n or a number of packets, at most 2^48 (RFC 4568 §6.1). The key's owner must change it in time; we need only
// know that it is none that is spent at once.
func checkLifetime(s string) error {
	exponent := 0
	if e, ok := strings.CutPrefix(s, "2^"); ok {
		n, err := strconv.ParseUint(e, 10, 8)
		if err != nil || n > 48 {
			return errors.New("lifetime is not 2^0 to 2^48")
		}
		exponent = int(n)
	} else {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n > 1<<48 {
			return errors.New("lifetime is no number of packets")
		}
		exponent = bits.Len64(n) - 1
	}
	if exponent < 16 { // 2^16 packets of 20 ms: 22 minutes
		return errors.New("lifetime is too short for a call")
	}
	return nil
}

// parseMKI reads value:length and returns the bytes that packets carry.
func parseMKI(s string) ([]byte, error) {
	value, length, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(length, 10, 8)
	if err != nil || n == 0 || n > maxMKI {
		return nil, fmt.Errorf("MKI length is not 1 to %d", maxMKI)
	}
	v, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < 8 && v>>(8*n) != 0 {
		return nil, errors.New("MKI does not fit its length")
	}
	mki := make([]byte, n)
	for i := range mki {
		mki[len(mki)-1-i] = byte(v >> (8 * i))
	}
	return mki, nil
}

// Line writes the a=crypto line that offers or answers a key of ours. We use no MKI and the default lifetime.
func (p Param) Line() sdp.Crypto {
	b := make([]byte, 0, 64)
	b = append(append(b, p.Key.master...), p.Key.salt...)
	defer clear(b)
	return sdp.Crypto{
		Tag:       p.Tag,
		Suite:     p.Key.Suite.String(),
		KeyParams: "inline:" + base64.StdEncoding.EncodeToString(b),
	}
}
