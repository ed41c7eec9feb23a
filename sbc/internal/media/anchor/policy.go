package anchor

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// accepted is the a=crypto line that we took, or what stands for it with DTLS.
type accepted struct {
	tag  uint32
	key  *keying.Key
	dtls *promise
}

// chooseMedia finds the m= line to relay in an offer: the one in use, or the first secure one that may be, or the first plain one
// that may be. The error is that of the first audio line.
func (l *leg) chooseMedia(offer *sdp.Session) (int, accepted, *Error) {
	first := fail(488, verdict.NoCommonMedia, "no audio is offered")
	found, plain := false, -1
	for _, i := range l.searchOrder(len(offer.Media)) {
		m := &offer.Media[i]
		if m.Type != "audio" || m.Port == 0 {
			continue
		}
		crypto, err := l.checkOffered(m)
		switch {
		case err != nil:
			if !found {
				first, found = err, true
			}
		case crypto.key != nil || crypto.dtls != nil:
			return i, crypto, nil
		case plain < 0:
			plain = i
		}
	}
	if plain >= 0 {
		return plain, accepted{}, nil
	}
	return 0, accepted{}, first
}

// searchOrder is the order in which m= lines are looked at: the one in use first.
func (l *leg) searchOrder(n int) []int {
	order := make([]int, 0, n)
	if l.audio < n && len(l.lines) > 0 {
		order = append(order, l.audio)
	}
	for i := range n {
		if len(order) == 0 || i != order[0] {
			order = append(order, i)
		}
	}
	return order
}

// checkOffered decides whether an offered m= line may be relayed, and with which key.
func (l *leg) checkOffered(m *sdp.Media) (accepted, *Error) {
	keyed := wayOf(m)
	if keyed == unknown {
		return accepted{}, fail(488, verdict.NoCommonMedia, "transport "+m.Proto+" is not relayed")
	}
	if len(voiceFormats(m)) == 0 {
		return accepted{}, fail(488, verdict.NoCommonMedia, "no usable payload type is offered")
	}
	policy, secure := l.endpoint.Realm.Secure, keyed != plain
	switch {
	case keyed == byDTLS:
		p, err := l.checkPromise(m, false)
		return accepted{dtls: p}, err
	case !secure && policy == Require:
		return accepted{}, fail(488, verdict.SecureMediaRequired, "realm "+l.endpoint.Realm.Name+" takes only SRTP")
	case !secure && l.secure:
		return accepted{}, fail(488, verdict.SecureMediaRequired, "an encrypted call does not go back to RTP")
	case !secure:
		return accepted{}, nil
	case l.secure && l.link != nil:
		return accepted{}, fail(488, verdict.SecureMediaRequired, "a call keyed by DTLS does not go back to SDES")
	case policy == Never:
		return accepted{}, fail(488, verdict.NoCommonMedia, "realm "+l.endpoint.Realm.Name+" takes no SRTP")
	case !l.endpoint.SecureHop:
		return accepted{}, fail(488, verdict.SecureMediaRequired, "SRTP keys came over signalling that is not encrypted")
	}
	return l.chooseCrypto(m.Crypto)
}

// chooseCrypto takes the line in use if it is offered again, so that the context goes on; else the best suite by our own order. A
// suite weaker than the one in use is none.
func (l *leg) chooseCrypto(lines []sdp.Crypto) (accepted, *Error) {
	var good []keying.Param
	var refused []error
	for _, line := range lines {
		p, err := keying.ParseParam(line)
		if err == nil && l.secure && p.Key.Suite < l.suite() {
			err = errors.New("weaker than the suite in use")
		}
		if err != nil {
			refused = append(refused, err)
			continue
		}
		good = append(good, p)
	}
	best := -1
	for i, p := range good {
		if p.Key.Equal(l.theirs) {
			best = i
			break
		}
		if l.rank(p.Key.Suite) < l.rankOf(good, best) {
			best = i
		}
	}
	if best >= 0 && l.rank(good[best].Key.Suite) == len(l.suites) {
		best = -1
	}
	for i, p := range good {
		if i != best {
			p.Key.Wipe()
		}
	}
	if best < 0 {
		return accepted{}, fail(488, verdict.NoCommonSuite, noSuite(refused))
	}
	return accepted{tag: good[best].Tag, key: good[best].Key}, nil
}

// rank is the place of a suite in the realm's order; the length if it is not there.
func (l *leg) rank(s keying.Suite) int {
	for i, have := range l.suites {
		if have == s {
			return i
		}
	}
	return len(l.suites)
}

func (l *leg) rankOf(good []keying.Param, i int) int {
	if i < 0 {
		return len(l.suites) + 1
	}
	return l.rank(good[i].Key.Suite)
}

func noSuite(refused []error) string {
	if len(refused) == 0 {
		return "no crypto line of a suite that the realm takes"
	}
	if err := errors.Join(refused...); err != nil {
		return strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return ""
}

// checkAnswered checks the m= line that answers our offer, and the key in it.
func (l *leg) checkAnswered(m, offered *sdp.Media, ours []*outKey) (accepted, *outKey, *Error) {
	if m.Type != offered.Type || m.Proto != offered.Proto {
		if wayOf(offered) != plain {
			return accepted{}, nil, fail(488, verdict.SecureMediaRequired, "SRTP was offered, "+m.Proto+" answered")
		}
		return accepted{}, nil, fail(488, verdict.NoCommonMedia, offered.Proto+" was offered, "+m.Proto+" answered")
	}
	if len(voiceFormats(m)) == 0 {
		return accepted{}, nil, fail(488, verdict.NoCommonMedia, "no usable payload type is answered")
	}
	switch wayOf(offered) {
	case plain:
		return accepted{}, nil, nil
	case byDTLS:
		p, err := l.checkPromise(m, true)
		return accepted{dtls: p}, nil, err
	}
	if len(m.Crypto) != 1 { // RFC 4568 §5.1.2
		return accepted{}, nil, fail(488, verdict.NoCommonSuite, strconv.Itoa(len(m.Crypto))+" crypto lines are answered, not one")
	}
	p, err := keying.ParseParam(m.Crypto[0])
	if err != nil {
		return accepted{}, nil, fail(488, verdict.NoCommonSuite, err.Error())
	}
	for _, k := range ours {
		if k.Tag == p.Tag && k.Key.Suite == p.Key.Suite {
			return accepted{tag: p.Tag, key: p.Key}, k, nil
		}
	}
	p.Key.Wipe()
	return accepted{}, nil, fail(488, verdict.NoCommonSuite, "the answered crypto line was not offered")
}

// checkRemote decides whether media may be sent to where a side's SDP says.
func (s *Session) checkRemote(side Side, m *sdp.Media) *Error {
	l := &s.legs[side]
	at, sendable := m.RTP()
	if !sendable {
		return nil
	}
	for _, to := range []netip.AddrPort{at, m.RTCP()} {
		if to.Addr().Is4() != l.host.Is4() {
			return fail(488, verdict.NoCommonMedia, "media address "+to.Addr().String()+" is of another IP version than ours")
		}
		// Media sent to a media port of ours could go round for ever. Only calls that the exchange sends back to us may.
		if !s.anchor.isOwn(to) {
			continue
		}
		if !l.endpoint.Realm.Trusted || s.legs[A].at(to) || s.legs[B].at(to) {
			return fail(488, verdict.NoCommonMedia, "SDP names a media port of ours")
		}
	}
	return nil
}

// at reports whether an address is one of the two ports of this leg. Legs on other addresses may have the same numbers.
func (l *leg) at(to netip.AddrPort) bool { return to.Addr() == l.host && to.Port()&^1 == l.port }

// voiceFormats are the payload types of an m= line that can be relayed: numbers outside RTCP's range (RFC 5761 §4), once
// each, with a known encoding. None if there is nothing among them to speak with.
func voiceFormats(m *sdp.Media) []string {
	var formats []string
	seen := [128]bool{}
	voice := false
	for _, f := range m.Formats {
		n, err := strconv.ParseUint(f, 10, 7)
		if err != nil || n >= 64 && n <= 95 || seen[n] || f != strconv.FormatUint(n, 10) {
			continue
		}
		encoding := strings.ToLower(m.Encoding(f))
		if n >= 35 && encoding == "" { // a dynamic type needs a rtpmap (RFC 3551 §3)
			continue
		}
		seen[n] = true
		formats = append(formats, f)
		voice = voice || !strings.HasPrefix(encoding, "telephone-event/") && !strings.HasPrefix(encoding, "cn/")
	}
	if !voice {
		return nil
	}
	return formats
}
