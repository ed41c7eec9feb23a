package b2bua

import (
	"net/netip"

	"brickhouse/shared/verdict"
)

// MediaSide is what one side of a call sent, got and heard.
type MediaSide struct {
	Side       string                    `json:"side"` // "a" or "b"
	Remote     netip.AddrPort            `json:"remote,omitzero"`
	Crypto     string                    `json:"crypto,omitempty"` // SRTP suite; empty: plain RTP
	PacketsIn  uint64                    `json:"packets_in"`       // RTP from it
	PacketsOut uint64                    `json:"packets_out"`      // RTP to it
	InKernel   uint64                    `json:"in_kernel"`        // of PacketsIn, sent on by the kernel
	Dropped    map[verdict.Reason]uint64 `json:"dropped,omitempty"`

	// How it hears the other side, by its own RTCP reports. Reports 0: it sent none, and nothing else is known.
	Reports     uint64  `json:"reports"`
	Loss        float64 `json:"loss"`          // mean share of packets that it missed, 0 to 1
	JitterMS    float64 `json:"jitter_ms"`     // mean
	RoundTripMS float64 `json:"round_trip_ms"` // between us and it; 0: not known
	MOS         float64 `json:"mos,omitempty"` // estimate, 1 to 4.5
}
