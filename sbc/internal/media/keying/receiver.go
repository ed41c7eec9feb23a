package keying

import (
	"errors"
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// replayWindow is how many packets back a late one is still taken (RFC 3711 §3.3.2 asks for 64 at least).
const replayWindow = 128

// Why a packet was not opened. They never say more, so that refusing costs little.
var (
	ErrAuth   = errors.New("packet is not authentic")
	ErrReplay = errors.New("packet was here before or is too old")
	ErrShort  = errors.New("packet is too short for SRTP")
	ErrPlain  = errors.New("SRTCP packet is not encrypted")
)

// Receiver opens what the far side protected with one key. It keeps the rollover counter and the replay window of each
// source, so it must be kept as long as the key is.
//
// OpenRTP belongs to one goroutine. OpenRTCP may be called from any: RTCP can come in on two sockets.
type Receiver struct {
	suite  Suite
	mkiLen int
	rtp    *srtp.Context
	header rtp.Header // reused: with one of its own pion allocates

	mu         sync.Mutex
	rtcp       *srtp.Context
	rtcpHeader rtcp.Header
}

// NewReceiver makes the receiving half of a context.
func NewReceiver(k *Key) (*Receiver, error) {
	opts := []srtp.ContextOption{srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)}
	if len(k.mki) > 0 {
		opts = append(opts, srtp.MasterKeyIndicator(k.mki))
	}
	r := &Receiver{suite: k.Suite, mkiLen: len(k.mki)}
	var err error
	if r.rtp, err = srtp.CreateContext(k.master, k.salt, k.Suite.profile(), opts...); err != nil {
		return nil, fmt.Errorf("making an SRTP context: %w", err)
	}
	if r.rtcp, err = srtp.CreateContext(k.master, k.salt, k.Suite.profile(), opts...); err != nil {
		return nil, fmt.Errorf("making an SRTCP context: %w", err)
	}
	return r, nil
}

// Suite returns the suite.
func (r *Receiver) Suite() Suite { return r.suite }

// OpenRTP authenticates and decrypts a packet in place and returns the plain packet, which shares pkt's memory. The
// caller has checked the RTP header. After an error pkt's content is undefined.
func (r *Receiver) OpenRTP(pkt []byte) ([]byte, error) {
	out, err := r.rtp.DecryptRTP(pkt[:0], pkt, &r.header)
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// OpenRTCP is OpenRTP for SRTCP. A packet without the encryption flag is refused even if it is authentic.
func (r *Receiver) OpenRTCP(pkt []byte) ([]byte, error) {
	before, after := r.suite.trailer()
	flag := len(pkt) - after - r.mkiLen - 4
	if flag-before < 8 {
		return nil, ErrShort
	}
	if pkt[flag]&0x80 == 0 { // RFC 3711 §3.4: E flag
		return nil, ErrPlain
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out, err := r.rtcp.DecryptRTCP(pkt[:0], pkt, &r.rtcpHeader)
	if err != nil {
		return nil, refusal(err)
	}
	return out, nil
}

// refusal maps pion's errors: what is neither a wrong tag nor an unknown MKI was seen before, since the form is checked already.
func refusal(err error) error {
	if errors.Is(err, srtp.ErrFailedToVerifyAuthTag) || errors.Is(err, srtp.ErrMKINotFound) {
		return ErrAuth
	}
	return ErrReplay
}
