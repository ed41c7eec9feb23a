package anchor

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"brickhouse/sbc/internal/media/dtls"
	"brickhouse/sbc/internal/media/ice"
	"brickhouse/sbc/internal/media/keying"
	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// promise is what a description says of DTLS and ICE, as far as it counts.
type promise struct {
	peer []sdp.Fingerprint // usable ones
	role dtls.Role         // ours
	ice  string            // the phone's ICE name; empty: it speaks none, or is as lite as we are
	at   netip.AddrPort    // where it wants media, if it speaks no ICE
}

// link is what a leg that is keyed by DTLS has on its RTP port beside media: it answers ICE's checks and feeds the handshake. It
// outlives re-offers; the association in it is another one when the phone promises another certificate.
//
// Lock order: the session's, then the link's. The reader's goroutine takes only the latter.
type link struct {
	session *Session
	side    Side
	relay   *relay.Session
	agent   *ice.Agent
	behind  netip.Addr // where a phone behind NAT may be, too: its signalling comes from there; zero: nowhere else

	mu          sync.Mutex
	speaksICE   bool
	named       netip.AddrPort
	association *dtls.Association // nil before the first agreement
	keyed       bool
	since       time.Time // of the association
}

// linkLocked returns the link of a side, and makes it if there is none.
func (s *Session) linkLocked(side Side) (*link, *Error) {
	leg := &s.legs[side]
	if leg.link != nil {
		return leg.link, nil
	}
	local, err := ice.NewCredentials(s.anchor.random)
	if err != nil {
		return nil, fail(500, verdict.Internal, err.Error())
	}
	leg.link = &link{session: s, side: side, relay: s.relay, agent: ice.NewAgent(local)}
	if leg.endpoint.Realm.NAT {
		leg.link.behind = leg.endpoint.Remote.Unmap()
	}
	return leg.link, nil
}

// agreeLocked takes what the phone promised. Keys stay while certificate, role and, without ICE, address are the same as before.
func (s *Session) agreeLocked(side Side, p *promise) *Error {
	k, failure := s.linkLocked(side)
	if failure != nil {
		return failure
	}
	if failure := k.meet(p, s.last.from == side); failure != nil {
		return failure
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.speaksICE = p.ice != ""
	moved := k.named.IsValid() && p.at.IsValid() && k.named != p.at
	if p.at.IsValid() || k.speaksICE {
		k.named = p.at
	}
	if a := k.association; a != nil {
		if a.Role() == p.role && dtls.Same(a.Peer(), p.peer) && !moved {
			return nil
		}
		a.Close()
	}
	var a *dtls.Association
	a = dtls.New(dtls.Config{
		Identity: s.anchor.identity, Slots: s.anchor.slots, Suites: s.legs[side].suitesForDTLS(), Role: p.role, Peer: p.peer,
		Send: func(pkt []byte, to netip.AddrPort) { k.relay.Send(int(side), pkt, to) },
		Done: func(keys dtls.Keys, err error) { s.keyed(k, a, keys, err) },
	})
	k.association, k.keyed, k.since = a, false, time.Now()
	if p.role == dtls.Active && p.at.IsValid() {
		a.Connect(p.at)
	}
	return nil
}

// meet tells the agent the phone's ICE name. A new one in an offer is a restart, which is answered by new credentials of ours (RFC
// 8839 §4.4.1.1.1); in an answer it is another phone's.
func (k *link) meet(p *promise, offered bool) *Error {
	before := k.agent.Remote()
	if p.ice == before {
		return nil
	}
	local := k.agent.Local()
	if before != "" && offered {
		var err error
		if local, err = ice.NewCredentials(k.session.anchor.random); err != nil {
			return fail(500, verdict.Internal, err.Error())
		}
	}
	k.agent.Restart(local, p.ice)
	return nil
}

// STUN implements relay.Link.
func (k *link) STUN(pkt []byte, src netip.AddrPort) bool {
	k.mu.Lock()
	speaks, association := k.speaksICE, k.association
	k.mu.Unlock()
	if !speaks {
		return false
	}
	check, ok := k.agent.Take(pkt, src, time.Now())
	if !ok {
		return false
	}
	if check.Reply != nil {
		k.relay.Send(int(k.side), check.Reply, src)
	}
	if check.Nominated {
		k.relay.Latch(int(k.side), src)
		association.Connect(src)
	}
	return true
}

// DTLS implements relay.Link. A handshake is taken from where ICE was answered with the right password; without ICE from the address
// that the description names, and from the hosts that the phone is known at.
func (k *link) DTLS(pkt []byte, src netip.AddrPort) bool {
	k.mu.Lock()
	speaks, named, association := k.speaksICE, k.named, k.association
	k.mu.Unlock()
	switch {
	case association == nil:
		return false
	case speaks:
		return k.agent.Valid(src) && association.Packet(pkt, src, true)
	case src.Addr() == named.Addr() || src.Addr() == k.behind:
		return association.Packet(pkt, src, src == named)
	}
	return false
}

// close ends the handshake, if one runs.
func (k *link) close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.association != nil {
		k.association.Close()
	}
}

// keyed takes the outcome of a handshake.
func (s *Session) keyed(k *link, a *dtls.Association, keys dtls.Keys, err error) {
	why := s.useKeys(k, a, keys, err)
	if why != verdict.None && s.events.OnFault != nil {
		s.events.OnFault(why)
	}
}

func (s *Session) useKeys(k *link, a *dtls.Association, keys dtls.Keys, err error) verdict.Reason {
	defer keys.Theirs.Wipe() // the leg keeps a copy
	s.mu.Lock()
	defer s.mu.Unlock()
	leg := &s.legs[k.side]
	k.mu.Lock()
	current := !s.closed && leg.link == k && k.association == a
	k.keyed = k.keyed || current && err == nil
	k.mu.Unlock()
	switch {
	case !current:
		keys.Ours.Wipe()
		return verdict.None
	case err != nil:
		s.silence.reported = true
		return verdict.FingerprintMismatch
	}
	if err := leg.rekey(keys.Theirs, keys.Ours); err != nil {
		s.silence.reported = true
		return verdict.Internal
	}
	s.relay.Set(relay.Rule{s.legs[A].end, s.legs[B].end})
	return verdict.None
}

// rekey puts keys that DTLS agreed on into force. Packets with those before are still taken for a while.
func (l *leg) rekey(theirs, ours *keying.Key) error {
	receiver, err := keying.NewReceiver(theirs)
	if err != nil {
		return err
	}
	sender, err := keying.NewSender(ours)
	if err != nil {
		return err
	}
	l.end.Previous, l.end.Until = l.receiver, time.Now().Add(previousLife)
	l.end.Receiver, l.end.Sender, l.end.Pending = receiver, sender, false
	l.theirs.Wipe()
	l.theirs, l.receiver, l.secure = theirs.Clone(), receiver, true
	l.use(&outKey{keying.Param{Key: ours}, sender})
	return nil
}

// failed tells why a link is no way for media: no handshake or no check in time, or no consent any more (RFC 7675 §5.1). Established is when
// the call was answered: a phone that rings may begin when it likes.
func (k *link) failed(now, established time.Time, cfg *Config) verdict.Reason {
	if k == nil {
		return verdict.None
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.association == nil {
		return verdict.None
	}
	heard := k.agent.Heard()
	since := k.since
	if established.After(since) {
		since = established
	}
	switch {
	case k.speaksICE && !heard.IsZero() && now.Sub(heard) >= cfg.Consent:
		return verdict.ConsentLost
	case k.keyed || now.Sub(since) < cfg.Handshake:
		return verdict.None
	case errors.Is(k.association.Failure(), dtls.ErrMismatch):
		return verdict.FingerprintMismatch
	case k.speaksICE && heard.IsZero():
		return verdict.ICEFailed
	}
	return verdict.HandshakeTimeout
}

// describe writes what the phone must know of the link. Before the first agreement that is an offer, with ICE.
func (k *link) describe(line *sdp.Media, told netip.Addr, identity *dtls.Identity, answer bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	line.RTCPMux = true
	line.Fingerprints, line.Setup = []sdp.Fingerprint{identity.Fingerprint()}, "actpass"
	if answer {
		line.Setup = map[dtls.Role]string{dtls.Active: "active", dtls.Passive: "passive"}[k.association.Role()]
	}
	if k.speaksICE || k.association == nil {
		local := k.agent.Local()
		line.ICE = sdp.ICE{Ufrag: local.Ufrag, Pwd: local.Pwd, Lite: true, Host: netip.AddrPortFrom(told, line.Port)}
	}
}

// suitesForDTLS are the SRTP profiles that we agree to: those of the realm, or all three.
func (l *leg) suitesForDTLS() []keying.Suite {
	if len(l.endpoint.Realm.Suites) > 0 {
		return l.suites
	}
	return []keying.Suite{keying.AEADAES256GCM, keying.AEADAES128GCM, keying.AESCM128HMACSHA180}
}
