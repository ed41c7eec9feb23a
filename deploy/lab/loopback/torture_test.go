package loopback

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/siptest"
)

const tortureDir = "../../../shared/sipmsg/testdata/torture"

// tortures says what comes of each message of RFC 4475 §3: the answer ("-" for silence) and the reasons that are counted.
// stream is empty where it is the same as over UDP. The messages are for domains that we don't serve, so those that are
// well formed end at the border in silence; shared/sipmsg says why the others are what they are.
var tortures = []struct{ name, udp, stream, inside string }{
	// §3.1.1 valid
	{"wsinv", "400 bad-header", "", "- bad-header"},
	{"intmeth", "- control-bytes", "", "- control-bytes"},
	{"esc01", "- unknown-domain", "", "404 unknown-domain"},
	{"escnull", "- unknown-domain", "", "404 unknown-domain"},
	{"esc02", "405 method-not-allowed", "", "405 method-not-allowed"},
	{"lwsdisp", "- unknown-domain", "", "200"},
	{"longreq", "400 too-many-headers", "", "- too-many-headers"},
	{"dblreq", "400 bad-content-length", "400 missing-header unknown-domain", "- bad-content-length"}, // on a stream: two requests
	{"semiuri", "- unknown-domain", "", "200"},
	{"transports", "- unknown-domain", "", "200"},
	{"mpart01", "415 unsupported-body", "", "404 unknown-domain"},
	{"unreason", "- stray-response", "", "- stray-response"},
	{"noreason", "- stray-response", "", "- stray-response"},
	// §3.1.2 invalid
	{"badinv01", "- bad-header", "", "- bad-header"},
	{"clerr", "400 bad-content-length", "-", "- bad-content-length"}, // on a stream: the rest is still to come
	{"ncl", "400 bad-content-length", "400 bad-framing", "- bad-content-length"},
	{"scalar02", "- bad-number", "", "- bad-number"},
	{"scalarlg", "- bad-number", "", "- bad-number"},
	{"quotbal", "- bad-header", "", "- bad-header"},
	{"ltgtruri", "400 bad-start-line", "", "- bad-start-line"},
	{"lwsruri", "400 bad-start-line", "", "- bad-start-line"},
	{"lwsstart", "400 bad-start-line", "", "- bad-start-line"},
	{"trws", "400 bad-start-line", "- not-sip", "- bad-start-line"},
	{"escruri", "400 embedded-headers", "", "400 embedded-headers"},
	{"baddate", "400 bad-header", "", "400 bad-header"},
	{"regbadct", "400 bad-header", "", "- bad-header"},
	{"badaspec", "- bad-uri", "", "- bad-uri"},
	{"baddn", "- bad-header", "", "- bad-header"},
	{"badvers", "505 bad-version", "", "- bad-version"},
	{"mismatch01", "400 cseq-mismatch", "", "400 cseq-mismatch"},
	{"mismatch02", "400 cseq-mismatch", "", "400 cseq-mismatch"},
	{"bigcode", "- bad-number", "", "- bad-number"},
	// §3.2 transaction layer
	{"badbranch", "400 missing-header", "", "400 missing-header"},
	// §3.3 application layer
	{"insuf", "400 missing-header", "", "400 missing-header"},
	{"unkscm", "416 bad-uri", "", "416 bad-uri"},
	{"novelsc", "416 bad-uri", "", "416 bad-uri"},
	{"unksm2", "400 bad-uri", "", "400 bad-uri"},
	{"bext01", "420 extension-required", "", "420 extension-required"},
	{"invut", "415 unsupported-body", "", "404 unknown-domain"},
	{"regaut01", "- unknown-domain", "", "404 unknown-domain"},
	{"multi01", "- duplicate-header", "", "- duplicate-header"},
	{"mcl01", "400 duplicate-header", "400 bad-framing", "- duplicate-header"},
	{"bcast", "- stray-response", "", "- stray-response"},
	{"zeromf", "483 too-many-hops", "", "200"}, // an OPTIONS to the exchange itself goes no further
	{"cparam01", "- unknown-domain", "", "404 unknown-domain"},
	{"cparam02", "- unknown-domain", "", "404 unknown-domain"},
	{"regescrt", "400 embedded-headers", "", "400 embedded-headers"},
	{"sdp01", "406 unsupported-body", "", "404 unknown-domain"},
	// §3.4 backward compatibility
	{"inv2543", "400 missing-header", "400 bad-framing", "400 missing-header"},
}

// atHome are those that have more to say if they are for a domain of ours.
var atHome = []struct{ name, udp, stream, inside string }{
	{"esc01", "407", "", "407"},
	{"escnull", "- amplification", "401", "401"}, // a challenge is longer than it
	{"lwsdisp", "200", "", "200"},
	{"semiuri", "200", "", "200"},
	{"transports", "200", "", "200"},
	{"regaut01", "- amplification", "401", "401"}, // a challenge is longer than it
	{"cparam01", "- amplification", "401", "401"}, // a challenge is longer than it
	{"cparam02", "- amplification", "401", "401"}, // a challenge is longer than it
	{"invut", "415 unsupported-body", "", "407"},
	{"sdp01", "406 unsupported-body", "", "407"},
}

// Every message of RFC 4475 gets its answer or is dropped with a name, and both programs still make a call.
func TestTorture(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP = true })
	s.extension("1951", "1952")
	files, err := filepath.Glob(filepath.Join(tortureDir, "*.dat"))
	if err != nil || len(files) != len(tortures) {
		t.Fatalf("%d files, %d answers, %v", len(files), len(tortures), err)
	}
	targets := []struct {
		name, program string
		cfg           siptest.Config
		want          func(udp, stream, inside string) string
	}{
		{"border-udp", "sbc", siptest.Config{Transport: siptest.UDP, Server: net.JoinHostPort(s.addr(1), strconv.Itoa(udpPort)), Bind: s.ip(91)},
			func(udp, _, _ string) string { return udp }},
		{"border-tls", "sbc", siptest.Config{Transport: siptest.TLS, TLS: s.tls(), Server: net.JoinHostPort(s.addr(1), strconv.Itoa(tlsPort)), Bind: s.ip(92)},
			func(udp, stream, _ string) string {
				if stream == "" {
					return udp
				}
				return stream
			}},
		{"exchange", "pbx", siptest.Config{Transport: siptest.UDP, Server: net.JoinHostPort(s.addr(10), strconv.Itoa(udpPort)), Bind: s.ip(93)},
			func(_, _, inside string) string { return inside }},
	}
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) { // one after the other: the counters tell what came of each message
			s := s.in(t)
			for _, c := range tortures {
				s.torture(target.program, target.cfg, c.name, "", target.want(c.udp, c.stream, c.inside))
			}
			for _, c := range atHome {
				s.torture(target.program, target.cfg, c.name, domain, target.want(c.udp, c.stream, c.inside))
			}
		})
	}
	p := connect(t, s.register(s.config(remote, "1951")), s.register(s.config(insideUDP, "1952")), "1952")
	p.talk(t)
	p.hangup(t, true)
}

// torture sends one message, of another domain if one is given, and compares what comes of it.
func (s *site) torture(program string, cfg siptest.Config, name, domain, want string) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(tortureDir, name+".dat"))
	if err != nil {
		s.t.Fatal(err)
	}
	// Some are of one transaction, and so are the same message over UDP and over TLS; here each is one of its own.
	text := string(data)
	if name != "badbranch" { // which has none
		text = strings.ReplaceAll(text, "branch=z9hG4bK", "branch=z9hG4bK"+name+string(cfg.Transport)+domain)
	}
	if domain != "" {
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		head = strings.ReplaceAll(head, name+".", name+".home.") // the Call-ID: or else it is merged with the one before
		text = ourURI.ReplaceAllString(head, "${1}"+domain) + "\r\n\r\n" + body
	}
	before := s.refused(program)
	answer, reasons, _ := strings.Cut(want, " ")
	got := s.send(cfg, text, answer != "-", func() bool {
		for _, r := range strings.Fields(reasons) {
			if s.refused(program)[r] == before[r] {
				return false
			}
		}
		return true
	})
	after := s.refused(program)
	for _, r := range strings.Fields(reasons) {
		before[r]++
	}
	for r, n := range after {
		if n != before[r] {
			s.t.Errorf("%s: counted %s %d times, want %q", name, r, n-before[r], want)
		}
	}
	code := "-"
	if got != "" {
		code = strings.TrimPrefix(strings.Fields(got)[0]+" "+strings.Fields(got)[1], "SIP/2.0 ")
	}
	if code != answer {
		s.t.Errorf("%s: answered %s, want %q\n%s", name, code, want, got)
	}
}

// ourURI finds the hosts of the URIs in the header.
var ourURI = regexp.MustCompile(`(sips?:(?:[^@\s<>]*@)?)[a-z.]*example\.(?:com|net|org)`)

// send sends bytes as they are. It returns the first answer if one is to come, otherwise what has come once the message is
// counted.
func (s *site) send(cfg siptest.Config, text string, answered bool, counted func() bool) string {
	s.t.Helper()
	conn := s.dial(cfg)
	defer conn.Close()
	if _, err := conn.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
	wait := patience
	if !answered {
		wait = 50 * time.Millisecond
		eventually(s.t, "the message to be counted", func() string {
			if !counted() {
				return "it is not:\n" + text
			}
			return ""
		})
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 64<<10)
	n, _ := conn.Read(buf) // nothing, or the end, is an answer too
	return string(buf[:n])
}

// dial opens a socket to a server.
func (s *site) dial(cfg siptest.Config) net.Conn {
	s.t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: cfg.Bind.AsSlice()}}
	network := "tcp"
	if cfg.Transport == siptest.UDP {
		network, d.LocalAddr = "udp", &net.UDPAddr{IP: cfg.Bind.AsSlice()}
	}
	conn, err := d.Dial(network, cfg.Server)
	if err == nil && cfg.Transport == siptest.TLS {
		secure := tls.Client(conn, cfg.TLS)
		conn, err = secure, secure.HandshakeContext(within(s.t, patience))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}
