package loopback

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// request writes a request of that method as small as it may be, or with what phones write.
func request(method, uri, toTag string, n int, more ...string) []byte {
	tag := ""
	if toTag != "" {
		tag = ";tag=" + toTag
	}
	return []byte(fmt.Sprintf("%[1]s %[2]s SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK%[3]d;rport\r\nMax-Forwards:9\r\nf:<sip:1001@%[4]s>;tag=a\r\nt:<sip:1001@%[4]s>%[5]s\r\n"+
		"i:%[3]d\r\nCSeq:1 %[1]s\r\n%[6]s\r\n", method, uri, n, domain, tag, strings.Join(append(more, ""), "\r\n")))
}

// strangersSay is what is sent to the border in somebody else's name: each method, small and large, within calls and out of them, and the
// torture messages.
func strangersSay(t *testing.T) (all [][]byte) {
	t.Helper()
	contact := "m:<sip:1001@192.0.2.1>"
	sdp := "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
	offer := fmt.Sprintf("c:application/sdp\r\nl:%d\r\n\r\n%s", len(sdp), sdp[:len(sdp)-2])
	for _, m := range []string{"OPTIONS", "REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "FOO"} {
		for _, uri := range []string{"sip:" + domain, "sip:1002@" + domain} {
			for _, toTag := range []string{"", "nobody"} {
				n := len(all)
				all = append(all,
					request(m, uri, toTag, n, "l:0"),
					request(m, uri, toTag, n+1, contact, "l:0"),
					request(m, uri, toTag, n+2, contact, "Require: nothing, at, all", "l:0"),
					request(m, uri, toTag, n+3, contact, "User-Agent: "+strings.Repeat("phone ", 100), "l:0"),
					request(m, uri, toTag, n+4, contact, offer),
				)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(tortureDir, "*.dat"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b, []byte(strings.ReplaceAll(string(b), "example.com", domain)))
	}
	return all
}

// TestNoAmplification: whoever has not proved that he is where his datagrams come from is sent at most one answer to each, of no more bytes,
// and nothing later.
func TestNoAmplification(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) {
		o.AccessUDP, o.AccessSRTP, o.Threshold, o.Weights = true, "allow", 1000, "{bad-credentials: 1}"
	})
	messages := strangersSay(t)
	socks := make([]*net.UDPConn, len(messages))
	for n, m := range messages {
		socks[n] = s.stranger()
		if _, err := socks[n].Write(m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // so that none is lost
	}
	time.Sleep(4 * time.Second) // the time of three retransmissions of an answer (RFC 3261 timer G)
	answered := 0
	for n, m := range messages {
		got := received(socks[n])
		if len(got) > 0 {
			answered++
		}
		if len(got) > 1 || len(got) == 1 && len(got[0]) > len(m) {
			t.Errorf("%d bytes are answered with\n%s\n%s", len(m), strings.Join(got, "\n--\n"), m)
		}
	}
	if answered < len(messages)/4 {
		t.Errorf("only %d of %d are answered", answered, len(messages))
	}
	if s.refused("sbc")["amplification"] == 0 {
		t.Error("nobody was refused an answer for its length")
	}
}

// TestShortChallenge: a request has room for a challenge if it is as long as those of phones.
func TestShortChallenge(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP = true })
	for n, c := range []struct {
		agent      int // bytes of User-Agent and such
		challenges int
	}{{0, 0}, {150, 1}, {400, 2}} {
		sock := s.stranger()
		req := request("REGISTER", "sip:"+domain, "", n, "m:<sip:1001@192.0.2.1>", "User-Agent: "+strings.Repeat("x", c.agent), "l:0")
		if _, err := sock.Write(req); err != nil {
			t.Fatal(err)
		}
		_ = sock.SetReadDeadline(time.Now().Add(5 * time.Second))
		if c.challenges == 0 {
			_ = sock.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		buf := make([]byte, 4096)
		got, _ := sock.Read(buf)
		if k := strings.Count(string(buf[:got]), "WWW-Authenticate"); k != c.challenges || got > len(req) {
			t.Errorf("%d bytes are answered with %d, %d challenges:\n%s", len(req), got, k, buf[:got])
		}
	}
}

// stranger is a socket that nobody knows.
func (s *site) stranger() *net.UDPConn {
	s.t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.addr(90))}, &net.UDPAddr{IP: net.ParseIP(s.addr(1)), Port: udpPort})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// received is what has come by now.
func received(c *net.UDPConn) (all []string) {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return all
		}
		all = append(all, string(buf[:n]))
	}
}
