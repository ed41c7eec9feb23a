// Package setup is what the quickstarts of both programs have in common: the directory that they write into, the private
// certificate authority in it, and the ports of a small installation.
package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/command"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
)

// Names in the certificates of the core link.
const (
	ExchangeName = "pbx.brickhouse.internal"
	BorderName   = "sbc.brickhouse.internal"
)

// How long what a quickstart signs is good for.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 397 * 24 * time.Hour
)

// Site is a small installation: both programs on one machine.
type Site struct {
	Dir     string     // absolute path; everything is in it
	Domain  string     // SIP domain
	Address netip.Addr // where phones reach this machine
	Base    int        // first of the ports
}

// The ports of a site.
func (s Site) PhonePort() int  { return s.Base }      // UDP and TCP: phones inside, at the exchange
func (s Site) BorderPort() int { return s.Base + 1 }  // TLS: remote phones, at the border
func (s Site) CorePort() int   { return s.Base + 10 } // TLS: the border, at the exchange
func (s Site) APIPort() int    { return s.Base + 15 } // TLS: programs on this machine, at the exchange
func (s Site) TrunkPort() int  { return s.Base + 20 } // UDP: carriers, at the border

// At is a port of an address.
func (s Site) At(addr netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(addr, uint16(port))
}

// Server is what the certificate of a server that phones talk to must say: the domain, and each address and name under
// which they may have been told to reach it.
func (s Site) Server(names ...string) pki.Request {
	r := pki.Request{
		DNS: append(names, s.Domain, "localhost"), IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Use: pki.Server, Domains: []string{s.Domain},
	}
	if !s.Address.IsLoopback() {
		r.IPs = append(r.IPs, s.Address)
	}
	return r
}

// Path returns the path of a file of the site.
func (s Site) Path(name string) string { return filepath.Join(s.Dir, name) }

// File is Path as it stands in a YAML file.
func (s Site) File(name string) string { return strconv.Quote(s.Path(name)) }

// Everywhere are the addresses to listen on to be reached from anywhere.
func (s Site) Everywhere() []netip.Addr {
	out := []netip.Addr{netip.IPv4Unspecified()}
	if s.Address.Is6() {
		out = append(out, netip.IPv6Unspecified())
	}
	return out
}

// Aliases are the names and addresses, besides the domain, that phones may use for it.
func (s Site) Aliases() []string {
	out := []string{"localhost", "127.0.0.1"}
	if s.Address.String() != "127.0.0.1" {
		out = append(out, s.Address.String())
	}
	return out
}

// Command makes the command quickstart. write does a program's part in a directory that exists.
func Command(short string, write func(c *cobra.Command, s Site) error) *cobra.Command {
	var domain, address string
	var base int
	c := &cobra.Command{
		Use: "quickstart DIR", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := newSite(args[0], domain, address, base)
			if err != nil {
				return command.Bad(err)
			}
			return write(c, s)
		},
	}
	c.Flags().StringVar(&domain, "domain", "brickhouse.test", "SIP `DOMAIN` that phones register in")
	c.Flags().StringVar(&address, "address", "127.0.0.1", "`ADDRESS` of this machine that phones can reach")
	c.Flags().IntVar(&base, "port-base", 5060, "first `PORT`; the others follow from it")
	return c
}

func newSite(dir, domain, address string, base int) (Site, error) {
	s := Site{Domain: domain, Base: base}
	var err error
	if s.Address, err = netip.ParseAddr(address); err != nil || s.Address.IsUnspecified() || s.Address.IsMulticast() || s.Address.Zone() != "" {
		return s, fmt.Errorf("--address: %q is no address of a machine; give one of this machine", address)
	}
	s.Address = s.Address.Unmap()
	if !listen.IsHost(domain) {
		return s, fmt.Errorf("--domain: %q is no host name", domain)
	}
	if base < 1024 || base > 65000 {
		return s, fmt.Errorf("--port-base: %d is not between 1024 and 65000", base)
	}
	if s.Dir, err = filepath.Abs(dir); err != nil {
		return s, fmt.Errorf("%s: %w", dir, err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return s, fmt.Errorf("making the directory: %w", err)
	}
	return s, nil
}

// Fresh refuses to overwrite a file that exists: a second quickstart must not replace what phones have learnt.
func (s Site) Fresh(name string) error {
	_, err := os.Lstat(s.Path(name))
	if err == nil {
		return command.Bad(fmt.Errorf("%s exists; remove it, or name another directory", s.Path(name)))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Authority returns the site's certificate authority, and makes it if it is not there.
func (s Site) Authority() (*pki.Authority, error) {
	cert, key := s.Path("ca.crt"), s.Path("ca.key")
	if _, err := os.Stat(cert); err == nil {
		return pki.LoadAuthority(cert, key, time.Now())
	}
	ca, err := pki.NewAuthority("Brickhouse "+s.Domain, authorityLife, time.Now())
	if err != nil {
		return nil, err
	}
	pair, err := ca.Pair()
	if err != nil {
		return nil, err
	}
	return ca, pair.Write(cert, key)
}

// Issue writes name.crt and name.key.
func (s Site) Issue(ca *pki.Authority, name string, r pki.Request) error {
	r.Name, r.Life = name, leafLife
	pair, err := ca.Issue(r, time.Now())
	if err != nil {
		return err
	}
	return pair.Write(s.Path(name+".crt"), s.Path(name+".key"))
}

// Write fills in a template and writes it with mode 0600.
func (s Site) Write(name, text string, data any) error {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return pki.WriteFile(s.Path(name), []byte(b.String()))
}
