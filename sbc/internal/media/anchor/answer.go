package anchor

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Answer takes the answer that came from a side and returns the answer for the one who offered. It may come several
// times (18x, then 200), also from different phones. From here on packets are relayed. The error is an *Error.
func (s *Session) Answer(from Side, body []byte) ([]byte, error) {
	answer, err := sdp.Parse(body)
	if err != nil {
		return nil, fail(400, verdict.BadBody, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.last
	if s.closed || x == nil || x.from == from {
		return nil, fail(400, verdict.BadBody, "an answer without an offer")
	}
	hash := sha256.Sum256(body)
	if x.out != nil && hash == x.answer {
		return slices.Clone(x.out), nil
	}
	out, failure := s.answerLocked(x, answer)
	if failure != nil {
		return nil, failure
	}
	x.answer, x.out = hash, slices.Clone(out)
	return out, nil
}

func (s *Session) answerLocked(x *exchange, answer *sdp.Session) ([]byte, *Error) {
	answerer, offerer := &s.legs[x.from.Other()], &s.legs[x.from]
	if len(answer.Media) != len(answerer.lines) {
		return nil, fail(400, verdict.BadBody, "the answer has "+strconv.Itoa(len(answer.Media))+" media, the offer "+strconv.Itoa(len(answerer.lines)))
	}
	media := &answer.Media[answerer.audio]
	if media.Port == 0 {
		return s.rejectLocked(x)
	}
	crypto, ours, failure := answerer.checkAnswered(media, &answerer.lines[answerer.audio], x.keys)
	if failure != nil {
		return nil, failure
	}
	defer crypto.key.Wipe() // the leg keeps a copy
	crypto.dtls.forgetAddress(media)
	if failure := s.checkRemote(x.from.Other(), media); failure != nil {
		return nil, failure
	}
	if failure := s.keyOffererLocked(x); failure != nil {
		return nil, failure
	}
	types := payloadTypes(x.media, media)
	if failure := s.takeLocked(x.from.Other(), media, crypto, ours, types); failure != nil {
		return nil, failure
	}
	if failure := s.takeLocked(x.from, x.media, x.crypto, x.ours, types); failure != nil {
		return nil, failure
	}
	answerer.mux = answerer.mux && media.RTCPMux
	offerer.mux = x.media.RTCPMux && !offerer.endpoint.Realm.Trusted
	answerer.end.Mux, offerer.end.Mux = answerer.mux, offerer.mux
	s.relay.Set(relay.Rule{s.legs[A].end, s.legs[B].end})
	s.relay.Answered(int(x.from.Other()))
	s.answered = true
	s.held = media.Held() || x.media.Held()
	return s.writeAnswerLocked(x, media), nil
}

// keyOffererLocked decides our key for the offerer: the one in use if the offerer's is the same as before, else a fresh one.
func (s *Session) keyOffererLocked(x *exchange) *Error {
	leg := &s.legs[x.from]
	if x.crypto.key == nil || x.ours != nil {
		return nil
	}
	if leg.ours != nil && x.crypto.key.Equal(leg.theirs) {
		x.ours = leg.ours
		x.ours.Tag = x.crypto.tag
		return nil
	}
	k, err := newOutKey(x.crypto.tag, x.crypto.key.Suite, s.anchor.random)
	if err != nil {
		return fail(500, verdict.Internal, err.Error())
	}
	x.ours = k
	return nil
}

// takeLocked is take, for DTLS after the agreement.
func (s *Session) takeLocked(side Side, m *sdp.Media, crypto accepted, ours *outKey, types relay.PayloadTypes) *Error {
	if crypto.dtls != nil {
		if failure := s.agreeLocked(side, crypto.dtls); failure != nil {
			return failure
		}
	}
	if err := s.legs[side].take(m, crypto, ours, types); err != nil {
		return fail(500, verdict.Internal, err.Error())
	}
	return nil
}

// take puts what a side said into force for its half of the rule. Contexts go on where keys are the same as before. It keeps a
// copy of theirs.
func (l *leg) take(m *sdp.Media, crypto accepted, ours *outKey, types relay.PayloadTypes) error {
	theirs := crypto.key
	old := l.end
	end := relay.End{RTP: old.RTP, RTCP: old.RTCP, Types: types}
	if at, sendable := m.RTP(); sendable {
		end.RTP, end.RTCP = at, m.RTCP()
	} else if crypto.dtls == nil || crypto.dtls.ice == "" {
		end.Muted = true // what it sends still comes from where it was
	}
	if l.endpoint.Realm.NAT {
		end.Latching = relay.FromAnywhere
	}
	if crypto.dtls != nil {
		end.Link, end.Pending = l.link, l.receiver == nil
		end.Receiver, end.Sender, end.Previous, end.Until = old.Receiver, old.Sender, old.Previous, old.Until
		if crypto.dtls.ice != "" {
			end.Latching = relay.Linked
			end.RTP, end.RTCP = netip.AddrPort{}, netip.AddrPort{}
		}
	}
	switch {
	case theirs == nil:
	case theirs.Equal(l.theirs):
		end.Receiver, end.Previous, end.Until = l.receiver, old.Previous, old.Until
	default:
		receiver, err := keying.NewReceiver(theirs)
		if err != nil {
			return err
		}
		end.Receiver, end.Previous, end.Until = receiver, l.receiver, time.Now().Add(previousLife)
		l.theirs.Wipe()
		l.theirs, l.receiver, l.secure = theirs.Clone(), receiver, true
	}
	if ours != nil {
		end.Sender = ours.sender
		l.use(ours)
	}
	l.end = end
	return nil
}

// use makes a key of ours the one in use. Others that were offered stay: another phone may answer with another one.
func (l *leg) use(k *outKey) {
	if l.ours == k {
		return
	}
	if l.ours != nil && !slices.Contains(l.offered, l.ours) {
		l.ours.Key.Wipe()
	}
	l.ours = k
}

// rejectLocked passes on that the other side refused the audio.
func (s *Session) rejectLocked(x *exchange) ([]byte, *Error) {
	s.held = true
	if s.answered {
		s.legs[A].end.Muted, s.legs[B].end.Muted = true, true
		s.relay.Set(relay.Rule{s.legs[A].end, s.legs[B].end})
	}
	return s.writeAnswerLocked(x, nil), nil
}

// writeAnswerLocked writes the answer for the offerer: one line for each of its own (RFC 3264 §6), all refused but the audio. No media
// refuses that, too.
func (s *Session) writeAnswerLocked(x *exchange, media *sdp.Media) []byte {
	leg := &s.legs[x.from]
	lines := make([]sdp.Media, len(x.offer.Media))
	for i, m := range x.offer.Media {
		lines[i] = sdp.Media{Type: m.Type, Proto: m.Proto, Formats: m.Formats, MID: m.MID}
	}
	if media != nil {
		line := &lines[x.audio]
		line.Port, line.RTCPMux = leg.port, leg.mux
		describe(line, media, answeredDirection(media, x.media))
		if x.ours != nil {
			line.Crypto = []sdp.Crypto{x.ours.Line()}
		}
		if x.crypto.dtls != nil {
			leg.link.describe(line, leg.told, s.anchor.identity, true)
		}
	}
	description := &sdp.Session{Media: lines}
	leg.bundle = slices.Contains(x.offer.Bundle, lines[x.audio].MID)
	if leg.bundle && media != nil {
		description.Bundle = []string{lines[x.audio].MID}
	}
	out := leg.write(description)
	leg.lines, leg.audio = lines, x.audio
	leg.keep(x.audio, lines[x.audio])
	return out
}

// payloadTypes are all that offer or answer name: each side may send what the other one can take.
func payloadTypes(media ...*sdp.Media) relay.PayloadTypes {
	var p relay.PayloadTypes
	for _, m := range media {
		for _, f := range voiceFormats(m) {
			if n, err := strconv.ParseUint(f, 10, 7); err == nil {
				p.Add(uint8(n))
			}
		}
	}
	return p
}
