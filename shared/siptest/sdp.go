package siptest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"brickhouse/shared/tone"
)

// Codec is a G.711 law, by its static payload type.
type Codec = tone.Law

// The codecs.
const (
	PCMU = tone.MuLaw
	PCMA = tone.ALaw
)

// Direction is the direction attribute of a stream (RFC 3264 §5.1).
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

func (d Direction) sends() bool    { return d == SendRecv || d == SendOnly }
func (d Direction) receives() bool { return d == SendRecv || d == RecvOnly }

// direction is the attribute for a pair of wishes.
func direction(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// answerTo is what we answer to an offered direction if we ourselves want own (RFC 3264 §6.1).
func (d Direction) answerTo(own Direction) Direction {
	return direction(d.receives() && own.sends(), d.sends() && own.receives())
}

// SDP is what a phone reads in a session description: the first audio stream, and how many streams there are.
type SDP struct {
	Origin   string         // the o= line's value
	Addr     netip.AddrPort // where the audio is wanted
	RTCP     netip.AddrPort // where RTCP is wanted
	Proto    string         // "RTP/AVP", "RTP/SAVP"
	Formats  []int          // payload types, best first
	Dir      Direction
	Cryptos  []Crypto
	Index    int      // which m= line the audio is
	AllLines []string // the m= lines
}

// Crypto is an a=crypto attribute (RFC 4568).
type Crypto struct {
	Tag   int
	Suite Suite
	Key   []byte // master key and salt
}

var (
	errSDP        = errors.New("malformed session description")
	errUnwanted   = errors.New("session description is not acceptable")
	errNoAudio    = fmt.Errorf("%w: no audio", errUnwanted)
	errNoCodec    = fmt.Errorf("%w: no common codec", errUnwanted)
	errInsecure   = fmt.Errorf("%w: RTP without encryption", errUnwanted)
	errNotSecure  = fmt.Errorf("%w: encryption that is not configured", errUnwanted)
	errNoSuite    = fmt.Errorf("%w: no common SRTP suite", errUnwanted)
	errMissingKey = fmt.Errorf("%w: RTP/SAVP without a key", errUnwanted)
)

// maxSDP bounds a session description in bytes.
const maxSDP = 64 << 10

// ParseSDP reads a session description.
func ParseSDP(b []byte) (*SDP, error) {
	if len(b) > maxSDP || !strings.HasPrefix(string(b), "v=0") {
		return nil, fmt.Errorf("%w: %d bytes that begin with no v=0", errSDP, len(b))
	}
	s := &SDP{Dir: SendRecv, Index: -1}
	r := sdpReader{s: s}
	for _, line := range strings.Split(strings.TrimRight(string(b), "\r\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		kind, value, ok := strings.Cut(line, "=")
		if !ok || len(kind) != 1 {
			return nil, fmt.Errorf("%w: line %q", errSDP, line)
		}
		if err := r.line(kind[0], value); err != nil {
			return nil, err
		}
	}
	return s, r.finish()
}

// sdpReader holds what is known while reading from top to bottom.
type sdpReader struct {
	s                *SDP
	session, media   netip.Addr // c= of the session and of the audio
	port, rtcpPort   uint16
	rtcpAddr         netip.Addr
	inMedia, inAudio bool
}

func (r *sdpReader) line(kind byte, value string) error {
	switch kind {
	case 'o':
		r.s.Origin = value
	case 'c':
		return r.connection(value)
	case 'm':
		return r.mediaLine(value)
	case 'a':
		if r.inAudio || !r.inMedia {
			return r.attribute(value)
		}
	}
	return nil
}

func (r *sdpReader) connection(value string) error {
	f := strings.Fields(value)
	if len(f) != 3 || f[0] != "IN" {
		return fmt.Errorf("%w: c=%s", errSDP, value)
	}
	addr, err := netip.ParseAddr(f[2])
	if err != nil {
		return fmt.Errorf("%w: c=%s", errSDP, value)
	}
	if r.inAudio {
		r.media = addr
	} else if !r.inMedia {
		r.session = addr
	}
	return nil
}

func (r *sdpReader) mediaLine(value string) error {
	f := strings.Fields(value)
	if len(f) < 4 {
		return fmt.Errorf("%w: m=%s", errSDP, value)
	}
	r.s.AllLines = append(r.s.AllLines, value)
	r.inMedia, r.inAudio = true, false
	if f[0] != "audio" || r.s.Index >= 0 {
		return nil
	}
	port, err := strconv.ParseUint(f[1], 10, 16)
	if err != nil {
		return fmt.Errorf("%w: m=%s", errSDP, value)
	}
	r.inAudio, r.port = true, uint16(port)
	r.s.Index, r.s.Proto = len(r.s.AllLines)-1, f[2]
	for _, pt := range f[3:] {
		if n, err := strconv.Atoi(pt); err == nil {
			r.s.Formats = append(r.s.Formats, n)
		}
	}
	return nil
}

func (r *sdpReader) attribute(value string) error {
	name, rest, _ := strings.Cut(value, ":")
	switch name {
	case string(SendRecv), string(SendOnly), string(RecvOnly), string(Inactive):
		r.s.Dir = Direction(name)
	case "crypto":
		if c, ok := parseCrypto(rest); ok && r.inAudio && len(r.s.Cryptos) < 16 {
			r.s.Cryptos = append(r.s.Cryptos, c)
		}
	case "rtcp": // RFC 3605
		f := strings.Fields(rest)
		if len(f) == 0 {
			return fmt.Errorf("%w: a=%s", errSDP, value)
		}
		port, err := strconv.ParseUint(f[0], 10, 16)
		if err != nil {
			return fmt.Errorf("%w: a=%s", errSDP, value)
		}
		r.rtcpPort = uint16(port)
		if len(f) == 4 {
			r.rtcpAddr, _ = netip.ParseAddr(f[3])
		}
	}
	return nil
}

func (r *sdpReader) finish() error {
	if r.s.Index < 0 {
		return nil
	}
	addr := r.media
	if !addr.IsValid() {
		addr = r.session
	}
	if !addr.IsValid() {
		return fmt.Errorf("%w: no c= line", errSDP)
	}
	r.s.Addr = netip.AddrPortFrom(addr, r.port)
	if r.rtcpPort == 0 {
		r.rtcpPort = r.port + 1
	}
	if !r.rtcpAddr.IsValid() {
		r.rtcpAddr = addr
	}
	r.s.RTCP = netip.AddrPortFrom(r.rtcpAddr, r.rtcpPort)
	return nil
}

// parseCrypto reads an a=crypto value. Unknown suites and unknown session parameters are passed over (RFC 4568 §5.1.2, §6.3).
func parseCrypto(value string) (Crypto, bool) {
	f := strings.Fields(value)
	if len(f) != 3 {
		return Crypto{}, false
	}
	tag, err := strconv.Atoi(f[0])
	key, ok := strings.CutPrefix(f[2], "inline:")
	if err != nil || !ok {
		return Crypto{}, false
	}
	c := Crypto{Tag: tag, Suite: Suite(f[1])}
	key, _, _ = strings.Cut(key, "|") // lifetime; an MKI would have its length after a second "|"
	if c.Key, err = base64.StdEncoding.DecodeString(key); err != nil {
		return Crypto{}, false
	}
	return c, c.Suite.known() && len(c.Key) == c.Suite.keyLen()+c.Suite.saltLen()
}

func (c Crypto) String() string {
	return fmt.Sprintf("%d %s inline:%s", c.Tag, c.Suite, base64.StdEncoding.EncodeToString(c.Key))
}

// sdpDraft is a session description to be written.
type sdpDraft struct {
	id, version uint64
	addr        netip.Addr
	port        uint16
	codecs      []Codec
	dir         Direction
	cryptos     []Crypto
	offer       *SDP // what we answer; nil for an offer
}

// bytes writes the description; streams of the offer that are not our audio are refused with port 0 (RFC 3264 §6).
func (d sdpDraft) bytes() []byte {
	family := "IP4"
	if d.addr.Is6() {
		family = "IP6"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\n", d.id, d.version, family, d.addr, family, d.addr)
	lines, audio := []string{""}, 0
	if d.offer != nil {
		lines, audio = d.offer.AllLines, d.offer.Index
	}
	for i, line := range lines {
		if i == audio {
			d.audio(&b)
			continue
		}
		f := strings.Fields(line)
		fmt.Fprintf(&b, "m=%s 0 %s\r\n", f[0], strings.Join(f[2:], " "))
	}
	return []byte(b.String())
}

func (d sdpDraft) audio(b *strings.Builder) {
	proto := "RTP/AVP"
	if len(d.cryptos) > 0 {
		proto = "RTP/SAVP"
	}
	fmt.Fprintf(b, "m=audio %d %s", d.port, proto)
	for _, c := range d.codecs {
		fmt.Fprintf(b, " %d", c)
	}
	b.WriteString("\r\n")
	for _, c := range d.codecs {
		fmt.Fprintf(b, "a=rtpmap:%d %s/%d\r\n", c, c, tone.Rate)
	}
	for _, c := range d.cryptos {
		fmt.Fprintf(b, "a=crypto:%s\r\n", c)
	}
	fmt.Fprintf(b, "a=ptime:20\r\na=%s\r\n", d.dir)
}
