package callcontrol

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/media"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// local answers a call from the exchange's own media.
func (a *attempt) local(act media.Act) b2bua.Local {
	return &service{
		engine: a.c.cfg.Media, act: act, local: a.flow.Local().Addr().Unmap(),
		timeout: func() { a.c.cfg.Engine.End(a.id, verdict.MediaTimeout) },
	}
}

// holdMusic is what a party hears, over a flow, whom the other one holds. It need not send anything.
func (a *attempt) holdMusic(f *transport.Flow) b2bua.Local {
	play := media.Script(func(ctx context.Context, d *media.Dialogue) { entertain(ctx, d, a.c.cfg.Music.Play()) })
	return &service{engine: a.c.cfg.Media, act: play, local: f.Local().Addr().Unmap(), one: true}
}

// service is what the exchange does itself, as the call engine sees it.
type service struct {
	engine  *media.Engine
	act     media.Act
	local   netip.Addr
	timeout func()
	one     bool // the far side is to hear, and not to speak
	session *media.Session
}

// Answer answers the first offer with a session, later ones within it.
func (s *service) Answer(offer []byte) ([]byte, error) {
	if s.session != nil {
		out, err := s.session.Reoffer(offer)
		return out, mediaError(err)
	}
	out, session, err := s.engine.Answer(s.act, offer, s.local, s.timeout)
	if err != nil {
		return nil, mediaError(err)
	}
	s.session = session
	return out, nil
}

// Offer makes an offer with a new session, or the one in force again.
func (s *service) Offer() ([]byte, error) {
	if s.session != nil {
		return s.towards(s.session.Offer()), nil
	}
	out, session, err := s.engine.Offer(s.act, s.local, s.timeout)
	if err != nil {
		return nil, mediaError(err)
	}
	s.session = session
	return s.towards(out), nil
}

// towards gives an offer its direction.
func (s *service) towards(offer []byte) []byte {
	if !s.one {
		return offer
	}
	return bytes.Replace(offer, []byte("a=sendrecv"), []byte("a=sendonly"), 1)
}

// Accept takes the answer to that offer.
func (s *service) Accept(answer []byte) error { return mediaError(s.session.Accept(answer)) }

// Info takes a key that comes in signalling.
func (s *service) Info(req *sip.Request) {
	typ := ""
	if h := req.ContentType(); h != nil {
		typ = h.Value()
	}
	if k, ok := pressedKey(typ, req.Body()); ok && s.session != nil {
		s.session.Key(k)
	}
}

// maxKeyBody bounds the body that is read for a key, in bytes.
const maxKeyBody = 256

// pressedKey reads the key of an INFO, as phones without RFC 4733 send it: application/dtmf-relay has it in a line Signal=5,
// application/dtmf has it alone.
func pressedKey(contentType string, body []byte) (byte, bool) {
	if len(body) > maxKeyBody {
		return 0, false
	}
	typ, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	text := string(body)
	switch strings.TrimSpace(typ) {
	case "application/dtmf-relay":
		found := ""
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(line, "="); ok && strings.EqualFold(strings.TrimSpace(name), "signal") {
				found = value
			}
		}
		text = found
	case "application/dtmf":
	default:
		return 0, false
	}
	text = strings.ToUpper(strings.TrimSpace(text))
	switch text { // some give the number of the event
	case "10":
		text = "*"
	case "11":
		text = "#"
	}
	if len(text) != 1 || !strings.Contains("0123456789*#ABCD", text) {
		return 0, false
	}
	return text[0], true
}

// Close ends the session.
func (s *service) Close() {
	if s.session != nil {
		s.session.Close()
	}
}

func mediaError(err error) error {
	var e *media.Error
	if errors.As(err, &e) {
		return &b2bua.Refusal{Code: e.Code, Reason: e.Reason}
	}
	return err
}
