package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"brickhouse/shared/tone"
)

// Baresip is Debian's baresip 1.0.0: MD5 digest, UDP, TCP and TLS, RTP, SDES-SRTP or DTLS-SRTP. It does not check the server's
// certificate, whatever its configuration says; linphone does.
type Baresip struct {
	acc  Account
	host *Host
	t    TB
	proc *Process
	ctrl *baresipControl
	ear  ear
	dir  string
	addr netip.AddrPort
}

//go:embed baresip.conf
var baresipConf string

// phonePorts are the ports of one phone; those of the next one on the same host are ten, or two hundred, higher.
type phonePorts struct{ Slot, SIP, RTP, RTPEnd, Ctrl uint16 }

func (h *Host) phonePorts() phonePorts {
	slot := h.slot()
	return phonePorts{Slot: slot, SIP: h.lab.port(5060 + 10*slot), RTP: 20000 + 200*slot, RTPEnd: 20198 + 200*slot, Ctrl: h.lab.port(4444 + slot)}
}

// Baresip starts a baresip on the host. It does nothing before Register or, without a server, Call.
func (h *Host) Baresip(acc Account) *Baresip {
	h.lab.t.Helper()
	l, ports := h.lab, h.phonePorts()
	name := fmt.Sprintf("baresip-%s-%s-%d", h.Name, acc.User, ports.Slot)
	b := &Baresip{acc: acc, host: h, t: l.t, addr: netip.AddrPortFrom(acc.self(h), ports.SIP), dir: filepath.Join(l.Dir, name)}
	ctrlAddr := netip.AddrPortFrom(h.Addr(), ports.Ctrl) // on loopback 127.0.0.1 belongs to everybody
	var conf bytes.Buffer
	err := template.Must(template.New("").Parse(baresipConf)).Execute(&conf, map[string]any{
		"Addr": acc.self(h), "SIP": b.addr, "Ports": ports, "Ctrl": ctrlAddr, "Dir": b.dir, "CA": acc.CA, "DTLS": acc.DTLS, "Tone": l.ToneFile(name+"/tone.wav", acc.Tone),
	})
	if err != nil {
		l.t.Fatalf("lab: baresip's configuration: %v", err)
	}
	l.file(name+"/config", conf.String())
	l.file(name+"/accounts", "# accounts are made by command\n")
	l.file(name+"/contacts", "\n")
	b.onlyDecoded(name)
	b.ear = ear{t: l.t, who: name, files: func() []string {
		files, _ := filepath.Glob(filepath.Join(b.dir, "dump-*-dec.wav"))
		slices.Sort(files) // the names hold the time
		return files
	}}
	b.proc = h.Run(Program{
		Name: "baresip", Path: "baresip", Args: []string{"-f", b.dir, "-s", "-v"},
		Env:   []string{"TZ=UTC"}, // see onlyDecoded
		Ready: AllOf(Says("baresip is ready"), Listening("tcp", ctrlAddr)),
	})
	b.ctrl = dialBaresip(b.proc, ctrlAddr)
	if !acc.Server.IsValid() {
		b.command("uanew", b.account(0))
	}
	return b
}

// recordFor is how long after its start a baresip goes on recording across hold.
const recordFor = 15 * time.Minute

// onlyDecoded keeps baresip's sndfile module from recording what is sent, by putting a dead link where it would create
// each second's file. When a call is held, baresip 1.0.0 throws away the filters of what is heard and makes them anew only
// if there are none for what is sent; with the usual pair of recordings it would be deaf for us after the first hold.
func (b *Baresip) onlyDecoded(dir string) {
	b.t.Helper()
	now := time.Now().UTC()
	for d := -2 * time.Second; d < recordFor; d += time.Second {
		name := now.Add(d).Format("dump-2006-01-02-15-04-05-enc.wav")
		if err := os.Symlink("/dev/null/not-wanted", filepath.Join(b.host.lab.Dir, dir, name)); err != nil {
			b.t.Fatalf("lab: %v", err)
		}
	}
}

// account is the line that makes the account (baresip's accounts file); regint 0 does not register.
func (b *Baresip) account(regint int) string {
	a := b.acc
	var s strings.Builder
	fmt.Fprintf(&s, "<sip:%s@%s;transport=%s>;auth_user=%s;auth_pass=%s;regint=%d;pubint=0;audio_codecs=%s;ptime=20",
		a.User, a.domain(b.addr.Addr()), a.transport(), a.User, a.Password, regint, a.codec())
	if a.Server.IsValid() {
		fmt.Fprintf(&s, ";outbound=\"sip:%s;transport=%s\"", a.Server, a.transport())
	}
	switch {
	case a.DTLS:
		s.WriteString(";mediaenc=dtls_srtp")
	case a.SRTP:
		s.WriteString(";mediaenc=srtp-mand")
	}
	if a.AutoAnswer {
		s.WriteString(";answermode=auto")
	}
	return s.String()
}

// command gives a command and waits until baresip has done it.
func (b *Baresip) command(cmd, params string) string {
	b.t.Helper()
	data, ok, err := b.ctrl.ask(cmd, params)
	if err != nil || !ok {
		b.t.Fatalf("lab: %s: command %s %q: ok %v, %v, %s\n%s", b.proc, cmd, params, ok, err, data, b.proc.Tail(40))
	}
	return data
}

// event waits for the next event of the first kind; one of the other kinds coming first fails the test.
func (b *Baresip) event(want string, not ...string) baresipEvent {
	b.t.Helper()
	ev, err := b.ctrl.wait(append([]string{want}, not...)...)
	if err != nil {
		b.t.Fatalf("lab: %s: waiting for %s: %v\n%s", b.proc, want, err, b.proc.Tail(60))
	}
	if ev.Type != want {
		b.t.Fatalf("lab: %s: %s (%s) came instead of %s\n%s", b.proc, ev.Type, ev.Param, want, b.proc.Tail(60))
	}
	return ev
}

// Register implements Phone.
func (b *Baresip) Register() {
	b.t.Helper()
	b.command("uanew", b.account(60))
	b.event("REGISTER_OK", "REGISTER_FAIL")
}

// RegisterFails implements Phone. It does not try again.
func (b *Baresip) RegisterFails() string {
	b.t.Helper()
	b.command("uanew", b.account(60))
	ev := b.event("REGISTER_FAIL", "REGISTER_OK")
	b.command("uadel", b.aor())
	return ev.Param
}

// Unregister implements Phone.
func (b *Baresip) Unregister() {
	b.t.Helper()
	b.command("uadel", b.aor())
	b.event("UNREGISTERING")
}

func (b *Baresip) aor() string {
	return fmt.Sprintf("sip:%s@%s", b.acc.User, b.acc.domain(b.addr.Addr()))
}

// Call implements Phone.
func (b *Baresip) Call(target string) {
	b.t.Helper()
	b.command("dial", b.acc.uri(target, b.addr.Addr()))
}

// WaitRinging implements Phone.
func (b *Baresip) WaitRinging() { b.t.Helper(); b.event("CALL_RINGING", "CALL_CLOSED") }

// WaitIncoming implements Phone.
func (b *Baresip) WaitIncoming() string { b.t.Helper(); return b.event("CALL_INCOMING").PeerURI }

// Answer implements Phone.
func (b *Baresip) Answer() {
	b.t.Helper()
	if !b.acc.AutoAnswer { // then it tells nothing before it is established
		b.WaitIncoming()
		b.command("accept", "")
	}
	b.event("CALL_ESTABLISHED", "CALL_CLOSED")
}

// Reject implements Phone: 486 Busy Here.
func (b *Baresip) Reject() { b.t.Helper(); b.WaitIncoming(); b.command("hangup", "") }

// WaitEstablished implements Phone.
func (b *Baresip) WaitEstablished() { b.t.Helper(); b.event("CALL_ESTABLISHED", "CALL_CLOSED") }

// Press implements Phone.
func (b *Baresip) Press(key string) { b.t.Helper(); b.command("sndcode", key) }

// Transfer implements Phone.
func (b *Baresip) Transfer(uri string) { b.t.Helper(); b.command("transfer", uri) }

// Hold implements Phone.
func (b *Baresip) Hold() { b.t.Helper(); b.command("hold", "") }

// Resume implements Phone.
func (b *Baresip) Resume() { b.t.Helper(); b.command("resume", "") }

// Hangup implements Phone.
func (b *Baresip) Hangup() { b.t.Helper(); b.command("hangup", ""); b.event("CALL_CLOSED") }

// WaitClosed implements Phone.
func (b *Baresip) WaitClosed() string { b.t.Helper(); return b.event("CALL_CLOSED").Param }

// Addr implements Phone.
func (b *Baresip) Addr() netip.AddrPort { return b.addr }

// Hears implements Phone.
func (b *Baresip) Hears(hz float64) tone.Result { b.t.Helper(); return b.ear.hears(hz) }

// HearsNothing implements Phone.
func (b *Baresip) HearsNothing() { b.t.Helper(); b.ear.hearsNothing() }

// Trace implements Phone.
func (b *Baresip) Trace() string { return b.proc.Output() }

// Proc implements Phone.
func (b *Baresip) Proc() *Process { return b.proc }

var _ Phone = (*Baresip)(nil)
