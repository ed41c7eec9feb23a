package relay

import "encoding/binary"

// rtpHeader is what the relay needs of an RTP header (RFC 3550 §5.1).
type rtpHeader struct {
	payloadType uint8
	length      int
	padded      bool
}

// readRTP reads the header of a packet, plain or SRTP: it is the same. False if it is no RTP.
func readRTP(b []byte) (rtpHeader, bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return rtpHeader{}, false
	}
	n := 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // RFC 3550 §5.3.1
		if len(b) < n+4 {
			return rtpHeader{}, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	h := rtpHeader{payloadType: b[1] & 0x7f, length: n, padded: b[0]&0x20 != 0}
	return h, n <= len(b)
}

// validPadding reports whether the padding, if any, lies within a plain packet.
func (h rtpHeader) validPadding(b []byte) bool {
	if !h.padded {
		return true
	}
	n := int(b[len(b)-1])
	return n > 0 && n <= len(b)-h.length
}

// looksLikeRTCP tells RTCP from RTP on one port (RFC 5761 §4).
func looksLikeRTCP(b []byte) bool {
	return len(b) >= 2 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223
}
