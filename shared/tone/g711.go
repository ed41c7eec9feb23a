// Package tone makes and measures sounds in G.711: the exchange plays them, and every test that claims that audio arrived
// measures it.
package tone

import "fmt"

// Law is one of the two companding laws of ITU-T G.711.
type Law uint8

// The laws, with their static RTP payload types (RFC 3551 §6).
const (
	MuLaw Law = 0 // PCMU
	ALaw  Law = 8 // PCMA
)

// Rate is G.711's number of samples a second.
const Rate = 8000

// String is the encoding's name in SDP.
func (l Law) String() string {
	switch l {
	case MuLaw:
		return "PCMU"
	case ALaw:
		return "PCMA"
	}
	return fmt.Sprintf("law(%d)", uint8(l))
}

// Silence is the law's code for no sound.
func (l Law) Silence() byte {
	if l == ALaw {
		return 0xd5
	}
	return 0xff
}

// Encode appends the codes of 16-bit linear samples to dst.
func (l Law) Encode(dst []byte, pcm []int16) []byte {
	encode := EncodeMuLaw
	if l == ALaw {
		encode = EncodeALaw
	}
	for _, s := range pcm {
		dst = append(dst, encode(s))
	}
	return dst
}

// Decode appends the 16-bit linear samples of codes to dst.
func (l Law) Decode(dst []int16, codes []byte) []int16 {
	decode := DecodeMuLaw
	if l == ALaw {
		decode = DecodeALaw
	}
	for _, c := range codes {
		dst = append(dst, decode(c))
	}
	return dst
}

const (
	muBias = 33 << 2 // G.711 §3: 33 in 14-bit units
	muClip = 32635
)

// EncodeMuLaw returns the μ-law code of a 16-bit linear sample.
func EncodeMuLaw(s int16) byte {
	v, sign := int(s), byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, muClip) + muBias
	segment := 7
	for mask := 0x4000; v&mask == 0; mask >>= 1 { // ends: the bias sets bit 7 at the least
		segment--
	}
	mantissa := byte(v>>(segment+3)) & 0x0f
	return ^(sign | byte(segment)<<4 | mantissa)
}

// DecodeMuLaw returns the 16-bit linear sample of a μ-law code.
func DecodeMuLaw(c byte) int16 {
	c = ^c
	v := (int(c&0x0f)<<3+muBias)<<(c>>4&7) - muBias
	if c&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

// EncodeALaw returns the A-law code of a 16-bit linear sample.
func EncodeALaw(s int16) byte {
	v, sign := int(s)>>3, byte(0x80) // 13 bits; the arithmetic shift makes -1 the mirror of 0
	if v < 0 {
		v, sign = -v-1, 0
	}
	segment := 0
	for x := v >> 5; x > 0; x >>= 1 {
		segment++
	}
	mantissa := byte(v>>1) & 0x0f
	if segment > 0 {
		mantissa = byte(v>>segment) & 0x0f
	}
	return (sign | byte(segment)<<4 | mantissa) ^ 0x55 // G.711 §3: even bits are inverted
}

// DecodeALaw returns the 16-bit linear sample of an A-law code.
func DecodeALaw(c byte) int16 {
	c ^= 0x55
	v := int(c&0x0f)<<4 + 8
	if segment := c >> 4 & 7; segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if c&0x80 == 0 {
		v = -v
	}
	return int16(v)
}
