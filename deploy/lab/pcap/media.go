package pcap

import (
	"encoding/binary"
	"net/netip"

	"brickhouse/shared/tone"
)

// RTP is the header of an RTP packet (RFC 3550 §5.1) and its payload. SRTP looks the same: only the payload tells.
type RTP struct {
	PayloadType byte
	Marker      bool
	Seq         uint16
	Timestamp   uint32
	SSRC        uint32
	Payload     []byte
}

// ParseRTP reads a UDP payload as RTP or SRTP. False if it cannot be either.
func ParseRTP(b []byte) (RTP, bool) {
	if len(b) < 12 || b[0]>>6 != 2 || b[1] >= 192 && b[1] <= 223 { // RFC 5761 §4: that is RTCP
		return RTP{}, false
	}
	head := 12 + 4*int(b[0]&15)
	if b[0]&0x10 != 0 { // extension
		if len(b) < head+4 {
			return RTP{}, false
		}
		head += 4 + 4*int(binary.BigEndian.Uint16(b[head+2:]))
	}
	if len(b) < head {
		return RTP{}, false
	}
	return RTP{
		PayloadType: b[1] & 0x7f, Marker: b[1]&0x80 != 0,
		Seq: binary.BigEndian.Uint16(b[2:]), Timestamp: binary.BigEndian.Uint32(b[4:]), SSRC: binary.BigEndian.Uint32(b[8:]),
		Payload: b[head:],
	}, true
}

// InClear tells whether a UDP payload is RTP whose audio anybody can hear, and why we think so. Encrypted bytes are
// noise: no value is frequent and, heard as μ-law or A-law, no moment resembles the one before. Sound is neither:
// silence repeats one code, and a tone or a voice resembles itself one period later.
func InClear(b []byte) (why string, clear bool) {
	r, ok := ParseRTP(b)
	if !ok || len(r.Payload) < 80 { // 10 ms at least; shorter pieces say too little
		return "", false
	}
	sound := r.Payload[:min(len(r.Payload), 160)] // without a tag that SRTP may have added
	if share(sound) > 0.5 {
		return "one code fills the packet (silence)", true
	}
	for _, law := range []tone.Law{tone.MuLaw, tone.ALaw} {
		if periodicity(law.Decode(nil, sound)) > 0.85 {
			return "periodic sound as " + law.String(), true
		}
	}
	return "", false
}

// share is how much of b its most frequent value takes, 0 to 1.
func share(b []byte) float64 {
	var count [256]int
	most := 0
	for _, c := range b {
		count[c]++
		most = max(most, count[c])
	}
	return float64(most) / float64(len(b))
}

// periodicity is the highest normalised autocorrelation over the lags of 150 Hz to 4 kHz, at most 1.
func periodicity(pcm []int16) float64 {
	best := 0.0
	for lag := 2; lag <= min(53, len(pcm)/2); lag++ {
		var ab, aa, bb float64
		for i := lag; i < len(pcm); i++ {
			a, b := float64(pcm[i]), float64(pcm[i-lag])
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		// A few loud samples must not decide: they would with the wide range of companded noise.
		if aa > 0 && bb > 0 && ab > 0 {
			best = max(best, ab*ab/(aa*bb))
		}
	}
	return best
}

// RTCPInClear tells whether a UDP payload is a compound RTCP packet whose lengths add up exactly (RFC 3550 §6.1,
// appendix A.2) and which holds more than the first, never encrypted, header. In SRTCP everything after the first
// eight bytes is noise and at least fourteen bytes follow (RFC 3711 §3.4).
func RTCPInClear(b []byte) bool {
	n := 0
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || b[1] < 192 || b[1] > 223 {
			return false
		}
		size := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			return false
		}
		b = b[size:]
		n++
	}
	return n > 0
}

// Flow is one direction of RTP between two ports.
type Flow struct {
	Src, Dst netip.AddrPort
	SSRC     uint32
	Packets  int
	Clear    int    // packets whose sound anybody can hear
	Why      string // the first reason
	Types    map[byte]int
}

// Flows gathers the packets that look like RTP or SRTP and whose UDP ports both are at least 1024, by direction and SSRC.
// A flow of fewer than five packets is a chance resemblance and left out.
func Flows(packets []Packet) []Flow {
	type key struct {
		src, dst netip.AddrPort
		ssrc     uint32
	}
	at := map[key]int{}
	var all []Flow
	for i := range packets {
		p := &packets[i]
		if p.Proto != UDP || p.Src.Port() < 1024 || p.Dst.Port() < 1024 {
			continue
		}
		r, ok := ParseRTP(p.Payload)
		if !ok {
			continue
		}
		k := key{p.Src, p.Dst, r.SSRC}
		j, seen := at[k]
		if !seen {
			j = len(all)
			at[k] = j
			all = append(all, Flow{Src: p.Src, Dst: p.Dst, SSRC: r.SSRC, Types: map[byte]int{}})
		}
		all[j].count(r, p.Payload)
	}
	kept := all[:0]
	for _, f := range all {
		if f.Packets >= 5 {
			kept = append(kept, f)
		}
	}
	return kept
}

func (f *Flow) count(r RTP, payload []byte) {
	f.Packets++
	f.Types[r.PayloadType]++
	if why, clear := InClear(payload); clear {
		f.Clear++
		if f.Why == "" {
			f.Why = why
		}
	}
}
