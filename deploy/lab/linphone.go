package lab

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"text/template"

	"brickhouse/shared/tone"
)

//go:embed linphone.conf
var linphoneConf string

// Linphone is Debian's linphonec 5.1, the console program of Linphone: MD5 and SHA-256 digest, UDP, TCP and TLS with
// the server's certificate checked, RTP or SDES-SRTP. It is driven as a person does, by its prompt.
type Linphone struct {
	acc  Account
	host *Host
	t    TB
	proc *Process
	ear  ear
	dir  string
	addr netip.AddrPort

	// Its log tells what its prompt keeps silent about: why a registration failed, every message.
	log     output
	logRead int // how much of the log waitLog has consumed
}

// Linphone sets up a linphonec on the host. It registers as soon as it starts, so with a server it is started by
// Register and without one at once.
func (h *Host) Linphone(acc Account) *Linphone {
	h.lab.t.Helper()
	l, ports := h.lab, h.phonePorts()
	name := fmt.Sprintf("linphone-%s-%s-%d", h.Name, acc.User, ports.Slot)
	dir := filepath.Join(l.Dir, name)
	p := &Linphone{acc: acc, host: h, t: l.t, dir: dir, addr: netip.AddrPortFrom(acc.self(h), ports.SIP)}
	p.ear = ear{t: l.t, who: name, files: func() []string { return []string{filepath.Join(dir, "heard.wav")} }}
	l.file(name+"/linphonerc", p.config(ports))
	l.ToneFile(name+"/tone.wav", acc.Tone)
	// Without this directory it cannot make its database, and without that it has no transports.
	if err := os.MkdirAll(filepath.Join(dir, ".local/share/linphone"), 0o700); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	if !acc.Server.IsValid() {
		p.start()
	}
	return p
}

func (p *Linphone) start() {
	p.t.Helper()
	if p.proc != nil {
		p.t.Fatalf("lab: %s runs already", p.proc)
	}
	p.proc = p.host.Run(Program{
		Name: "linphonec", Path: "linphonec", Args: []string{"-c", "linphonerc", "-d", "6", "-l", "full.log"},
		Env: []string{"HOME=" + p.dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "TERM=dumb"}, Dir: p.dir, Input: true, Ready: Says(`linphonec> `),
	})
	p.say("soundcard use files", `Using wav files`)
	p.proc.Say("play tone.wav")
	p.proc.Say("record heard.wav")
	if p.acc.AutoAnswer {
		p.say("autoanswer enable", `(?i)auto.?answer`)
	}
}

func (p *Linphone) config(ports phonePorts) string {
	p.t.Helper()
	a := p.acc
	data := map[string]any{
		"User": a.User, "Addr": p.addr.Addr(), "Host": uriHost(p.addr.Addr()), "V6": map[bool]int{true: 1}[p.addr.Addr().Is6()], "RTP": ports.RTP, "CA": a.CA, "Codec": a.codec(), "Suites": a.Suites,
		"OtherCodec": map[string]string{"PCMU": "PCMA", "PCMA": "PCMU"}[a.codec()],
		"Server":     "", "Domain": a.domain(p.addr.Addr()), "Transport": a.transport(), "Password": a.Password,
		"UDP": 0, "TCP": 0, "TLS": 0, "Media": "none", "Mandatory": 0,
	}
	switch a.transport() { // 0 is off, -1 any port; a phone behind TLS takes calls over its own connection
	case "udp":
		data["UDP"] = ports.SIP
	case "tcp":
		data["TCP"] = ports.SIP
	case "tls":
		data["TLS"] = -1
	}
	if a.Server.IsValid() {
		data["Server"] = a.Server
	}
	if a.SRTP {
		data["Media"], data["Mandatory"] = "srtp", 1
	}
	var conf bytes.Buffer
	if err := template.Must(template.New("").Parse(linphoneConf)).Execute(&conf, data); err != nil {
		p.t.Fatalf("lab: linphone's configuration: %v", err)
	}
	return conf.String()
}

// say types a line and waits for the answer.
func (p *Linphone) say(line, answer string) []string {
	p.t.Helper()
	p.proc.Say(line)
	return p.wait(answer)
}

func (p *Linphone) wait(pattern string) []string {
	p.t.Helper()
	return p.proc.WaitLine(regexp.MustCompile(pattern), patience)
}

// Register implements Phone.
func (p *Linphone) Register() {
	p.t.Helper()
	if why := p.register(); why != "" {
		p.t.Fatalf("lab: %s: registration failed: %s", p.proc, why)
	}
}

// RegisterFails implements Phone.
func (p *Linphone) RegisterFails() string {
	p.t.Helper()
	why := p.register()
	if why == "" {
		p.t.Fatalf("lab: %s: registered, which it should not", p.proc)
	}
	return why
}

// register returns the reason of a failure, or "".
func (p *Linphone) register() string {
	p.t.Helper()
	p.start()
	m := p.waitLog(`moving from state \[\w+\] to \[LinphoneRegistration(Ok|Failed)\]`)
	if m[1] == "Ok" {
		return ""
	}
	// What it writes before each change of state: "Register refresher [403] reason [Forbidden] for proxy […]".
	all := registerReason.FindAllStringSubmatch(p.Trace(), -1)
	if len(all) == 0 {
		return "no reason given"
	}
	last := all[len(all)-1]
	return last[1] + " " + last[2]
}

var registerReason = regexp.MustCompile(`Register refresher \[(\d+)\] reason \[([^\]]*)\]`)

// waitLog waits for the next line of the log that matches.
func (p *Linphone) waitLog(pattern string) (m []string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(p.t, patience, func() string { return fmt.Sprintf("%s to log %q\n%s", p.proc, pattern, p.proc.Tail(20)) }, func() bool {
		p.readLog()
		var end int
		if m, end = p.log.match(re, p.logRead); m != nil {
			p.logRead = end
		}
		return m != nil
	})
	return m
}

// readLog takes in what the log file has gained.
func (p *Linphone) readLog() {
	f, err := os.Open(filepath.Join(p.dir, "full.log"))
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Seek(int64(p.log.len()), io.SeekStart); err == nil {
		_, _ = io.Copy(&p.log, f)
	}
}

// Unregister implements Phone.
func (p *Linphone) Unregister() {
	p.t.Helper()
	p.proc.Say("unregister")
	p.waitLog(`to \[LinphoneRegistrationCleared\]`)
}

// Call implements Phone.
func (p *Linphone) Call(target string) {
	p.t.Helper()
	p.say("call "+p.acc.uri(target, p.addr.Addr()), `Establishing call id to`)
}

// WaitRinging implements Phone.
func (p *Linphone) WaitRinging() { p.t.Helper(); p.wait(`Call \d+ to .* ringing\.`) }

// WaitIncoming implements Phone.
func (p *Linphone) WaitIncoming() string {
	p.t.Helper()
	return p.wait(`Receiving new incoming call from .*?<?(sips?:[^>,\s]+)`)[1]
}

// Answer implements Phone.
func (p *Linphone) Answer() {
	p.t.Helper()
	p.WaitIncoming()
	if !p.acc.AutoAnswer {
		p.proc.Say("answer")
	}
	p.WaitEstablished()
}

// Reject implements Phone: 603 Decline.
func (p *Linphone) Reject() { p.t.Helper(); p.WaitIncoming(); p.proc.Say("terminate") }

// WaitEstablished implements Phone.
func (p *Linphone) WaitEstablished() {
	p.t.Helper()
	if m := p.wait(`Media streams established with|Call \d+ with .* (?:ended|error).*`); m[0][0] == 'C' {
		p.t.Fatalf("lab: %s: no call: %s\n%s", p.proc, m[0], p.proc.Tail(20))
	}
}

// Press implements Phone.
func (p *Linphone) Press(key string) { p.t.Helper(); p.proc.Say(key) }

// Transfer implements Phone.
func (p *Linphone) Transfer(uri string) { p.t.Helper(); p.proc.Say("transfer " + uri) }

// Hold implements Phone.
func (p *Linphone) Hold() { p.t.Helper(); p.say("pause", `is now paused`) }

// Resume implements Phone.
func (p *Linphone) Resume() { p.t.Helper(); p.say("resume", `Media streams established with`) }

// Hangup implements Phone.
func (p *Linphone) Hangup() { p.t.Helper(); p.proc.Say("terminate"); p.WaitClosed() }

// WaitClosed implements Phone.
func (p *Linphone) WaitClosed() string {
	p.t.Helper()
	m := p.wait(`Call \d+ with .* (?:ended \((.*)\)|error)\.`)
	if m[1] == "" {
		return "error"
	}
	return m[1]
}

// Addr implements Phone.
func (p *Linphone) Addr() netip.AddrPort { return p.addr }

// Hears implements Phone.
func (p *Linphone) Hears(hz float64) tone.Result { p.t.Helper(); return p.ear.hears(hz) }

// HearsNothing implements Phone.
func (p *Linphone) HearsNothing() { p.t.Helper(); p.ear.hearsNothing() }

// Trace implements Phone: linphone's own log, in which every message stands.
func (p *Linphone) Trace() string { p.readLog(); return string(p.log.from(0)) }

// Proc implements Phone.
func (p *Linphone) Proc() *Process { return p.proc }

var _ Phone = (*Linphone)(nil)
