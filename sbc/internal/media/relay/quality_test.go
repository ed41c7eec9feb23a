package relay

import (
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// senderReportOf is a sender report with that middle part of its NTP time and one block.
func senderReportOf(mid uint32, block []byte) []byte {
	p := make([]byte, headerSR, headerSR+reportBlock)
	p[0], p[1] = 0x81, typeSR
	binary.BigEndian.PutUint16(p[2:], (headerSR+reportBlock)/4-1)
	binary.BigEndian.PutUint32(p[10:], mid)
	return append(p, block...)
}

// receiverReportOf is a receiver report with these blocks.
func receiverReportOf(blocks ...[]byte) []byte {
	p := []byte{0x80 | byte(len(blocks)), typeRR, 0, 0, 0, 0, 0, 1}
	for _, b := range blocks {
		p = append(p, b...)
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)/4-1))
	return p
}

func block(lost uint8, jitter, lsr, dlsr uint32) []byte {
	b := make([]byte, reportBlock)
	b[4] = lost
	binary.BigEndian.PutUint32(b[12:], jitter)
	binary.BigEndian.PutUint32(b[16:], lsr)
	binary.BigEndian.PutUint32(b[20:], dlsr)
	return b
}

// A sender report of side 1 goes to side 0, which answers it 100 ms later, of which it held it for 75.
func TestQuality(t *testing.T) {
	s, now := &Session{}, time.Unix(1_800_000_000, 0)
	s.learn(1, senderReportOf(0xabcd0123, block(0, 16, 0, 0)), now)
	s.learn(0, receiverReportOf(block(64, 80, 0xabcd0123, 75*65536/1000)), now.Add(100*time.Millisecond))
	s.learn(0, receiverReportOf(block(0, 240, 0, 0)), now.Add(time.Second))
	got := s.hearing[0].quality()
	if got.Reports != 2 || got.Loss != 0.125 || got.Jitter != 160 || (got.RoundTrip-25*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("side 0 hears %+v", got)
	}
	if got = s.hearing[1].quality(); got != (Quality{Reports: 1, Jitter: 16}) {
		t.Errorf("side 1 hears %+v", got)
	}
}

// A report that answers what was never sent, or says that it held it for longer than it can have had it, tells no round trip.
func TestQualityLies(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, b := range map[string][]byte{
		"never sent":   block(0, 0, 0x11111111, 0),
		"held forever": block(0, 0, 0xabcd0123, math.MaxUint32),
		"no answer":    block(0, 0, 0, 0),
	} {
		s := &Session{}
		s.learn(1, senderReportOf(0xabcd0123, block(0, 0, 0, 0)), now)
		s.learn(0, receiverReportOf(b), now.Add(time.Second))
		if got := s.hearing[0].quality(); got.RoundTrip != 0 || got.Reports != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	s := &Session{}
	s.learn(1, senderReportOf(0, block(0, 0, 0, 0)), now)
	s.learn(0, receiverReportOf(block(255, math.MaxUint32, 0, 0)), now.Add(time.Second))
	if got := s.hearing[0].quality(); got.RoundTrip != 0 || got.Loss >= 1 || got.Jitter != math.MaxUint32 {
		t.Errorf("time 0 is answered by 0: %+v", got)
	}
}

// What a peer sent long ago is forgotten: the table of sender reports has a fixed size.
func TestQualityForgets(t *testing.T) {
	s, now := &Session{}, time.Unix(1_800_000_000, 0)
	for i := range uint32(5) {
		s.learn(1, senderReportOf(100+i, block(0, 0, 0, 0)), now)
	}
	s.learn(0, receiverReportOf(block(0, 0, 100, 0)), now.Add(time.Millisecond))
	if got := s.hearing[0].quality().RoundTrip; got != 0 {
		t.Errorf("the oldest is still known: %v", got)
	}
	s.learn(0, receiverReportOf(block(0, 0, 104, 0)), now.Add(time.Millisecond))
	if got := s.hearing[0].quality().RoundTrip; got != time.Millisecond {
		t.Errorf("the last is unknown: %v", got)
	}
}
