package media

import (
	"net/netip"
	"strconv"
	"strings"

	"brickhouse/shared/sdp"
	"brickhouse/shared/tone"
	"brickhouse/shared/verdict"
)

// negotiated is what one offer and our answer to it fix. It never changes.
type negotiated struct {
	audio     int // index of the m= line
	law       tone.Law
	format    string // payload type of the codec
	payload   uint8
	event     string // payload type of telephone-event; empty: none
	eventType uint8
	ptime     int // ms
	remote    netip.AddrPort
	rtcp      netip.AddrPort
	sends     bool // we may send: the far side receives and has an address
	held      bool
	direction sdp.Direction // of our answer
}

// negotiate finds what we can answer.
func (e *Engine) negotiate(d *sdp.Session, local netip.Addr) (*negotiated, *Error) {
	why := fail(488, verdict.NoCommonMedia, "no audio is offered")
	for i := range d.Media {
		m := &d.Media[i]
		if m.Type != "audio" || m.Port == 0 {
			continue
		}
		n, err := e.negotiateMedia(m, local)
		if err == nil {
			n.audio = i
			return n, nil
		}
		why = err
	}
	return nil, why
}

func (e *Engine) negotiateMedia(m *sdp.Media, local netip.Addr) (*negotiated, *Error) {
	if m.Proto != "RTP/AVP" {
		return nil, fail(488, verdict.NoCommonMedia, "transport "+m.Proto+" is not answered here")
	}
	n := &negotiated{ptime: 20}
	if !n.chooseCodec(m) {
		return nil, fail(488, verdict.NoCommonMedia, "neither PCMU nor PCMA is offered")
	}
	if m.Ptime == 10 || m.Ptime == 30 || m.Ptime == 40 {
		n.ptime = m.Ptime
	}
	at, sendable := m.RTP()
	if sendable && at.Addr().Is4() != local.Is4() {
		return nil, fail(488, verdict.NoCommonMedia, "media address is of another IP version than ours")
	}
	if sendable && at.Addr() == local && at.Port() >= e.cfg.MinPort && at.Port() <= e.cfg.MaxPort {
		return nil, fail(488, verdict.NoCommonMedia, "SDP names a media port of ours") // an echo of an echo never ends
	}
	n.remote, n.rtcp = at, m.RTCP()
	if n.rtcp.Addr().Is4() != local.Is4() {
		n.rtcp = netip.AddrPort{}
	}
	offered := m.Direction
	if !sendable {
		offered = offered.WithoutReceiving()
	}
	n.sends, n.held = offered.Receives(), m.Held()
	n.direction = answerTo(offered)
	return n, nil
}

// chooseCodec takes the first codec of the offer's order that we speak, and telephone-event if it is there.
func (n *negotiated) chooseCodec(m *sdp.Media) bool {
	for _, f := range m.Formats {
		pt, err := strconv.ParseUint(f, 10, 7)
		if err != nil || pt >= 64 && pt <= 95 {
			continue
		}
		encoding := strings.TrimSuffix(strings.ToUpper(m.Encoding(f)), "/1")
		switch {
		case encoding == "TELEPHONE-EVENT/8000" && n.event == "":
			n.event, n.eventType = f, uint8(pt)
		case n.format != "":
		case encoding == "PCMU/8000":
			n.law, n.format, n.payload = tone.MuLaw, f, uint8(pt)
		case encoding == "PCMA/8000":
			n.law, n.format, n.payload = tone.ALaw, f, uint8(pt)
		}
	}
	return n.format != ""
}

// answerTo turns a direction round (RFC 3264 §6.1).
func answerTo(offered sdp.Direction) sdp.Direction {
	switch offered {
	case sdp.SendOnly:
		return sdp.RecvOnly
	case sdp.RecvOnly:
		return sdp.SendOnly
	}
	return offered
}

// describe writes the answer: the audio as negotiated, every other line refused in its place (RFC 3264 §6).
func (n *negotiated) describe(offer *sdp.Session, local netip.Addr, port uint16, origin sdp.Origin) *sdp.Session {
	d := &sdp.Session{Origin: origin, Conn: local}
	for i, m := range offer.Media {
		line := sdp.Media{Type: m.Type, Proto: m.Proto, Formats: m.Formats}
		if i == n.audio {
			line = sdp.Media{Type: "audio", Port: port, Proto: m.Proto, Formats: []string{n.format}, Ptime: n.ptime, Direction: n.direction}
			line.RTPMaps = []sdp.RTPMap{{Format: n.format, Encoding: n.law.String() + "/8000"}}
			if n.event != "" {
				line.Formats = append(line.Formats, n.event)
				line.RTPMaps = append(line.RTPMaps, sdp.RTPMap{Format: n.event, Encoding: "telephone-event/8000"})
				line.FMTPs = []sdp.FMTP{{Format: n.event, Params: "0-15"}}
			}
		}
		d.Media = append(d.Media, line)
	}
	return d
}

// sameSource reports whether packets come from where they came before.
func (n *negotiated) sameSource(o *negotiated) bool { return o != nil && n.remote == o.remote }
