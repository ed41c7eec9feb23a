package siptest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"brickhouse/shared/tone"
)

// MediaStats counts what a call's media sockets saw.
type MediaStats struct {
	Codec Codec
	Suite Suite // empty for plain RTP

	Sent     uint64 // RTP packets
	Received uint64 // RTP packets that were decoded

	Lost          uint64 // sequence numbers passed over
	Late          uint64 // packets older than one already seen, or seen twice
	SSRCChanges   uint64 // the stream began anew with another SSRC
	Foreign       uint64 // packets from another address than the agreed one; not decoded
	Malformed     uint64 // neither RTP nor, on its port, RTCP
	WrongPayload  uint64 // payload types that were not agreed
	AuthFailures  uint64 // SRTP packets that failed authentication or were replayed
	Early         uint64 // packets that came before anything was agreed
	RTCPSent      uint64
	RTCPReceived  uint64
	RTCPFailures  uint64 // SRTCP packets that failed authentication or were replayed
	LastRTPSource netip.AddrPort
}

// media is the audio of one call: a pair of sockets, what was agreed, what was heard.
type media struct {
	cfg       Config
	rtp, rtcp *net.UDPConn
	addr      netip.AddrPort // of the RTP socket
	id        uint64         // of our o= line
	cname     string         // of our RTCP
	keys      map[Suite][]byte
	heard     ring
	stop      chan struct{}
	wg        sync.WaitGroup

	mu        sync.Mutex
	version   uint64     // of our last description
	want      Direction  // what we wish
	agreed    Direction  // what is agreed, from our side; empty before
	hold      bool       // the far side does not want to hear us
	offered   []Crypto   // of our last offer
	remote    *SDP       // theirs
	codec     Codec      // that we send
	out, in   *cipher    // nil for plain RTP
	ssrc      uint32     // ours
	stats     MediaStats // also: next expected sequence number
	lastSSRC  uint32
	lastSeq   uint16
	gotStream bool
	live      bool // the call is up, or early media was agreed
	closed    bool
}

// portTries is how often a pair of adjacent ports is looked for.
const portTries = 200

// newMedia binds an even port for RTP and the next for RTCP (RFC 3550 §11).
func newMedia(cfg Config) (*media, error) {
	m := &media{cfg: cfg, keys: make(map[Suite][]byte), stop: make(chan struct{}), want: SendRecv, codec: cfg.Codecs[0]}
	for _, s := range cfg.SRTP {
		m.keys[s] = s.newKey()
	}
	id := newNumber()
	m.id, m.ssrc, m.cname = uint64(id), newNumber(), token()
	err := cfg.Within(func() error { return m.bind() })
	if err != nil {
		return nil, err
	}
	m.listen()
	m.wg.Go(m.sendRTP)
	m.wg.Go(m.sendRTCP)
	return m, nil
}

// listen reads the sockets until they are closed.
func (m *media) listen() {
	rtp, rtcp := m.rtp, m.rtcp
	m.wg.Go(func() { m.read(rtp, m.gotRTP) })
	m.wg.Go(func() { m.read(rtcp, m.gotRTCP) })
}

// move leaves the sockets for new ones; what still comes to the old ones is lost.
func (m *media) move() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return net.ErrClosed
	}
	rtp, rtcp := m.rtp, m.rtcp
	if err := m.cfg.Within(m.bind); err != nil {
		return err
	}
	rtp.Close()
	rtcp.Close()
	m.listen()
	return nil
}

// where is the address that media are wanted at.
func (m *media) where() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addr
}

func (m *media) bind() error {
	var last error
	for range portTries {
		rtp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(m.cfg.MediaBind, 0)))
		if err != nil {
			return fmt.Errorf("opening RTP socket: %w", err)
		}
		m.addr = addrPort(rtp.LocalAddr())
		if m.addr.Port()%2 == 0 && m.addr.Port() < 65535 {
			next := netip.AddrPortFrom(m.addr.Addr(), m.addr.Port()+1)
			if m.rtcp, last = net.ListenUDP("udp", net.UDPAddrFromAddrPort(next)); last == nil {
				m.rtp = rtp
				return nil
			}
		}
		rtp.Close()
	}
	return fmt.Errorf("opening RTP sockets: no free pair of ports on %s: %w", m.cfg.MediaBind, last)
}

// offer is a new session description with what we want.
func (m *media) offer() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offered = nil
	for i, s := range m.cfg.SRTP {
		m.offered = append(m.offered, Crypto{Tag: i + 1, Suite: s, Key: m.keys[s]})
	}
	return m.describeLocked(m.cfg.Codecs, m.want, m.offered, nil)
}

func (m *media) describeLocked(codecs []Codec, dir Direction, cryptos []Crypto, offer *SDP) []byte {
	m.version++
	return sdpDraft{id: m.id, version: m.version, addr: m.addr.Addr(), port: m.addr.Port(), codecs: codecs, dir: dir,
		cryptos: cryptos, offer: offer}.bytes()
}

// answer agrees to an offer and returns our description (RFC 3264 §6). Errors that are errUnwanted ask for a 488.
func (m *media) answer(body []byte) ([]byte, error) {
	offer, err := ParseSDP(body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	codec, err := m.common(offer)
	if err != nil {
		return nil, err
	}
	var ours []Crypto
	var theirs Crypto
	if len(m.cfg.SRTP) > 0 {
		i := slices.IndexFunc(offer.Cryptos, func(c Crypto) bool { return slices.Contains(m.cfg.SRTP, c.Suite) })
		if i < 0 {
			return nil, errNoSuite
		}
		theirs = offer.Cryptos[i]
		ours = []Crypto{{Tag: theirs.Tag, Suite: theirs.Suite, Key: m.keys[theirs.Suite]}} // RFC 4568 §5.1.2
	}
	dir := offer.Dir.answerTo(m.want)
	if err := m.agreeLocked(offer, codec, dir, ours, theirs); err != nil {
		return nil, err
	}
	m.hold = !offer.Dir.receives()
	return m.describeLocked([]Codec{codec}, dir, ours, offer), nil
}

// accept takes the answer to our offer.
func (m *media) accept(body []byte) error {
	answer, err := ParseSDP(body)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	codec, err := m.common(answer)
	if err != nil {
		return err
	}
	var ours []Crypto
	var theirs Crypto
	if len(m.cfg.SRTP) > 0 {
		if len(answer.Cryptos) != 1 {
			return fmt.Errorf("%w: %d keys in an answer", errUnwanted, len(answer.Cryptos))
		}
		theirs = answer.Cryptos[0]
		i := slices.IndexFunc(m.offered, func(c Crypto) bool { return c.Tag == theirs.Tag && c.Suite == theirs.Suite })
		if i < 0 {
			return fmt.Errorf("%w: answer with tag %d and suite %s that were not offered together", errUnwanted, theirs.Tag,
				theirs.Suite)
		}
		ours = m.offered[i : i+1]
	}
	m.live = true
	return m.agreeLocked(answer, codec, answer.Dir.answerTo(m.want), ours, theirs)
}

// start lets sound out: who is called keeps silent until the call is up.
func (m *media) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = true
}

// common holds a description against our configuration and finds the codec.
func (m *media) common(s *SDP) (Codec, error) {
	if s.Index < 0 || s.Addr.Port() == 0 {
		return 0, errNoAudio
	}
	secure := len(m.cfg.SRTP) > 0
	switch {
	case secure && s.Proto == "RTP/AVP":
		return 0, errInsecure
	case secure && s.Proto != "RTP/SAVP", !secure && s.Proto != "RTP/AVP":
		return 0, errNotSecure
	case secure && len(s.Cryptos) == 0:
		return 0, errMissingKey
	}
	for _, pt := range s.Formats {
		for _, c := range m.cfg.Codecs {
			if int(c) == pt {
				return c, nil
			}
		}
	}
	return 0, errNoCodec
}

// agreeLocked puts an agreement into force.
func (m *media) agreeLocked(remote *SDP, codec Codec, dir Direction, ours []Crypto, theirs Crypto) error {
	out, in := (*cipher)(nil), (*cipher)(nil)
	if len(ours) > 0 {
		var err error
		if out, err = newCipher(m.out, ours[0]); err != nil {
			return err
		}
		if in, err = newCipher(m.in, theirs); err != nil {
			return err
		}
		m.stats.Suite = theirs.Suite
	}
	m.remote, m.codec, m.agreed, m.out, m.in = remote, codec, dir, out, in
	m.stats.Codec = codec
	return nil
}

// rekey makes new keys for the next offer.
func (m *media) rekey() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range m.keys {
		m.keys[s] = s.newKey()
	}
}

// setWant changes what the next description asks for and returns what was wished before.
func (m *media) setWant(d Direction) Direction {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.want
	m.want = d
	return old
}

// snapshot is a copy of the counters.
func (m *media) snapshot() MediaStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// sendRTP sends a packet each 20 ms while the agreement lets us.
func (m *media) sendRTP() {
	sine := tone.NewSine(m.cfg.Tone, m.cfg.Level)
	pcm := make([]int16, frameSize)
	p := rtpPacket{seq: uint16(newNumber()) >> 1, timestamp: newNumber(), marker: true}
	due := time.Now()
	for {
		due = due.Add(frameTime)
		if late := time.Since(due); late > 10*frameTime { // the machine stood still: don't burst
			due = due.Add(late)
		}
		select {
		case <-m.stop:
			return
		case <-time.After(time.Until(due)):
		}
		if m.cfg.Tone > 0 {
			sine.Read(pcm)
		}
		p.timestamp += frameSize
		if m.sendFrame(&p, pcm) {
			p.seq++
			p.marker = false
		} else {
			p.marker = true // first packet after a silence (RFC 3551 §4.1)
		}
	}
}

// sendFrame sends one packet, unless nothing is agreed or we are to be silent.
func (m *media) sendFrame(p *rtpPacket, pcm []int16) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.live || !m.agreed.sends() || m.want != SendRecv || m.remote == nil || m.remote.Addr.Port() == 0 || m.remote.Addr.Addr().IsUnspecified() {
		return false
	}
	p.payloadType, p.ssrc, p.payload = uint8(m.codec), m.ssrc, m.codec.Encode(nil, pcm)
	b := p.bytes()
	if m.out != nil {
		var err error
		if b, err = m.out.ctx.EncryptRTP(nil, b, nil); err != nil {
			return false
		}
	}
	if _, err := m.rtp.WriteToUDPAddrPort(b, m.remote.Addr); err != nil {
		return false
	}
	m.stats.Sent++
	return true
}

// sendRTCP sends a sender report every now and then, also during hold.
func (m *media) sendRTCP() {
	tick := time.NewTicker(m.cfg.RTCPEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case now := <-tick.C:
			m.report(now)
		}
	}
}

func (m *media) report(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.live || m.remote == nil || m.remote.RTCP.Port() == 0 || m.remote.RTCP.Addr().IsUnspecified() {
		return
	}
	sent := uint32(m.stats.Sent)
	b := senderReport(m.ssrc, now, sent*frameSize, sent, sent*frameSize, m.cname)
	if m.out != nil {
		var err error
		if b, err = m.out.ctx.EncryptRTCP(nil, b, nil); err != nil {
			return
		}
	}
	if _, err := m.rtcp.WriteToUDPAddrPort(b, m.remote.RTCP); err == nil {
		m.stats.RTCPSent++
	}
}

func (m *media) read(conn *net.UDPConn, got func([]byte, netip.AddrPort)) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil { // other errors are ICMP's about what we sent
			got(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		}
	}
}

// gotRTP checks one packet against the agreement and puts its sound into the ring.
func (m *media) gotRTP(b []byte, from netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.LastRTPSource = from
	switch {
	case m.remote == nil:
		m.stats.Early++
		return
	case from != m.remote.Addr:
		m.stats.Foreign++
		return
	}
	if m.in != nil {
		var err error
		if b, err = m.in.ctx.DecryptRTP(nil, b, nil); err != nil {
			m.stats.AuthFailures++
			return
		}
	}
	p, err := parseRTP(b)
	if err != nil {
		m.stats.Malformed++
		return
	}
	if p.payloadType != uint8(PCMU) && p.payloadType != uint8(PCMA) {
		m.stats.WrongPayload++
		return
	}
	m.orderLocked(p)
	m.stats.Received++
	pcm := Codec(p.payloadType).Decode(nil, p.payload)
	m.heard.add(frame{at: time.Now(), ssrc: p.ssrc, timestamp: p.timestamp, pcm: pcm})
}

// orderLocked counts gaps, repetitions and new streams.
func (m *media) orderLocked(p rtpPacket) {
	switch {
	case !m.gotStream:
	case p.ssrc != m.lastSSRC:
		m.stats.SSRCChanges++
	default:
		step := int16(p.seq - m.lastSeq)
		if step <= 0 {
			m.stats.Late++
			return
		}
		m.stats.Lost += uint64(step - 1)
	}
	m.gotStream, m.lastSSRC, m.lastSeq = true, p.ssrc, p.seq
}

func (m *media) gotRTCP(b []byte, from netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.remote == nil:
		m.stats.Early++
		return
	case from.Addr() != m.remote.RTCP.Addr():
		m.stats.Foreign++
		return
	}
	if m.in != nil {
		var err error
		if b, err = m.in.ctx.DecryptRTCP(nil, b, nil); err != nil {
			m.stats.RTCPFailures++
			return
		}
	}
	if !isRTCP(b) {
		m.stats.Malformed++
		return
	}
	m.stats.RTCPReceived++
}

// close ends the sockets; what was heard and counted stays.
func (m *media) close() {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed = true
	m.mu.Unlock()
	close(m.stop)
	m.rtp.Close()
	m.rtcp.Close()
	m.wg.Wait()
}
