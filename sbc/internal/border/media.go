package border

import (
	"cmp"
	"errors"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/b2bua"
)

// useKernelMedia has the kernel relay plain calls, where it can.
func (b *Border) useKernelMedia() {
	if b.cfg.Media.Kernel != anchor.KernelAuto {
		b.log.Info("media are relayed in user space", "why", "media.kernel is "+b.cfg.Media.Kernel)
		return
	}
	m, err := b.guard.Media()
	if err != nil {
		b.log.Info("media are relayed in user space", "why", err)
		return
	}
	b.anchor.UseKernel(kernelMedia{m})
	b.log.Info("calls with plain RTP on both sides are relayed in the kernel")
}

// kernelMedia joins the relay to the guard's kernel filter.
type kernelMedia struct{ m *guard.Media }

// Stream makes room for one direction of a call.
func (k kernelMedia) Stream() (relay.KernelStream, error) {
	s, err := k.m.Stream()
	if err != nil {
		return nil, err
	}
	return kernelStream{s}, nil
}

type kernelStream struct{ *guard.MediaStream }

// Forward has the kernel send a stream on.
func (s kernelStream) Forward(w relay.Stream) {
	s.MediaStream.Forward(guard.MediaFlow{Local: w.Local, From: w.From, Source: w.Source, Target: w.Target, Types: w.Types})
}

// media joins the call engine to the anchor.
type media struct{ s *anchor.Session }

func (m media) Offer(from b2bua.Side, sdp []byte) ([]byte, error) {
	out, err := m.s.Offer(anchor.Side(from), sdp)
	return out, mediaError(err)
}

func (m media) Answer(from b2bua.Side, sdp []byte) ([]byte, error) {
	out, err := m.s.Answer(anchor.Side(from), sdp)
	return out, mediaError(err)
}

func (m media) Close() { m.s.Close() }

func mediaError(err error) error {
	var e *anchor.Error
	if errors.As(err, &e) {
		return &b2bua.Refusal{Code: e.Code, Reason: e.Reason}
	}
	return err
}

// mediaRealms is what the anchor knows of each side.
func (b *Border) mediaRealms() map[realmName]anchor.Realm {
	make := func(name realmName, m MediaAddress, srtp string) anchor.Realm {
		r := anchor.Realm{Name: string(name), Bind: m.Bind, Advertise: m.Advertise}
		switch srtp {
		case "allow":
			r.Secure = anchor.Allow
		case "never":
			r.Secure = anchor.Never
		}
		return r
	}
	c := make(core, b.cfg.Core.Media, cmp.Or(b.cfg.Core.SRTP, "never"))
	c.Trusted = true
	a := make(access, b.cfg.Access.Media, b.cfg.Access.SRTP)
	a.NAT = true
	return map[realmName]anchor.Realm{core: c, access: a, peer: make(peer, b.cfg.Peer.Media, b.cfg.Peer.SRTP)}
}
