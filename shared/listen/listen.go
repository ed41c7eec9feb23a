// Package listen is the part of the configuration that says where a program listens, and what opens those sockets. The
// border's realms and the exchange's phones are written and bound the same way.
package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"brickhouse/shared/conffile"
	"brickhouse/shared/pki"
	"brickhouse/shared/transport"
)

// Interface is one listening socket.
type Interface struct {
	Transport string         `yaml:"transport" oneof:"udp|tcp|tls|wss|ws" doc:"Transport protocol. wss: SIP over a WebSocket on TLS, for phones in browsers; ws: the same without TLS, for laboratories."`
	Listen    netip.AddrPort `yaml:"listen" doc:"Address and port to listen on; 0.0.0.0 and [::] take all addresses of the host."`
	Advertise string         `yaml:"advertise" doc:"Host or host:port that the other side is told instead of the local address, behind a 1:1 NAT. Empty: the local address."`
	Path      string         `yaml:"path" doc:"Path of the WebSocket's URL; wss and ws only. Empty: /."`
	Origins   []string       `yaml:"origins" doc:"Pages whose scripts may connect, as https://phone.example.com, or * for all; wss and ws only. Empty: none, only programs that are no browsers."`
}

// IsHost reports whether s is a host name or an IP address, without a port: what may stand as the host of a SIP URI.
func IsHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, hostBytes) != "" {
			return false
		}
	}
	return true
}

const hostBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-" // RFC 3261 §25.1, domainlabel

// Identity is a TLS certificate with its key.
type Identity struct {
	Certificate string `yaml:"certificate" doc:"File with the certificate chain, PEM. Read again on SIGHUP."`
	Key         string `yaml:"key" doc:"File with the private key, PEM, mode 0600."`
}

// complete reports whether both files are named.
func (id Identity) complete() bool { return id.Certificate != "" && id.Key != "" }

// Load reads the identity and holds it to a use, now and at each Reload.
func (id Identity) Load(use pki.Use) (*transport.Certificates, error) {
	return transport.NewCertificates(func() (*tls.Certificate, error) {
		return pki.Load(id.Certificate, id.Key, pki.Check{Now: time.Now(), Use: use})
	})
}

// SetDefaults sets what an interface is unless the file says otherwise.
func (i *Interface) SetDefaults() { i.Transport = "tls" }

// Socket is the address of i as it may be used once: UDP and TCP don't share ports.
func (i Interface) Socket() string {
	if i.Transport == "udp" {
		return i.Listen.String() + "/udp"
	}
	return i.Listen.String() + "/tcp"
}

// Check says what is wrong with the interfaces under key. taken holds the sockets of lists that were checked before.
func Check(key string, list []Interface, id TLS, taken map[string]string) []conffile.Fault {
	var fs []conffile.Fault
	secure := false
	for i, l := range list {
		at := fmt.Sprintf("%s.interfaces[%d]", key, i)
		if !l.Listen.IsValid() || l.Listen.Port() == 0 {
			fs = append(fs, conffile.Bad(at+".listen", "is no address:port", "give it as 0.0.0.0:5061"))
			continue
		}
		if other, ok := taken[l.Socket()]; ok {
			fs = append(fs, conffile.Bad(at+".listen", "is also "+other, "give each socket a port of its own"))
		}
		taken[l.Socket()] = at
		if err := transport.CheckAdvertise(l.Advertise); err != nil {
			fs = append(fs, conffile.Bad(at+".advertise", err.Error(), "leave it away, or give the public address"))
		}
		fs = append(fs, l.checkWebSocket(at)...)
		secure = secure || l.secure()
	}
	return append(fs, id.check(key+".tls", secure)...)
}

// secure reports whether i needs a certificate.
func (i Interface) secure() bool { return transport.Network(i.Transport).Secure() }

// Open binds the interfaces of a realm. base holds what they have in common; the sockets are named realm-0, realm-1 …
// certs is nil where none listens for TLS. On an error nothing is left open.
func Open(realm string, list []Interface, certs *Credentials, base transport.Config, h transport.Handler) ([]*transport.Interface, error) {
	var open []*transport.Interface
	for i, l := range list {
		conf := base
		conf.Name, conf.Network = fmt.Sprintf("%s-%d", realm, i), transport.Network(l.Transport)
		conf.Listen, conf.Advertise, conf.WebSocket = l.Listen, l.Advertise, l.webSocket()
		if l.secure() {
			conf.TLS = certs.Server
		} else {
			conf.ClientTLS = nil
		}
		iface, err := transport.Listen(conf, h)
		if err != nil {
			Close(open)
			return nil, fmt.Errorf("%s.interfaces[%d].listen: %w", realm, i, err)
		}
		open = append(open, iface)
	}
	return open, nil
}

// Certificates reads the identity of a realm; nil without an error if none of its interfaces needs one.
func Certificates(realm string, list []Interface, conf TLS) (*Credentials, error) {
	if !slices.ContainsFunc(list, Interface.secure) {
		return nil, nil
	}
	certs, err := credentials(conf)
	if err != nil {
		return nil, fmt.Errorf("%s.tls: %w", realm, err)
	}
	return certs, nil
}

// Serve starts reading from interfaces, which goes on until Close.
func Serve(list []*transport.Interface) {
	for _, i := range list {
		go i.Serve(context.Background()) //nolint:errcheck // returns nil once Close is called
	}
}

// Close closes interfaces.
func Close(list []*transport.Interface) {
	for _, i := range list {
		i.Close()
	}
}
