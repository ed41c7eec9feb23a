package callcontrol

import (
	"errors"
	"net/netip"

	"brickhouse/pbx/internal/media"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// local answers a call from the exchange's own media.
func (a *attempt) local(kind media.Kind) b2bua.Local {
	return &service{
		engine: a.c.cfg.Media, kind: kind, local: a.flow.Local().Addr().Unmap(),
		timeout: func() { a.c.cfg.Engine.End(a.id, verdict.MediaTimeout) },
	}
}

// service is an echo or a tone as the call engine sees it.
type service struct {
	engine  *media.Engine
	kind    media.Kind
	local   netip.Addr
	timeout func()
	session *media.Session
}

// Answer answers the first offer with a session, later ones within it.
func (s *service) Answer(offer []byte) ([]byte, error) {
	if s.session != nil {
		out, err := s.session.Reoffer(offer)
		return out, mediaError(err)
	}
	out, session, err := s.engine.Answer(s.kind, offer, s.local, s.timeout)
	if err != nil {
		return nil, mediaError(err)
	}
	s.session = session
	return out, nil
}

// Offer makes an offer with a new session, or the one in force again.
func (s *service) Offer() ([]byte, error) {
	if s.session != nil {
		return s.session.Offer(), nil
	}
	out, session, err := s.engine.Offer(s.kind, s.local, s.timeout)
	if err != nil {
		return nil, mediaError(err)
	}
	s.session = session
	return out, nil
}

// Accept takes the answer to that offer.
func (s *service) Accept(answer []byte) error { return mediaError(s.session.Accept(answer)) }

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
