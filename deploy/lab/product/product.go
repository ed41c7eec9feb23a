// Package product runs the real border and exchange in the lab, configured as an operator would, for the stories told in
// its tests. It is test code only.
package product

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"brickhouse/deploy/lab"
)

// Domain is the SIP domain of the lab.
const Domain = "lab.test"

//go:embed sbc.yaml.tmpl
var sbcConfig string

//go:embed pbx.yaml.tmpl
var pbxConfig string

//go:embed dialplan.yaml.tmpl
var dialplan string

// patience bounds each step of the preparation.
const patience = 10 * time.Second

// Options change what is usual.
type Options struct {
	XDP     bool    // filter in the kernel, native, on the border's outer interface; namespaces only
	Kernel  bool    // with XDP: on the inner interface, too, so that plain calls are relayed in the kernel
	Guard   string  // lines of YAML in the border's guard section, indented by two
	SRTP    string  // access.srtp; empty: require
	WSS     bool    // phones in browsers may come to Web, from the page of lab.Browser
	Keys    string  // access.keys, one line of YAML; empty: as shipped
	UDP     bool    // remote phones may use UDP and TCP, too
	Ring    string  // how long the exchange lets a call ring; empty: 1m
	Silence string  // media silence; empty: 1m
	Secrets string  // lines of YAML that replace the exchange's secrets section; empty: the encrypted file
	Trunk   bool    // a trunk "carrier" to the host Carrier, port 5060, with credentials
	Music   float64 // what the exchange plays to who waits, Hz; 0: as shipped
	Mail    bool    // a mail server gets messages of mailboxes
	IPv6    bool    // remote phones may also come by TLS over IPv6; namespaces only
}

// LevelEnv is the log level of both programs; empty: info.
const LevelEnv = "BH_LAB_LEVEL"

// Product is the pair of programs.
type Product struct {
	Lab      *lab.Lab
	Border   *lab.Process
	Exchange *lab.Process
	Dir      string          // configurations, certificates, state
	Mail     *lab.MailServer // if Options.Mail says so

	t    lab.TB
	opts Options
}

// Start configures both programs on their hosts and starts them.
func Start(t lab.TB, l *lab.Lab, o Options) *Product {
	t.Helper()
	p := &Product{Lab: l, Dir: filepath.Join(l.Dir, "product"), t: t, opts: o}
	if l.Namespaced() {
		p.route()
	}
	if o.Mail {
		p.Mail = l.Exchange.MailServer(l.Core)
	}
	p.quickstart()
	p.write("sbc.yaml", sbcConfig)
	p.write("pbx.yaml", pbxConfig)
	p.write("dialplan.yaml", dialplan)
	p.Exchange = l.Exchange.Run(lab.Program{
		Name: "pbx", Path: l.Binary("pbx"), Args: []string{"serve", "-c", p.path("pbx.yaml")},
		Ready: lab.AllOf(lab.Listening("udp", p.Inside()), lab.Says("msg=running")),
	})
	p.Border = l.DMZ.Run(lab.Program{
		Name: "sbc", Path: l.Binary("sbc"), Args: []string{"serve", "-c", p.path("sbc.yaml")},
		Ready: lab.AllOf(lab.Listening("tcp", p.Outside()), lab.Says("core link is up")),
	})
	return p
}

// route lets the exchange's host forward between voice VLAN and core, as an office's router would: media go straight
// from the border to a desk.
func (p *Product) route() {
	l := p.Lab
	l.Exchange.Run(lab.Program{Path: "sysctl", Args: []string{"-qw", "net.ipv4.ip_forward=1"}}).Wait(patience)
	core, voice := l.Core.Prefix.String(), l.Voice.Prefix.String()
	for _, r := range []struct {
		host *lab.Host
		to   string
		via  netip.Addr
	}{
		{l.DMZ, voice, l.Exchange.Addr(l.Core)},
		{l.Desk, core, l.Exchange.Addr(l.Voice)},
		{l.Desk2, core, l.Exchange.Addr(l.Voice)},
	} {
		r.host.Run(lab.Program{Path: "ip", Args: []string{"route", "add", r.to, "via", r.via.String()}}).Wait(patience)
	}
}

// quickstart makes certificates, secrets and state the way a new user does.
func (p *Product) quickstart() {
	p.t.Helper()
	for _, c := range []struct {
		program string
		addr    netip.Addr
	}{{"pbx", p.Inside().Addr()}, {"sbc", p.Outside().Addr()}} {
		p.Command(c.program, "", "quickstart", p.Dir, "--domain", Domain, "--address", c.addr.String())
	}
}

func (p *Product) path(name string) string { return filepath.Join(p.Dir, name) }

// Outside is where remote phones reach the border, by TLS.
func (p *Product) Outside() netip.AddrPort { return p.Lab.DMZ.Port(p.Lab.Internet, 5061) }

// Outside6 is the same over IPv6, if Options.IPv6 says so.
func (p *Product) Outside6() netip.AddrPort {
	return netip.AddrPortFrom(p.Lab.DMZ.Addr6(p.Lab.Internet), p.Outside().Port())
}

// Web is where phones in browsers reach the border, if Options.WSS says so.
func (p *Product) Web() netip.AddrPort { return p.Lab.DMZ.Port(p.Lab.Internet, 8443) }

// OutsideUDP is where they reach it by UDP and TCP, if Options.UDP says so.
func (p *Product) OutsideUDP() netip.AddrPort { return p.Lab.DMZ.Port(p.Lab.Internet, 5060) }

// Peer is where carriers reach the border.
func (p *Product) Peer() netip.AddrPort { return p.Lab.DMZ.Port(p.Lab.Internet, 5080) }

// Inside is where phones on the voice VLAN reach the exchange, by UDP and TCP.
func (p *Product) Inside() netip.AddrPort { return p.Lab.Exchange.Port(p.Lab.Voice, 5060) }

// InsideTLS is where they reach it by TLS.
func (p *Product) InsideTLS() netip.AddrPort { return p.Lab.Exchange.Port(p.Lab.Voice, 5061) }

// CarrierAddr is where calls to the trunk "carrier" go.
func (p *Product) CarrierAddr() netip.AddrPort { return p.Lab.Carrier.Port(p.Lab.Internet, 5060) }

// CA is the file with the certificate authority that phones trust.
func (p *Product) CA() string { return p.path("ca.crt") }

// CDRs returns the directory of the call records.
func (p *Product) CDRs() string { return p.path("pbx-state/cdr") }

// write fills in a configuration.
func (p *Product) write(name, text string) {
	p.t.Helper()
	l := p.Lab
	data := map[string]any{
		"Domain": Domain, "Dir": p.Dir, "Options": p.opts,
		"Outside": p.Outside(), "OutsideUDP": p.OutsideUDP(), "Peer": p.Peer(), "Inside": p.Inside(), "InsideTLS": p.InsideTLS(), "Carrier": p.CarrierAddr(),
		"Core": l.Exchange.Port(l.Core, 5070), "BorderInside": l.DMZ.Addr(l.Core), "CarrierHost": l.Carrier.Addr(l.Internet),
		"Outside6": p.Outside6(), "Web": p.Web(), "Page": lab.BrowserOrigin, "Level": or(os.Getenv(LevelEnv), "info"),
		"Voice": l.Voice.Prefix, "XDP": p.xdp(), "Media": p.media(), "Mail": p.Mail,
	}
	if p.opts.Music > 0 {
		data["Music"] = l.ToneFile("music.wav", p.opts.Music)
	}
	var b bytes.Buffer
	if err := template.Must(template.New(name).Parse(text)).Execute(&b, data); err != nil {
		p.t.Fatalf("product: %v", err)
	}
	if err := os.WriteFile(p.path(name), b.Bytes(), 0o600); err != nil {
		p.t.Fatalf("product: %v", err)
	}
}

// media is the border's port range: on loopback all hosts share their ports with everybody.
func (p *Product) media() string {
	return "{min_port: 40000, max_port: 49999, silence: " + or(p.opts.Silence, "1m") + "}"
}

// xdp is the section of the kernel filter.
func (p *Product) xdp() string {
	if !p.opts.XDP {
		return "{mode: off}"
	}
	interfaces := "inet"
	if p.opts.Kernel {
		interfaces = "inet, core"
	}
	return fmt.Sprintf("{mode: native, interfaces: [%s], bpffs: %s, name: lab}", interfaces, p.Lab.PinDir())
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Command runs one of the programs' commands and returns what it prints; a failure fails the test.
func (p *Product) Command(program, stdin string, args ...string) string {
	p.t.Helper()
	out, err := p.Try(program, stdin, args...)
	if err != nil {
		p.t.Fatalf("product: %s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs one of the programs' commands and returns all that it prints.
func (p *Product) Try(program, stdin string, args ...string) (string, error) {
	cmd := exec.Command(p.Lab.Binary(program), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "BRICKHOUSE_SBC_SOCKET="+p.path("sbc.sock"), "BRICKHOUSE_PBX_SOCKET="+p.path("pbx.sock"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Password is the password of every account that Account makes.
const Password = "lab-password-of-a-phone"

// Extension makes an extension with the password that all have. digest is how it is challenged: "md5", "sha-256", or both in their order.
func (p *Product) Extension(number string, digest ...string) {
	p.t.Helper()
	if number == "1001" || number == "1002" { // quickstart made them
		p.Command("pbx", Password+"\n", "extension", "passwd", number, "--password-stdin")
	} else {
		p.Command("pbx", Password+"\n", "extension", "add", number, "--password-stdin", "--name", "Phone "+number)
	}
	p.Command("pbx", "", append([]string{"extension", "digest", number}, digest...)...)
}

// RemoteAccount is how a remote phone is set up: TLS and SRTP, through the border.
func (p *Product) RemoteAccount(number string, tone float64) lab.Account {
	return lab.Account{
		User: number, Password: Password, Domain: Domain, Server: p.Outside(), Transport: "tls", CA: p.CA(), SRTP: true, Tone: tone,
	}
}

// WebAccount is how a phone in a browser is set up.
func (p *Product) WebAccount(number string, tone float64) lab.Account {
	return lab.Account{User: number, Password: Password, Domain: Domain, Server: p.Web(), Tone: tone}
}

// Certificate is the file with the border's certificate.
func (p *Product) Certificate() string { return p.path("sbc.crt") }

// InsideAccount is how a phone on the voice VLAN is set up: UDP and RTP, at the exchange.
func (p *Product) InsideAccount(number string, tone float64) lab.Account {
	return lab.Account{User: number, Password: Password, Domain: Domain, Server: p.Inside(), Transport: "udp", Tone: tone}
}
