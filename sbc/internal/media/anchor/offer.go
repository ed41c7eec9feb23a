package anchor

import (
	"slices"

	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// Offer takes an offer that came from a side and returns the offer for the other one. The error is an *Error; a refused
// re-offer leaves the media as they were.
func (s *Session) Offer(from Side, body []byte) ([]byte, error) {
	offer, err := sdp.Parse(body)
	if err != nil {
		return nil, fail(400, verdict.BadBody, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out, failure := s.offerLocked(from, offer)
	if failure != nil {
		return nil, failure
	}
	return out, nil
}

func (s *Session) offerLocked(from Side, offer *sdp.Session) ([]byte, *Error) {
	if err := s.prepareLocked(); err != nil {
		return nil, err
	}
	leg := &s.legs[from]
	if len(offer.Media) < len(leg.lines) {
		return nil, fail(488, verdict.NoCommonMedia, "the offer has fewer media than the one before") // RFC 3264 §8
	}
	audio, crypto, err := leg.chooseMedia(offer)
	if err != nil {
		return nil, err
	}
	media := &offer.Media[audio]
	if err := s.checkRemote(from, media); err != nil {
		crypto.key.Wipe()
		return nil, err
	}
	out, keys, err := s.writeOfferLocked(from.Other(), media)
	if err != nil {
		crypto.key.Wipe()
		return nil, err
	}
	for i := range offer.Media {
		offer.Media[i].Crypto = nil // the one we took is in crypto
	}
	s.forgetExchangeLocked()
	s.last = &exchange{from: from, offer: offer, audio: audio, media: media, crypto: crypto, keys: keys}
	return out, nil
}

// writeOfferLocked writes the offer for a side, with the media of the other one. It returns the keys in it.
func (s *Session) writeOfferLocked(to Side, media *sdp.Media) ([]byte, []*outKey, *Error) {
	leg := &s.legs[to]
	line := sdp.Media{Type: "audio", Port: leg.port, Proto: "RTP/AVP", RTCPMux: leg.mux}
	var keys []*outKey
	if leg.secure || leg.endpoint.Realm.Secure == Require {
		if !leg.endpoint.SecureHop {
			return nil, nil, fail(488, verdict.SecureMediaRequired,
				"SRTP keys must not go to realm "+leg.endpoint.Realm.Name+" over signalling that is not encrypted")
		}
		var err *Error
		if keys, err = leg.keysToOffer(s.anchor.random); err != nil {
			return nil, nil, err
		}
		line.Proto = "RTP/SAVP"
	}
	describe(&line, media, offeredDirection(media))
	if len(leg.lines) == 0 {
		leg.lines, leg.audio = []sdp.Media{{}}, 0
	}
	if chosen := leg.lines[leg.audio].Proto; sameSecurity(chosen, line.Proto) {
		line.Proto = chosen // the profile of the call stays: AVPF, SAVPF
	}
	leg.lines[leg.audio] = line
	lines := slices.Clone(leg.lines)
	for _, k := range keys {
		lines[leg.audio].Crypto = append(lines[leg.audio].Crypto, k.Line())
	}
	return leg.write(&sdp.Session{Media: lines}), keys, nil
}

func sameSecurity(a, b string) bool {
	secureA, known := secureProto(a)
	secureB, _ := secureProto(b)
	return known && secureA == secureB
}

// describe copies what may pass from one side's m= line to the other's.
func describe(to, from *sdp.Media, dir sdp.Direction) {
	to.Formats = voiceFormats(from)
	for _, r := range from.RTPMaps {
		if slices.Contains(to.Formats, r.Format) {
			to.RTPMaps = append(to.RTPMaps, r)
		}
	}
	for _, f := range from.FMTPs {
		if slices.Contains(to.Formats, f.Format) {
			to.FMTPs = append(to.FMTPs, f)
		}
	}
	to.Ptime, to.MaxPtime = from.Ptime, from.MaxPtime
	to.Direction = dir
}

// offeredDirection is the direction of an offer, with RFC 2543's way to hold (0.0.0.0) put into words.
func offeredDirection(m *sdp.Media) sdp.Direction {
	if m.Conn.IsUnspecified() {
		return m.Direction.WithoutReceiving()
	}
	return m.Direction
}

// answeredDirection is that of an answer, cut down to what the offer leaves (RFC 3264 §6.1).
func answeredDirection(answer, offer *sdp.Media) sdp.Direction {
	a, o := offeredDirection(answer), offeredDirection(offer)
	sends, receives := a.Sends() && o.Receives(), a.Receives() && o.Sends()
	switch {
	case sends && receives:
		return sdp.SendRecv
	case sends:
		return sdp.SendOnly
	case receives:
		return sdp.RecvOnly
	}
	return sdp.Inactive
}
