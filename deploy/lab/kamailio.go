package lab

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed kamailio.cfg
var kamailioConf string

// Kamailio says what the stand-in registrar serves.
type Kamailio struct {
	Domain string            // the digest realm too
	Users  map[string]string // password by user
	SHA256 bool              // challenge with SHA-256 instead of MD5
	TLS    *Certificate      // serve TLS on 5061 as well
}

// Registrar runs a Kamailio on the host's first address: UDP and TCP 5060, TLS 5061. It proves the phones before the
// product is there to telephone through, and tells later whether a failure is the phone's or ours.
func (h *Host) Registrar(k Kamailio) *Process {
	h.lab.t.Helper()
	l := h.lab
	dir := filepath.Join("kamailio-" + h.Name)
	type user struct{ Name, HA1 string }
	data := struct {
		Domain string
		SIP    netip.AddrPort
		SIPS   netip.AddrPort
		TLS    string
		SHA256 bool
		Users  []user
	}{Domain: k.Domain, SIP: h.Port(h.wires[0], 5060), SIPS: h.Port(h.wires[0], 5061), SHA256: k.SHA256}
	for name, password := range k.Users {
		a1 := []byte(name + ":" + k.Domain + ":" + password) // RFC 7616 §3.4.2
		ha1 := fmt.Sprintf("%x", md5.Sum(a1))
		if k.SHA256 {
			ha1 = fmt.Sprintf("%x", sha256.Sum256(a1))
		}
		data.Users = append(data.Users, user{name, ha1})
	}
	ready := AllOf(Listening("udp", data.SIP), Listening("tcp", data.SIP))
	if k.TLS != nil {
		data.TLS = l.file(dir+"/tls.cfg", fmt.Sprintf("[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\nprivate_key = %s\ncertificate = %s\n", k.TLS.Key, k.TLS.Cert))
		ready = AllOf(ready, Listening("tcp", data.SIPS))
	}
	var conf bytes.Buffer
	if err := template.Must(template.New("").Parse(kamailioConf)).Execute(&conf, data); err != nil {
		l.t.Fatalf("lab: kamailio's configuration: %v", err)
	}
	path := l.file(dir+"/kamailio.cfg", conf.String())
	run := filepath.Join(l.Dir, dir, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
	return h.Run(Program{
		Name: "kamailio", Path: kamailioPath(), Ready: ready,
		Args: []string{"-f", path, "-DD", "-E", "-m", "64", "-M", "8", "-Y", run, "-P", filepath.Join(run, "pid")},
	})
}

// kamailioPath finds the program for an ordinary user too, whose PATH may lack /usr/sbin.
func kamailioPath() string {
	const debian = "/usr/sbin/kamailio"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "kamailio"
}
