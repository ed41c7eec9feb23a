package siptest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Transport is what SIP messages travel over.
type Transport string

// The transports.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
	WS  Transport = "ws" // RFC 7118
	WSS Transport = "wss"
)

// stream reports whether messages are framed by Content-Length on a connection that does not lose them.
func (t Transport) stream() bool { return t != UDP }

func (t Transport) secure() bool { return t == TLS || t == WSS }

func (t Transport) webSocket() bool { return t == WS || t == WSS }

// param is the transport as it stands in a URI (RFC 7118 §5.2.2).
func (t Transport) param() string {
	if t.webSocket() {
		return string(WS)
	}
	return string(t)
}

// Config says who a phone is and where it lives. Only Server or Bind must be given.
type Config struct {
	Name     string // for errors and ladders; default: User
	User     string // user part of the address of record; default "phone"
	AuthUser string // name to authenticate by; default: User
	Password string // no challenge is answered if empty
	Domain   string // host part of the address of record; default: the server's host, else the bound address

	Transport Transport   // default UDP
	Server    string      // host:port of registrar and outbound proxy; empty for a phone that is called and calls directly
	TLS       *tls.Config // for TLS and WSS: roots, and certificates if the phone listens
	Bind      netip.Addr  // own address; default: the address that leads to the server
	Port      uint16      // own port (UDP, or of the listener); 0 for any
	Listen    bool        // TCP, TLS: accept connections; always so without a server

	Path   string // of the WebSocket; default /
	Origin string // page that opens the WebSocket; empty for a program that is no browser

	SRTP        []Suite  // suites to offer and accept, best first; empty for plain RTP only
	Codecs      []Codec  // default PCMU, PCMA
	Tone        float64  // Hz to send during calls; 0 for silence
	Level       float64  // dBm0 of the tone; 0 means -10
	Algorithms  []string // digest algorithms known; default SHA-256, MD5
	Answer      Answer   // what to do with incoming calls; default: answer at once
	UserAgent   string   // default "siptest"
	MediaBind   netip.Addr
	RTCPEvery   time.Duration // between sender reports; default 1 s
	T1          time.Duration // RFC 3261 §17.1.1.1; default 500 ms
	LadderLimit int           // messages kept; default ladder.DefaultLimit

	// Within runs a function that opens sockets; nil runs it as it is. A test that lives in several network namespaces
	// enters the phone's namespace here: the function does not leave its goroutine before the socket exists.
	Within func(open func() error) error
}

// Answer says what becomes of an incoming call. The zero value answers at once.
type Answer struct {
	mode  answerMode
	delay time.Duration
	code  int
	moved string // Contact of a redirection
}

type answerMode uint8

const (
	modeAccept answerMode = iota
	modeRefuse
	modeRing
	modeSilent
	modeManual
)

// AcceptAfter rings for a while, then answers 200.
func AcceptAfter(ring time.Duration) Answer { return Answer{mode: modeAccept, delay: ring} }

// RefuseWith refuses with a final code: 486 busy, 603 decline, 480 not available.
func RefuseWith(code int) Answer { return Answer{mode: modeRefuse, code: code} }

// RefuseAfter rings for a while, then refuses with a final code.
func RefuseAfter(ring time.Duration, code int) Answer {
	return Answer{mode: modeRefuse, delay: ring, code: code}
}

// Redirect rings for a while, then says where the callee is instead (RFC 3261 §21.3): a number, user@host or a URI.
func Redirect(ring time.Duration, code int, target string) Answer {
	return Answer{mode: modeRefuse, delay: ring, code: code, moved: target}
}

// RingForever rings and never answers.
func RingForever() Answer { return Answer{mode: modeRing} }

// Silent sends nothing at all, as a phone that is switched off.
func Silent() Answer { return Answer{mode: modeSilent} }

// Manual leaves all to the receiver of Incoming: Ring, Accept, Refuse.
func Manual() Answer { return Answer{mode: modeManual} }

var errConfig = errors.New("phone configuration")

// withDefaults fills what was left empty and refuses what can't be.
func (c Config) withDefaults() (Config, error) {
	if c.Transport == "" {
		c.Transport = UDP
	}
	switch c.Transport {
	case UDP, TCP, WS:
	case TLS, WSS:
		if c.TLS == nil {
			return c, fmt.Errorf("%w: TLS without a TLS configuration", errConfig)
		}
	default:
		return c, fmt.Errorf("%w: transport %q", errConfig, c.Transport)
	}
	if c.Transport.webSocket() && (c.Listen || c.Server == "") {
		return c, fmt.Errorf("%w: nobody can call over a WebSocket that the phone has not opened", errConfig)
	}
	def(&c.User, "phone")
	def(&c.Name, c.User)
	def(&c.AuthUser, c.User)
	def(&c.UserAgent, "siptest")
	if err := c.fillAddresses(); err != nil {
		return c, err
	}
	if strings.ContainsAny(c.User+c.Domain+c.UserAgent, "\r\n <>\"") {
		return c, fmt.Errorf("%w: user, domain or user agent holds a character that must not stand there", errConfig)
	}
	if len(c.Codecs) == 0 {
		c.Codecs = []Codec{PCMU, PCMA}
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{SHA256, MD5}
	}
	for _, s := range c.SRTP {
		if !s.known() {
			return c, fmt.Errorf("%w: SRTP suite %q", errConfig, s)
		}
	}
	if c.Level == 0 {
		c.Level = -10
	}
	if c.RTCPEvery <= 0 {
		c.RTCPEvery = time.Second
	}
	if c.T1 <= 0 {
		c.T1 = 500 * time.Millisecond
	}
	if c.Within == nil {
		c.Within = func(open func() error) error { return open() }
	}
	return c, nil
}

func (c *Config) fillAddresses() error {
	if c.Server == "" {
		c.Listen = true
		if !c.Bind.IsValid() {
			return fmt.Errorf("%w: neither a server nor an own address", errConfig)
		}
	} else if !c.Bind.IsValid() {
		within := c.Within
		if within == nil {
			within = func(open func() error) error { return open() }
		}
		err := within(func() (err error) {
			c.Bind, err = addressTowards(c.Server)
			return err
		})
		if err != nil {
			return err
		}
	}
	if c.Domain == "" {
		c.Domain = bracket(c.Bind.String())
		if host, _, err := net.SplitHostPort(c.Server); err == nil {
			c.Domain = bracket(host)
		}
	}
	if !c.MediaBind.IsValid() {
		c.MediaBind = c.Bind
	}
	return nil
}

// addressTowards is the own address that packets to the server would leave from. Nothing is sent.
func addressTowards(server string) (netip.Addr, error) {
	conn, err := net.Dial("udp", server)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("finding own address towards %s: %w", server, err)
	}
	defer conn.Close()
	local, _ := conn.LocalAddr().(*net.UDPAddr)
	return local.AddrPort().Addr().Unmap(), nil
}

// bracket puts an IPv6 address into the form that URIs want.
func bracket(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

func def(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
