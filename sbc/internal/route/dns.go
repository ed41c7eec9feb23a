package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// DNS asks name servers.
type DNS interface {
	// Query returns the records of one type, and for how long they may be kept. ErrNoRecord says that there are none, which
	// is an answer; any other error, that nobody answered.
	Query(ctx context.Context, name string, typ uint16) (rrs []dns.RR, ttl time.Duration, err error)
}

// ErrNoRecord says that a name has no record of a type, or does not exist.
var ErrNoRecord = errors.New("no such record")

// Bounds of a question.
const (
	tryLimit   = 1500 * time.Millisecond // one name server, once
	rounds     = 2                       // over all name servers
	maxServers = 3                       // as resolv.conf(5) has it
	maxAnswers = 64                      // records of one answer
	udpSize    = 1232                    // EDNS0: what is not fragmented
)

// Servers are name servers to ask, one after the other.
type Servers []netip.AddrPort

// SystemServers reads the name servers of a resolv.conf.
func SystemServers(path string) (Servers, error) {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the name servers: %w", err)
	}
	var out Servers
	for _, s := range conf.Servers {
		a, err := netip.ParseAddrPort(net.JoinHostPort(s, conf.Port))
		if err == nil && len(out) < maxServers {
			out = append(out, a)
		}
	}
	return out, nil
}

// NameFile is the host's own file of names, /etc/hosts, as the system would read it (nsswitch.conf): a resolver that can
// reach no name server.
func NameFile() Hosts {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errFileOnly
	}}
}

var errFileOnly = errors.New("the file of names alone is asked")

// Query asks the name servers in turn.
func (s Servers) Query(ctx context.Context, name string, typ uint16) ([]dns.RR, time.Duration, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	q.SetEdns0(udpSize, false)
	err := errors.New("no name server is configured")
	for range rounds {
		for _, server := range s {
			if ctx.Err() != nil {
				return nil, 0, fmt.Errorf("asking for %s: %w", name, errors.Join(ctx.Err(), err))
			}
			var res *dns.Msg
			if res, err = exchange(ctx, q, server.String()); err == nil {
				return answers(res, typ)
			}
		}
	}
	return nil, 0, fmt.Errorf("asking for %s: %w", name, err)
}

// exchange asks one server, again over TCP where the answer does not fit into a datagram.
func exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	q = q.Copy()
	q.Id = dns.Id() // and a port of its own: an answer is hard to forge
	res, _, err := (&dns.Client{UDPSize: udpSize}).ExchangeContext(ctx, q, server)
	if err == nil && res.Truncated {
		res, _, err = (&dns.Client{Net: "tcp"}).ExchangeContext(ctx, q, server)
	}
	switch {
	case err != nil:
		return nil, err
	case len(res.Question) != 1 || res.Question[0].Qtype != q.Question[0].Qtype || dns.CanonicalName(res.Question[0].Name) != dns.CanonicalName(q.Question[0].Name):
		return nil, errors.New("the answer is to another question")
	case res.Rcode != dns.RcodeSuccess && res.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("name server %s says %s", server, dns.RcodeToString[res.Rcode])
	}
	return res, nil
}

// answers takes the records of one type out of an answer. What the server told beside, such as the CNAMEs that lead to
// them, counts for how long they hold.
func answers(res *dns.Msg, typ uint16) ([]dns.RR, time.Duration, error) {
	var out []dns.RR
	ttl := maxKeep
	for _, rr := range res.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
		if rr.Header().Rrtype == typ {
			out = append(out, rr)
		}
	}
	if len(out) == 0 {
		return nil, 0, ErrNoRecord
	}
	return slices.Clip(out[:min(len(out), maxAnswers)]), ttl, nil
}
