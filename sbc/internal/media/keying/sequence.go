package keying

// sentWindow is how many packets back a late one may still be sent; as large as the far side's replay window needs to be.
const sentWindow = 64

// restartAfter is how many refused packets in sequence make a restarted source out of a late or copied packet
// (RFC 3550 §A.1 has two; one more costs 20 ms).
const restartAfter = 3

// sequence maps the sequence numbers of one source to those that we send, so that under one key no number is ever used twice:
// not for a packet that the network doubled, not for one that somebody forged, and not when a phone starts counting anew with
// the same SSRC. With AES-GCM a repeated index would give the key's authentication away (RFC 7714 §11.1).
//
// It counts in 48 bits as the cipher does, from a first number that is never late in its 16-bit range: a receiver that
// misses the first packets across a rollover would guess the counter wrong for ever (RFC 3711 §3.3.1).
type sequence struct {
	started bool
	offset  uint16 // sent number − source's number
	highest uint64 // last and highest index sent
	first   uint64 // lowest index that may be sent
	sent    uint64 // bit n: highest−n was sent
	next    uint16 // the number that would follow the last refused one
	refused int    // refused packets in sequence
}

// start is called for the first packet under a key. want is the number it would like to have.
func (s *sequence) start(seq, want uint16) uint16 {
	s.started = true
	s.offset = want - seq
	s.highest, s.first, s.sent = uint64(want), uint64(want), 1
	return want
}

// accept returns the number to send seq with, or false if it must not be sent.
func (s *sequence) accept(seq uint16) (uint16, bool) {
	out := seq + s.offset
	ahead := int16(out - uint16(s.highest))
	if ahead > 0 {
		s.highest += uint64(ahead)
		s.sent = s.sent<<uint(ahead) | 1
		s.refused = 0
		return out, true
	}
	back := uint64(-int32(ahead))
	if back < sentWindow && s.highest-s.first >= back && s.sent&(1<<back) == 0 {
		s.sent |= 1 << back
		s.refused = 0
		return out, true
	}
	return s.refuse(seq)
}

// refuse counts refused packets in sequence; enough of them are a source that started anew.
func (s *sequence) refuse(seq uint16) (uint16, bool) {
	if s.refused > 0 && seq == s.next {
		s.refused++
	} else {
		s.refused = 1
	}
	s.next = seq + 1
	if s.refused < restartAfter {
		return 0, false
	}
	s.refused = 0
	s.highest++
	s.sent = s.sent<<1 | 1
	s.offset = uint16(s.highest) - seq
	return uint16(s.highest), true
}
