package pcap

import (
	"net/netip"
	"slices"
)

// Stream is what one side said in one TCP connection, in order.
type Stream struct {
	Src, Dst netip.AddrPort
	Data     []byte
	Gap      bool // a piece is missing: the capture began late or lost packets
}

// maxStream bounds what is put together for one direction of one connection.
const maxStream = 64 << 20

// Streams puts the TCP payloads together. Resent bytes count once; a reused pair of ports begins a new stream at its SYN.
func Streams(packets []Packet) []Stream {
	type key struct{ src, dst netip.AddrPort }
	open := map[key]*segments{}
	var all []*segments
	for i := range packets {
		p := &packets[i]
		if p.Proto != TCP || p.Odd != "" && p.Src.Port() == 0 {
			continue
		}
		k := key{p.Src, p.Dst}
		s := open[k]
		if s == nil || p.Flags&SYN != 0 && p.Seq+1 != s.first {
			s = &segments{src: p.Src, dst: p.Dst, first: p.Seq}
			if p.Flags&SYN != 0 {
				s.first++ // the SYN takes a number, RFC 9293 §3.4
			}
			open[k] = s
			all = append(all, s)
		}
		if len(p.Payload) > 0 {
			s.parts = append(s.parts, p)
		}
	}
	streams := make([]Stream, 0, len(all))
	for _, s := range all {
		streams = append(streams, s.join())
	}
	return streams
}

type segments struct {
	src, dst netip.AddrPort
	first    uint32 // the number of the first byte
	parts    []*Packet
}

// join orders the parts by their distance from the first byte (the numbers wrap around) and lays them side by side.
func (s *segments) join() Stream {
	out := Stream{Src: s.src, Dst: s.dst}
	slices.SortStableFunc(s.parts, func(a, b *Packet) int { return int(int32(a.Seq-s.first)) - int(int32(b.Seq-s.first)) })
	next := 0
	for _, p := range s.parts {
		at, data := int(int32(p.Seq-s.first)), p.Payload
		if at < next { // sent again, wholly or in part
			if at+len(data) <= next {
				continue
			}
			data = data[next-at:]
			at = next
		}
		if at > next {
			out.Gap = true
		}
		if len(out.Data)+len(data) > maxStream {
			out.Gap = true
			return out
		}
		out.Data = append(out.Data, data...)
		next = at + len(data)
	}
	return out
}
