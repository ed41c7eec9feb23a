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
	crypto.dtls.forgetAddress(media)
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
	s.relay.Answered(int(from))
	s.relay.Asked(int(from.Other()))
	return out, nil
}

// writeOfferLocked writes the offer for a side, with the media of the other one. It returns the keys in it.
func (s *Session) writeOfferLocked(to Side, media *sdp.Media) ([]byte, []*outKey, *Error) {
	leg := &s.legs[to]
	line := sdp.Media{Type: "audio", Port: leg.port, Proto: "RTP/AVP", RTCPMux: leg.mux}
	var keys []*outKey
	switch {
	case leg.offersDTLS():
		var err *Error
		if leg.link, err = s.linkLocked(to); err != nil {
			return nil, nil, err
		}
		line.Proto, leg.mux = "UDP/TLS/RTP/SAVPF", true
		if !leg.endpoint.SecureHop && leg.endpoint.Realm.Secure == Require {
			return nil, nil, fail(488, verdict.SecureMediaRequired,
				"no fingerprint may go to realm "+leg.endpoint.Realm.Name+" over signalling that is not encrypted")
		}
		leg.link.describe(&line, leg.told, s.anchor.identity, false)
	case leg.secure || leg.endpoint.Realm.Secure == Require:
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
		if leg.link != nil {
			leg.lines[0].MID, leg.bundle = firstMID, true // RFC 8829 §5.2.1
		}
	}
	before := &leg.lines[leg.audio]
	if wayOf(before) == wayOf(&line) {
		line.Proto = before.Proto // the profile of the call stays: AVPF, SAVPF
	}
	line.MID = before.MID
	leg.keep(leg.audio, line)
	lines := slices.Clone(leg.lines)
	lines[leg.audio] = line
	for _, k := range keys {
		lines[leg.audio].Crypto = append(lines[leg.audio].Crypto, k.Line())
	}
	return leg.write(&sdp.Session{Media: lines, Bundle: leg.bundled()}), keys, nil
}

// firstMID names the one medium that we offer.
const firstMID = "0"

// offersDTLS reports whether our offers to this side are keyed by DTLS: as the call is already, or as the realm's policy has it.
func (l *leg) offersDTLS() bool {
	if l.secure || l.link != nil {
		return l.link != nil
	}
	return l.endpoint.DTLS && l.endpoint.Realm.Secure != Never
}

// keep remembers an m= line of ours without its secrets.
func (l *leg) keep(i int, line sdp.Media) {
	line.Crypto, line.ICE = nil, sdp.ICE{}
	l.lines[i] = line
}

// bundled are the names in our BUNDLE group.
func (l *leg) bundled() []string {
	if !l.bundle || l.lines[l.audio].MID == "" {
		return nil
	}
	return []string{l.lines[l.audio].MID}
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
