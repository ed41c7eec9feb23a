package siptest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"brickhouse/shared/tone"
)

// Programs that nobody here wrote hold the test phone to what the rest of the world speaks: Debian's SIPp, Kamailio and baresip.

// program is a foreign program that runs until the test ends.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program; it is terminated, and killed if need be, when the test ends.
func start(t *testing.T, path string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), "TERM=dumb")
	p.cmd.Dir = t.TempDir()
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's sip-tester, kamailio and baresip", err)
	}
	go func() {
		p.cmd.Wait() // the state is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.done
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(path), p.output())
		}
	})
	return p
}

// ends waits for the end of a program and wants exit status 0.
func (p *program) ends(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		t.Fatalf("%s does not end", p.cmd.Path)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with status %d", p.cmd.Path, code)
	}
}

// listens waits until a UDP port of loopback is taken.
func (p *program) listens(t *testing.T, port uint16) {
	t.Helper()
	waitFor(t, within(t), fmt.Sprintf("%s to listen on port %d", p.cmd.Path, port), func() bool {
		select {
		case <-p.done:
			t.Fatalf("%s ended: %s", p.cmd.Path, p.output())
		default:
		}
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.EADDRINUSE)
	})
}

// freePort is a UDP port that nobody has right now.
func freePort(t *testing.T) uint16 {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	must(t, err)
	defer conn.Close()
	return addrPort(conn.LocalAddr()).Port()
}

func TestSIPpCalls(t *testing.T) {
	bob := open(t, Config{User: "bob"})
	p := start(t, "sipp", "-sn", "uac", "-i", "127.0.0.1", "-p", fmt.Sprint(freePort(t)), "-s", "bob", "-m", "10", "-r", "20", "-d", "200",
		"-timeout", "50", "-timeout_error", "-nostdin", bob.Addr().String())
	for range 10 {
		over(t, incoming(t, bob), EndBye)
	}
	p.ends(t)
	faultless(t, bob)
}

func TestSIPpIsCalled(t *testing.T) {
	port, mediaPort := freePort(t), freePort(t)&^1
	p := start(t, "sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-mi", "127.0.0.1", "-mp", fmt.Sprint(mediaPort), "-rtp_echo",
		"-m", "1", "-timeout", "50", "-timeout_error", "-nostdin")
	p.listens(t, port)
	alice := open(t, Config{User: "alice", Tone: 620})
	ctx := within(t)
	call, err := alice.Call(ctx, fmt.Sprintf("sip:service@127.0.0.1:%d", port))
	must(t, err)
	_, err = call.AwaitTone(ctx, 620) // SIPp sends back what it gets
	must(t, err)
	must(t, call.Hangup(ctx))
	p.ends(t)
	faultless(t, alice)
}

const kamailioConf = `#!KAMAILIO
children=1
log_stderror=yes
debug=1
dns=no
rev_dns=no
listen=udp:127.0.0.1:%[1]d
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
modparam("auth", "qop", "auth")
modparam("auth", "nonce_count", 1)
modparam("auth", "algorithm", "%[2]s")
request_route {
	if (has_totag()) {
		if (loose_route()) t_relay();
		exit;
	}
	if (is_method("CANCEL")) {
		if (t_check_trans()) t_relay();
		exit;
	}
	if (is_method("ACK")) exit;
	if (is_method("REGISTER")) {
		if (!pv_www_authenticate("lab.test", "geheim", "0")) {
			www_challenge("lab.test", "1");
			exit;
		}
		save("location");
		exit;
	}
	if (!pv_proxy_authenticate("lab.test", "geheim", "0")) {
		proxy_challenge("lab.test", "1");
		exit;
	}
	record_route();
	if (!lookup("location")) {
		sl_send_reply("404", "Not Found");
		exit;
	}
	t_relay();
}
`

// kamailio runs a registrar and proxy where everybody's password is "geheim". It returns host:port.
func kamailio(t *testing.T, algorithm string) string {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	conf := filepath.Join(dir, "kamailio.cfg")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, kamailioConf, port, algorithm), 0o644))
	p := start(t, "/usr/sbin/kamailio", "-f", conf, "-DD", "-E", "-m", "32", "-M", "4", "-Y", dir, "-P", filepath.Join(dir, "pid"))
	p.listens(t, port)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestKamailio(t *testing.T) {
	for _, algorithm := range []string{MD5, SHA256} {
		t.Run(algorithm, func(t *testing.T) {
			server := kamailio(t, algorithm)
			cfg := Config{Password: "geheim", Domain: "lab.test", Server: server}
			ca, cb := cfg, cfg
			ca.User, ca.Tone = "alice", 440
			cb.User, cb.Tone = "bob", 1000
			alice, bob := open(t, ca), open(t, cb)
			ctx := within(t)
			must(t, alice.Register(ctx, time.Minute))
			must(t, bob.Register(ctx, time.Minute))
			must(t, bob.Register(ctx, time.Minute)) // the nonce count must rise
			call, err := alice.Call(ctx, "bob")     // 407, record-routed
			must(t, err)
			other := incoming(t, bob)
			_, err = call.AwaitTone(ctx, 1000)
			must(t, err)
			_, err = other.AwaitTone(ctx, 440)
			must(t, err)
			must(t, other.Hold(ctx))
			must(t, other.Resume(ctx))
			must(t, other.Hangup(ctx))
			over(t, call, EndBye)

			bob.SetAnswer(RingForever())
			call, err = alice.Invite(ctx, "bob")
			must(t, err)
			other = incoming(t, bob)
			must(t, call.Cancel(ctx))
			over(t, other, EndCancelled)

			must(t, bob.Unregister(ctx))
			var no *RefusedError
			if _, err = alice.Call(ctx, "bob"); !errors.As(err, &no) || no.Code != 404 {
				t.Errorf("unregistered: %v", err)
			}
			faultless(t, alice, bob)
			tries, _, err := Attack{Config: Config{User: "bob", Domain: "lab.test", Server: server, Bind: netip.MustParseAddr("127.77.0.66")},
				Tries: 2}.Run(ctx)
			must(t, err)
			if tries[1].Outcome != Denied {
				t.Errorf("%v", tries)
			}
		})
	}
}

const baresipConf = `poll_method epoll
sip_listen 127.0.0.1:%[1]d
net_interface 127.0.0.1
rtp_ports %[2]d-%[3]d
rtp_timeout 0
audio_source aufile,%[4]s/tone.wav
audio_player aubridge,nobody
audio_alert aubridge,nobody2
ausrc_srate 8000
ausrc_channels 1
auplay_srate 8000
auplay_channels 1
snd_path %[4]s
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module uuid.so
module_app account.so
module_app contact.so
module_app menu.so
`

// baresip runs a baresip that answers at once and plays a tone. It returns its address and its directory.
func baresip(t *testing.T, account string, hz float64) (netip.AddrPort, string) {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "config"), fmt.Appendf(nil, baresipConf, port, 30000, 30999, dir), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "accounts"), []byte(account+"\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "contacts"), nil, 0o644))
	pcm := make([]int16, 60*tone.Rate)
	tone.NewSine(hz, -10).Read(pcm)
	must(t, os.WriteFile(filepath.Join(dir, "tone.wav"), wav(pcm), 0o644))
	start(t, "baresip", "-f", dir).listens(t, port)
	return netip.AddrPortFrom(loopback, port), dir
}

// wav is a RIFF file of 16-bit samples.
func wav(pcm []int16) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF")
	binary.Write(&b, binary.LittleEndian, uint32(36+2*len(pcm)))
	b.WriteString("WAVEfmt ")
	binary.Write(&b, binary.LittleEndian, []uint32{16, 1 | 1<<16, tone.Rate, 2 * tone.Rate, 2 | 16<<16})
	b.WriteString("data")
	binary.Write(&b, binary.LittleEndian, uint32(2*len(pcm)))
	binary.Write(&b, binary.LittleEndian, pcm)
	return b.Bytes()
}

// baresipHeard measures the last half second that baresip recorded.
func baresipHeard(dir string) tone.Result {
	files, _ := filepath.Glob(filepath.Join(dir, "dump-*-dec.wav"))
	if len(files) == 0 {
		return tone.Result{}
	}
	raw, err := os.ReadFile(files[len(files)-1])
	if err != nil || len(raw) < 44+tone.Rate {
		return tone.Result{}
	}
	raw = raw[44:]
	raw = raw[(len(raw)-tone.Rate)&^1:]
	pcm := make([]int16, len(raw)/2)
	for i := range pcm {
		pcm[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return tone.Measure(pcm)
}

// maxOvertaken is how many RTCP packets may come before the answer that has their key: baresip makes a new one for each re-INVITE.
const maxOvertaken = 2

func TestBaresipAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		suites []Suite
		codec  Codec
	}{
		{"RTP", nil, PCMU}, {"RTP A-law", nil, PCMA}, {"AES-CM", []Suite{AESCM}, PCMU}, {"AES-GCM", []Suite{AESGCM}, PCMA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			account := "<sip:bob@127.0.0.1>;regint=0;answermode=auto"
			if tt.suites != nil {
				account += ";mediaenc=srtp-mand"
			}
			addr, dir := baresip(t, account, 1000)
			alice := open(t, Config{User: "alice", Tone: 440, SRTP: tt.suites, Codecs: []Codec{tt.codec}})
			ctx := within(t)
			call, err := alice.Call(ctx, "sip:bob@"+addr.String())
			must(t, err)
			_, err = call.AwaitTone(ctx, 1000)
			must(t, err)
			waitFor(t, ctx, "baresip to hear 440 Hz", func() bool { return baresipHeard(dir).Is(440) })
			must(t, call.Hold(ctx))
			must(t, call.Resume(ctx))
			_, err = call.AwaitTone(ctx, 1000)
			must(t, err)
			s := call.Stats()
			if s.Suite != "" && s.RTCPFailures <= maxOvertaken {
				s.RTCPFailures = 0
			}
			if s.AuthFailures+s.RTCPFailures+s.Malformed+s.Foreign > 0 || s.Codec != tt.codec {
				t.Errorf("%+v", s)
			}
			must(t, call.Hangup(ctx))
			faultless(t, alice)
		})
	}
}

func TestBaresipAtKamailio(t *testing.T) {
	server := kamailio(t, MD5)
	_, dir := baresip(t, `<sip:bob@lab.test>;auth_user=bob;auth_pass=geheim;outbound="sip:`+server+`";regint=60;answermode=auto`, 1000)
	alice := open(t, Config{User: "alice", Password: "geheim", Domain: "lab.test", Server: server, Tone: 440})
	ctx := within(t)
	must(t, alice.Register(ctx, time.Minute))
	var call *Call
	waitFor(t, ctx, "baresip to be registered", func() bool {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var err error
		call, err = alice.Call(try, "bob")
		return err == nil
	})
	_, err := call.AwaitTone(ctx, 1000)
	must(t, err)
	waitFor(t, ctx, "baresip to hear 440 Hz", func() bool { return baresipHeard(dir).Is(440) })
	must(t, call.Hangup(ctx))
	over(t, call, EndHangup)
	faultless(t, alice)
}
