package siptest

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"brickhouse/shared/tone"
)

// frameTime is the length of one packet's sound; frameSize is its number of samples.
const (
	frameTime = 20 * time.Millisecond
	frameSize = tone.Rate / 50
)

var errRTP = errors.New("malformed RTP")

// rtpPacket is an RTP packet (RFC 3550 §5.1).
type rtpPacket struct {
	payloadType uint8
	marker      bool
	seq         uint16
	timestamp   uint32
	ssrc        uint32
	payload     []byte
}

// bytes is the packet on the wire: no padding, extension or contributing sources.
func (p rtpPacket) bytes() []byte {
	b := make([]byte, 12, 12+len(p.payload))
	b[0] = 2 << 6
	b[1] = p.payloadType & 0x7f
	if p.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], p.seq)
	binary.BigEndian.PutUint32(b[4:], p.timestamp)
	binary.BigEndian.PutUint32(b[8:], p.ssrc)
	return append(b, p.payload...)
}

// parseRTP reads an RTP packet.
func parseRTP(b []byte) (rtpPacket, error) {
	var p rtpPacket
	if len(b) < 12 || b[0]>>6 != 2 {
		return p, errRTP
	}
	start := 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // header extension
		if len(b) < start+4 {
			return p, errRTP
		}
		start += 4 + 4*int(binary.BigEndian.Uint16(b[start+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 { // padding: its last byte counts it
		end -= int(b[len(b)-1])
		if b[len(b)-1] == 0 {
			return p, errRTP
		}
	}
	if start > end {
		return p, errRTP
	}
	p.payloadType, p.marker = b[1]&0x7f, b[1]&0x80 != 0
	p.seq = binary.BigEndian.Uint16(b[2:])
	p.timestamp = binary.BigEndian.Uint32(b[4:])
	p.ssrc = binary.BigEndian.Uint32(b[8:])
	p.payload = b[start:end]
	return p, nil
}

// RTCP packet types (RFC 3550 §12.1).
const (
	rtcpSR   = 200
	rtcpSDES = 202
	rtcpBYE  = 203
)

// senderReport is a compound packet of a sender report and the obligatory CNAME (RFC 3550 §6.1, §6.4.1).
func senderReport(ssrc uint32, now time.Time, timestamp, packets, octets uint32, cname string) []byte {
	b := make([]byte, 28)
	b[0], b[1], b[3] = 2<<6, rtcpSR, 6
	binary.BigEndian.PutUint32(b[4:], ssrc)
	const ntpEpoch = 2208988800 // seconds from 1900 to 1970
	binary.BigEndian.PutUint32(b[8:], uint32(now.Unix()+ntpEpoch))
	binary.BigEndian.PutUint32(b[12:], uint32((uint64(now.Nanosecond())<<32)/1e9))
	binary.BigEndian.PutUint32(b[16:], timestamp)
	binary.BigEndian.PutUint32(b[20:], packets)
	binary.BigEndian.PutUint32(b[24:], octets)
	if len(cname) > 255 {
		cname = cname[:255]
	}
	item := append([]byte{1, byte(len(cname))}, cname...)
	item = append(item, make([]byte, 4-len(item)%4)...) // ends with at least one null
	sdes := make([]byte, 8, 8+len(item))
	sdes[0], sdes[1] = 2<<6|1, rtcpSDES
	binary.BigEndian.PutUint16(sdes[2:], uint16(1+len(item)/4))
	binary.BigEndian.PutUint32(sdes[4:], ssrc)
	return append(b, append(sdes, item...)...)
}

// isRTCP reports whether a packet is a well-formed compound RTCP packet (RFC 3550 §A.2).
func isRTCP(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || b[1] < 200 || b[1] > 207 {
			return false
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// ringFrames is how many frames the ring keeps: 20 s.
const ringFrames = 1000

// frame is the sound of one packet.
type frame struct {
	at        time.Time
	ssrc      uint32
	timestamp uint32
	pcm       []int16
}

// ring keeps the sound that arrived last. The zero value is ready; it may be used by several goroutines.
type ring struct {
	mu     sync.Mutex
	frames [ringFrames]frame
	next   int
	count  int
}

func (r *ring) add(f frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames[r.next] = f
	r.next = (r.next + 1) % ringFrames
	r.count = min(r.count+1, ringFrames)
}

// since is the sound of the newest stream that arrived at or after a time, laid out by its timestamps: what was lost is
// silence, what came out of order stands in its place.
func (r *ring) since(t time.Time) []int16 {
	r.mu.Lock()
	var frames []frame
	for i := range r.count {
		f := r.frames[(r.next-1-i+ringFrames)%ringFrames] // newest first
		if f.at.Before(t) {
			break
		}
		if len(frames) == 0 || f.ssrc == frames[0].ssrc {
			frames = append(frames, f)
		}
	}
	r.mu.Unlock()
	if len(frames) == 0 {
		return nil
	}
	newest := frames[0].timestamp
	slices.SortStableFunc(frames, func(a, b frame) int { return int(int32(a.timestamp-newest)) - int(int32(b.timestamp-newest)) })
	first := frames[0].timestamp
	var out []int16
	for _, f := range frames {
		at := int(int32(f.timestamp - first))
		if at > ringFrames*frameSize {
			break // the sender's clock jumped
		}
		if end := at + len(f.pcm); end > len(out) {
			out = append(out, make([]int16, end-len(out))...)
		}
		copy(out[at:], f.pcm)
	}
	return out
}
