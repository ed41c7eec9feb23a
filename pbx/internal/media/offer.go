package media

import (
	"cmp"
	"net/netip"
	"slices"

	"brickhouse/shared/sdp"
	"brickhouse/shared/tone"
	"brickhouse/shared/verdict"
)

// Offer makes an offer with a new session, for a caller that made none; Session.Accept takes the answer. Errors and onTimeout are
// those of Answer.
func (e *Engine) Offer(act Act, local netip.Addr, onTimeout func()) ([]byte, *Session, error) {
	s, failure := e.open(act, local.Unmap(), onTimeout)
	if failure != nil {
		return nil, nil, failure
	}
	// Until the answer we send nothing, hear nobody, and wait for nothing.
	s.now.Store(&negotiated{law: tone.MuLaw, format: "0", ptime: 20, held: true, direction: sdp.SendRecv})
	s.lines = make([]sdp.Media, 1)
	offer := s.Offer()
	if err := e.start(s); err != nil {
		s.pair.Close()
		return nil, nil, fail(503, verdict.Shutdown, err.Error())
	}
	return offer, s, nil
}

// Offer returns an offer of all that we speak (RFC 3261 §14.2), whoever is asked with it: who was talked with, or who is to take its place.
func (s *Session) Offer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.now.Load()
	event := cmp.Or(n.event, "101")
	d := &sdp.Session{Conn: s.pair.Host, Media: slices.Clone(s.lines)} // what was refused stays (RFC 3264 §8)
	d.Media[n.audio] = sdp.Media{
		Type: "audio", Port: s.pair.Port, Proto: "RTP/AVP", Formats: []string{"0", "8", event}, Ptime: 20, Direction: sdp.SendRecv,
		RTPMaps: []sdp.RTPMap{{Format: "0", Encoding: "PCMU/8000"}, {Format: "8", Encoding: "PCMA/8000"}, {Format: event, Encoding: "telephone-event/8000"}},
		FMTPs:   []sdp.FMTP{{Format: event, Params: "0-15"}},
	}
	return s.tellLocked(d)
}

// Accept takes the answer to Offer. The error is an *Error; then nothing has changed.
func (s *Session) Accept(answer []byte) error {
	d, err := sdp.Parse(answer)
	if err != nil {
		return fail(400, verdict.BadBody, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now.Load()
	if old.audio >= len(d.Media) || d.Media[old.audio].Port == 0 {
		return fail(488, verdict.NoCommonMedia, "the audio is refused")
	}
	n, failure := s.engine.negotiateMedia(&d.Media[old.audio], s.pair.Host)
	if failure != nil {
		return failure
	}
	n.audio = old.audio
	s.useLocked(n)
	return nil
}
