package loopback

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// TestKamailioReadsTheSame sends what passes our screen, as we write it, to Kamailio, and wants that it reads the same request in it: whom it
// is from and for, to which dialog and transaction it belongs, what it carries. What passes are the torture messages and random changes of
// them; sipgo's reader is compared in shared/sipmsg.
func TestKamailioReadsTheSame(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath(kamailio); err != nil {
		t.Skip("no Kamailio here:", err)
	}
	s := &site{t: t}
	s.claim()
	conn := s.reader()
	random := rand.New(rand.NewPCG(1, 2))
	seeds := requestsOf(t)
	compared := 0
	for n := 0; compared < 3000 && n < 300_000; n++ {
		data := seeds[n%len(seeds)]
		if n >= len(seeds) {
			data = mutate(random, data, seeds[random.IntN(len(seeds))])
		}
		req, ok := passes(data)
		if !ok {
			continue
		}
		compared++
		out := sipmsg.Bytes(req)
		ours := []string{
			fmt.Sprintf("X-Line: %s %s@%s", req.Method, or(req.Recipient.User), host(req.Recipient)),
			fmt.Sprintf("X-From: %s@%s %s", or(req.From().Address.User), host(req.From().Address), tag(req.From().Params)),
			fmt.Sprintf("X-To: %s@%s %s", or(req.To().Address.User), host(req.To().Address), tag(req.To().Params)),
			fmt.Sprintf("X-Dialog: %d %s", req.CSeq().SeqNo, req.CallID().Value()),
			fmt.Sprintf("X-Body: %d", len(req.Body())),
		}
		theirs, err := readBy(conn, out)
		if err != nil {
			t.Errorf("Kamailio: %v\n%s", err, out)
			continue
		}
		for _, line := range ours {
			if !strings.Contains(theirs, "\r\n"+line+"\r\n") {
				t.Errorf("we read %q, Kamailio\n%s\nof\n%s", line, theirs, out)
				break
			}
		}
	}
	t.Logf("%d requests compared", compared)
	if compared < 1000 {
		t.Errorf("only %d requests passed the screen", compared)
	}
}

const kamailio = "/usr/sbin/kamailio"

// reader starts a Kamailio that tells how it reads, and connects to it.
func (s *site) reader() net.Conn {
	s.t.Helper()
	dir := s.t.TempDir()
	text, err := os.ReadFile("testdata/reader.cfg")
	if err != nil {
		s.t.Fatal(err)
	}
	listen := s.addr(70) + ":5060"
	conf := filepath.Join(dir, "reader.cfg")
	if err := os.WriteFile(conf, bytes.ReplaceAll(text, []byte("LISTEN"), []byte(listen)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, kamailio, "-f", conf, "-DD", "-E", "-m", "32", "-M", "4", "-Y", dir, "-P", filepath.Join(dir, "pid"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // interrupted
		if s.t.Failed() {
			s.t.Logf("kamailio wrote:\n%s", &said)
		}
	})
	conn, err := net.Dial("udp", listen)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := readBy(conn, []byte("OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKready\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")); err == nil {
			return conn
		}
	}
	s.t.Fatal("kamailio does not answer")
	return nil
}

// readBy is Kamailio's answer to a request.
func readBy(conn net.Conn, out []byte) (string, error) {
	buf := make([]byte, 65536)
	for { // what came too late
		_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := conn.Read(buf); err != nil {
			break
		}
	}
	if _, err := conn.Write(out); err != nil {
		return "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// requestsOf are the torture messages, for our domain, too, and a plain call.
func requestsOf(t *testing.T) (all [][]byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(tortureDir, "*.dat"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return append(all, request("INVITE", "sip:1002@"+domain, "", 1, "m:<sip:1001@192.0.2.1>", "c:application/sdp", "l:4\r\n\r\nabc"),
		request("BYE", "sip:1002@"+domain+";x=y?a=b", "to", 2, "Route: <sip:a@b;lr>, \"x, y\" <sip:c@d>", "l:0"))
}

// passes reads a request that our screens let through.
func passes(data []byte) (*sip.Request, bool) {
	lim := sipmsg.DefaultLimits()
	if !sipmsg.ScreenRaw(data, true, lim).OK() {
		return nil, false
	}
	msg, err := sipmsg.Parse(data)
	if err != nil || !sipmsg.Screen(msg, lim).OK() {
		return nil, false
	}
	req, ok := msg.(*sip.Request)
	if !ok || !crossing[string(req.Method)] {
		return nil, false
	}
	// What the border copies, and a Via of its own.
	sipmsg.RemoveFunc(req, func(name string) bool { return !crossing[name] })
	req.PrependHeader(&sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "192.0.2.1", Port: 5060, Params: sip.HeaderParams{{K: "branch", V: sipmsg.NewBranch()}},
	})
	return req, true
}

// crossing are methods and headers that cross the border. An ACK is left out: nobody answers it.
var crossing = map[string]bool{
	"INVITE": true, "BYE": true, "CANCEL": true, "OPTIONS": true, "REGISTER": true, "INFO": true, "PRACK": true, "UPDATE": true,
	"From": true, "To": true, "Call-ID": true, "CSeq": true, "Max-Forwards": true, "Contact": true, "Route": true, "Content-Type": true,
	"Supported": true, "Require": true, "Accept": true, "Expires": true, "Subject": true, "Privacy": true, "P-Asserted-Identity": true, "RAck": true,
}

// mutate changes a message at random: bytes that mean something, pieces moved, cut, doubled, lines of another message.
func mutate(r *rand.Rand, data, other []byte) []byte {
	const meaning = " \t:;,<>\"\\@=?%[]()*+-.0aZ/\r\n\x00\x7f\xc3\xa9"
	b := bytes.Clone(data)
	for range 1 + r.IntN(3) {
		if len(b) < 2 {
			return b
		}
		i, j := r.IntN(len(b)), r.IntN(len(b))
		i, j = min(i, j), max(i, j)
		j = min(j, i+r.IntN(30))
		switch r.IntN(5) {
		case 0:
			b[i] = meaning[r.IntN(len(meaning))]
		case 1:
			b = append(b[:i:i], b[j:]...)
		case 2:
			b = append(b[:j:j], b[i:]...)
		case 3:
			b = append(append(b[:i:i], meaning[r.IntN(len(meaning))]), b[i:]...)
		case 4:
			lines := bytes.SplitAfter(other, []byte("\r\n"))
			at := bytes.Index(b, []byte("\r\n"))
			if at < 0 {
				continue
			}
			b = append(append(b[:at+2:at+2], lines[r.IntN(len(lines))]...), b[at+2:]...)
		}
	}
	return b
}

// or is how Kamailio writes what is not there.
func or(s string) string {
	if s == "" {
		return "<null>"
	}
	return s
}

func host(u sip.Uri) string { return u.Host }

func tag(p sip.HeaderParams) string {
	v, _ := sipmsg.Param(p, "tag")
	return or(v)
}
