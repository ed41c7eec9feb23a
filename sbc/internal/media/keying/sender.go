package keying

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// maxSources bounds how many SSRCs are sent under one key; each costs memory for as long as the key lives.
const maxSources = 256

// Why a packet was not protected.
var (
	ErrRepeated = errors.New("packet's number was sent before")
	ErrSources  = errors.New("too many sources under one key")
	errHeader   = errors.New("header is too short")
)

// lateStart is the part of the 16-bit range in which a new key's first number must not be, see sequence.
const lateStart = 0xfc00

// Sender protects what we send with one key of ours, and with nobody else's. It must be kept as long as the key is.
//
// SealRTP and Inherit belong to one goroutine. SealRTCP may be called from any.
type Sender struct {
	suite   Suite
	rtp     *srtp.Context
	header  rtp.Header
	sources map[uint32]*sequence

	mu         sync.Mutex
	rtcp       *srtp.Context
	rtcpHeader rtcp.Header
	ssrcs      map[uint32]struct{} // seen in RTCP
}

// NewSender makes the sending half of a context.
func NewSender(k *Key) (*Sender, error) {
	s := &Sender{suite: k.Suite, sources: make(map[uint32]*sequence, 2), ssrcs: make(map[uint32]struct{}, 2)}
	var err error
	if s.rtp, err = srtp.CreateContext(k.master, k.salt, k.Suite.profile()); err != nil {
		return nil, fmt.Errorf("making an SRTP context: %w", err)
	}
	if s.rtcp, err = srtp.CreateContext(k.master, k.salt, k.Suite.profile()); err != nil {
		return nil, fmt.Errorf("making an SRTCP context: %w", err)
	}
	return s, nil
}

// Suite returns the suite.
func (s *Sender) Suite() Suite { return s.suite }

// Inherit takes over how the sender of the key before this one numbered its sources, so that a new key makes no
// jump in the numbers that the far side's player sees. What this one has numbered itself, it goes on with; nil is allowed.
func (s *Sender) Inherit(from *Sender) {
	if from == nil {
		return
	}
	for ssrc, q := range from.sources {
		if q.started && s.sources[ssrc] == nil {
			s.sources[ssrc] = &sequence{offset: q.offset}
		}
	}
}

// SealRTP encrypts a packet in place and returns it with its tag. pkt needs room for MaxOverhead more bytes. The caller has
// checked the RTP header; its sequence number may be changed, see sequence.
func (s *Sender) SealRTP(pkt []byte) ([]byte, error) {
	if len(pkt) < 12 {
		return nil, errHeader
	}
	ssrc, seq := binary.BigEndian.Uint32(pkt[8:]), binary.BigEndian.Uint16(pkt[2:])
	out, err := s.number(ssrc, seq)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(pkt[2:], out)
	sealed, err := s.rtp.EncryptRTP(pkt[:0], pkt, &s.header)
	if err != nil {
		return nil, fmt.Errorf("protecting RTP: %w", err)
	}
	return sealed, nil
}

func (s *Sender) number(ssrc uint32, seq uint16) (uint16, error) {
	q := s.sources[ssrc]
	switch {
	case q == nil:
		if len(s.sources) >= maxSources {
			return 0, ErrSources
		}
		q = new(sequence)
		s.sources[ssrc] = q
		return q.start(seq, seq&0x7fff), nil // a new source: RFC 3711 §3.3.1 likes a number below 2^15
	case !q.started:
		want := seq + q.offset
		if want >= lateStart {
			want = 0
		}
		return q.start(seq, want), nil
	}
	out, ok := q.accept(seq)
	if !ok {
		return 0, ErrRepeated
	}
	return out, nil
}

// SealRTCP encrypts a compound RTCP packet in place and returns it with index and tag. pkt needs room for MaxOverhead more bytes.
func (s *Sender) SealRTCP(pkt []byte) ([]byte, error) {
	if len(pkt) < 8 {
		return nil, errHeader
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	if _, known := s.ssrcs[ssrc]; !known {
		if len(s.ssrcs) >= maxSources {
			return nil, ErrSources
		}
		s.ssrcs[ssrc] = struct{}{}
	}
	sealed, err := s.rtcp.EncryptRTCP(pkt[:0], pkt, &s.rtcpHeader)
	if err != nil {
		return nil, fmt.Errorf("protecting RTCP: %w", err)
	}
	return sealed, nil
}
