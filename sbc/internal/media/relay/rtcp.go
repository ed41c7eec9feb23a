package relay

import "encoding/binary"

// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const (
	typeSR    = 200
	typeRR    = 201
	typeSDES  = 202
	typeBYE   = 203
	typeRTPFB = 205
	typePSFB  = 206
)

const cnameItem = 1 // RFC 3550 §6.5.1

// rebuildRTCP appends to dst a compound packet that says the same as b as far as the other side may know it: reports and
// feedback are kept; of SDES only the sources, with our CNAME, since phones put addresses and names there; a BYE loses its
// reason; APP and XR are left out. False if b is malformed or the result does not fit dst.
func rebuildRTCP(dst, b, cname []byte) ([]byte, bool) {
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 {
			return nil, false
		}
		size := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if size > len(b) {
			return nil, false
		}
		var ok bool
		if dst, ok = rebuildOne(dst, b[:size], cname); !ok {
			return nil, false
		}
		b = b[size:]
	}
	return dst, true
}

// rebuildOne does it for one packet of the compound. The count in the first byte tells what must be there.
func rebuildOne(dst, p, cname []byte) ([]byte, bool) {
	count := int(p[0] & 0x1f)
	switch p[1] {
	case typeSR:
		return copyPart(dst, p, 28+24*count)
	case typeRR:
		return copyPart(dst, p, 8+24*count)
	case typeBYE:
		return copyPart(dst, p, 4+4*count)
	case typeSDES:
		return rebuildSDES(dst, p, count, cname)
	case typeRTPFB, typePSFB:
		if len(p) < 12 || p[0]&0x20 != 0 {
			return nil, false
		}
		return copyPart(dst, p, len(p))
	}
	return dst, true
}

// copyPart copies the first n bytes of p, n being whole words, and corrects the length and the padding flag.
func copyPart(dst, p []byte, n int) ([]byte, bool) {
	if n > len(p) || len(dst)+n > cap(dst) {
		return nil, false
	}
	at := len(dst)
	dst = append(dst, p[:n]...)
	dst[at] &^= 0x20
	binary.BigEndian.PutUint16(dst[at+2:], uint16(n/4-1))
	return dst, true
}

// rebuildSDES writes one chunk for each of the count sources in p: SSRC, CNAME, end, filled to words (RFC 3550 §6.5).
func rebuildSDES(dst, p []byte, count int, cname []byte) ([]byte, bool) {
	chunk := (4+2+len(cname))/4*4 + 4
	if len(dst)+4+count*chunk > cap(dst) {
		return nil, false
	}
	dst = append(dst, 0x80|byte(count), typeSDES, 0, 0)
	binary.BigEndian.PutUint16(dst[len(dst)-2:], uint16(count*chunk/4))
	p = p[4:]
	for range count {
		n := chunkLen(p)
		if n == 0 {
			return nil, false
		}
		dst = append(dst, p[:4]...)
		dst = append(dst, cnameItem, byte(len(cname)))
		dst = append(dst, cname...)
		for range chunk - 6 - len(cname) {
			dst = append(dst, 0)
		}
		p = p[n:]
	}
	return dst, true
}

// chunkLen returns how many bytes the first chunk of p has, 0 if it is cut off.
func chunkLen(p []byte) int {
	if len(p) < 8 {
		return 0
	}
	n := 4
	for p[n] != 0 {
		if n+2 > len(p) || n+2+int(p[n+1]) >= len(p) {
			return 0
		}
		n += 2 + int(p[n+1])
	}
	n = (n + 4) / 4 * 4
	if n > len(p) {
		return 0
	}
	return n
}
