package border

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/admission"
	"brickhouse/sbc/internal/caps"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/route"
	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/listen"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Trunk is one carrier, Gateway one way into its network.
type (
	Trunk   = trunk.Config
	Gateway = trunk.Gateway
)

// trunkTable is what the configuration says about who the carriers are. It is a constant.
type trunkTable struct {
	who   *admission.Table
	rules map[string]trunkRules
	never []netip.Prefix // networks and gateways that are never banned
}

// systemNames is where the system keeps its name servers.
const systemNames = "/etc/resolv.conf"

// openTrunks makes what finds the gateways and watches them.
func (b *Border) openTrunks() error {
	var err error
	servers := route.Servers(b.cfg.Peer.DNS)
	if len(servers) == 0 {
		if servers, err = route.SystemServers(systemNames); err != nil {
			b.log.Info("no name servers to ask: the system looks names up", "error", err)
		}
	}
	conf := route.LocatorConfig{
		Names: route.NameFile(), Fallback: systemHosts{b}, Random: rand.IntN, Clock: b.now,
		Networks: b.cfg.Peer.networks(),
	}
	if len(servers) > 0 {
		conf.DNS = servers
	}
	b.learned = trunk.NewSources(b.now)
	b.carriers, err = trunk.Open(trunk.Options{
		File: filepath.Join(b.cfg.State, "trunks.json"), Locator: route.NewLocator(conf), Probe: b.probe,
		Now: b.now, Random: rand.IntN, Log: b.log,
	})
	return err
}

// systemHosts is the border's resolver, which tests replace.
type systemHosts struct{ b *Border }

func (h systemHosts) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return h.b.resolver.LookupNetIP(ctx, network, host)
}

// networks are the transports that the realm has, the preferred first.
func (p *Peer) networks() []string {
	return slices.DeleteFunc([]string{route.UDP, route.TCP, route.TLS}, func(n string) bool { return !p.has(n) })
}

// compileTrunks makes a table of the carriers.
func (b *Border) compileTrunks(list []Trunk) (*trunkTable, error) {
	t := &trunkTable{rules: map[string]trunkRules{}}
	var err error
	claims := map[string]admission.Claim{}
	for _, conf := range list {
		c := admission.Claim{Sources: slices.Clone(conf.Sources), TLSNames: conf.TLSNames}
		t.never = append(t.never, conf.Sources...)
		for _, g := range conf.Gateways {
			gw, err := route.ParseGateway(g.Address, g.Transport)
			if err != nil {
				return nil, fmt.Errorf("trunk %s: %w", conf.Name, err)
			}
			if a, err := netip.ParseAddr(gw.Host); err == nil {
				t.never = append(t.never, single(a))
				c.Sources = append(c.Sources, single(a)) // a gateway may call us, too
			}
		}
		claims[conf.Name] = c
		if t.rules[conf.Name], err = compileRules(conf.Rules); err != nil {
			return nil, fmt.Errorf("trunk %s: rules: %w", conf.Name, err)
		}
	}
	if t.who, err = admission.New(claims); err != nil {
		return nil, fmt.Errorf("peer.trunks: %w", err)
	}
	return t, nil
}

// carrier finds out which trunk sends over a flow: by the name that its certificate proves, by its address.
func (b *Border) carrier(f *transport.Flow) (string, bool) {
	who := b.trunks.Load().who
	if f.Secure() && who.HasNames() {
		if name, ok := who.Named(f.PeerNames()); ok {
			return name, true
		}
	}
	return b.carrierAt(f.Remote().Addr())
}

// carrierAt finds out whose address it is.
func (b *Border) carrierAt(a netip.Addr) (string, bool) {
	table := b.trunks.Load()
	if name, ok := table.who.Trunk(a); ok {
		return name, true
	}
	name, ok := b.learned.Trunk(a)
	_, still := table.rules[name] // a reload may have taken the trunk away
	return name, ok && still
}

// inviteTrunk calls a number through a trunk's gateways, one after the other.
func (b *Border) inviteTrunk(s *transaction.Server, name, trace string) verdict.Verdict {
	req := s.Request()
	t, ok := b.carriers.Trunk(name)
	if _, ruled := b.trunks.Load().rules[name]; !ok || !ruled {
		return verdict.Rejected(sip.StatusNotFound, verdict.TrunkFailed)
	}
	party, err := b.toTrunk(name, req)
	if err != nil || !listen.IsHost(req.Recipient.Host) {
		return verdict.Rejected(sip.StatusAddressIncomplete, verdict.BadURI)
	}
	if !t.Named() {
		return b.callTrunk(s, t, party, trace)
	}
	// A name server may take its time, and the core link's reader must not wait for it.
	started := b.workers.Go(func() {
		if v := b.callTrunk(s, t, party, trace); !v.OK() {
			b.refuseServer(s, v)
		}
	}, func() { b.refuseServer(s, verdict.Rejected(sip.StatusInternalServerError, verdict.Internal)) })
	if !started {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.Overload)
	}
	return verdict.Passed
}

// callTrunk chooses gateways that are alive and begins the call.
func (b *Border) callTrunk(s *transaction.Server, t *trunk.Trunk, party parties, trace string) (v verdict.Verdict) {
	ctx, cancel := context.WithTimeout(b.closing, resolveTimeout)
	defer cancel()
	choices, err := t.Choose(ctx)
	if err != nil {
		return trunkRefusal(err)
	}
	var places []caps.Place
	if !b.emergency(s.Request()) {
		places = append(places, b.trunkPlace(t.Config().Name))
	}
	release := b.admit(s, places...)
	if release == nil {
		return verdict.Passed // with an answer
	}
	defer unless(&v, release)
	plan := b.plan(trace, party.caller.URI.User, party.called.User)
	plan.Policy, plan.End = b.inner(peer), func(e b2bua.Ending) {
		release()
		b.metrics.trunk(t.Config().Name, "out", e.Reason)
	}
	plan.Info.From, plan.Info.To = string(core), "trunk "+t.Config().Name
	plan.ReferTo = b.referTo(peer, b2bua.B)
	plan.Next = func(code int) bool { return slices.Contains(t.Config().Failover.Codes, code) }
	side := anchor.Endpoint{Realm: b.media[peer], SecureHop: true}
	for _, c := range choices {
		out := b.realms[peer].towards(c.Hop)
		if out == nil {
			continue
		}
		if !side.Local.IsValid() {
			side.Local = out.AddrTo(c.Hop.Addr).Unmap()
		}
		side.SecureHop = side.SecureHop && c.Hop.Network == route.TLS // keys go to none if one of them is not secure
		plan.Groups = append(plan.Groups, []b2bua.Target{b.hop(t, c.Hop, out, party)})
	}
	if len(plan.Groups) == 0 {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkFailed)
	}
	return b.start(s, plan, b.endpoint(core, s.Flow()), side)
}

// trunkRefusal is the verdict on a call to a trunk that takes none.
func trunkRefusal(err error) verdict.Verdict {
	if errors.Is(err, trunk.ErrDisabled) {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkDisabled)
	}
	return verdict.Rejected(sip.StatusServiceUnavailable, verdict.TrunkDown)
}

// hop is one gateway's address as a target. The carrier is called by the address that the exchange names it by: the
// exchange's answer to a challenge is made for that address (RFC 7616 §3.4.6).
func (b *Border) hop(t *trunk.Trunk, h route.Hop, out *transport.Interface, party parties) b2bua.Target {
	return b2bua.Target{
		Name: t.Config().Name + " " + h.Addr.String(), Policy: b.policies[peer],
		URI: party.called, From: party.caller, To: party.callee, Headers: party.headers,
		Dial:   func(ctx context.Context) (*transport.Flow, error) { return b.dialHop(ctx, t, h, out) },
		Within: t.Config().Failover.After,
		Tried: func(code int, err error) {
			if code != 0 {
				code = max(code, sip.StatusOK) // it lives, whatever it says
			}
			t.Report(h, trunk.Result{Code: code, Err: err})
		},
	}
}

// dialHop makes the flow to a hop. What comes back from there is the trunk's.
func (b *Border) dialHop(ctx context.Context, t *trunk.Trunk, h route.Hop, out *transport.Interface) (*transport.Flow, error) {
	b.learned.Learn(h.Addr.Addr(), t.Config().Name)
	switch out.Network() {
	case transport.UDP:
		return out.FlowTo(h.Addr), nil
	case transport.TLS: // carriers may share an address; each is held to its own name
		return out.DialTLS(ctx, h.Addr, h.Host, b.peerTLS(h.Host))
	}
	return out.Dial(ctx, h.Addr)
}

var errNoInterface = errors.New("the peer side has no interface to reach it by")

// probe asks a hop with OPTIONS (RFC 3261 §11).
func (b *Border) probe(ctx context.Context, t *trunk.Trunk, h route.Hop) trunk.Result {
	out := b.realms[peer].towards(h)
	if out == nil {
		return trunk.Result{Err: errNoInterface}
	}
	f, err := b.dialHop(ctx, t, h, out)
	if err != nil {
		return trunk.Result{Err: err}
	}
	answered := make(chan trunk.Result, 1)
	_, err = b.tx.Send(f, ping(f, h), func(ev transaction.Event) {
		r := trunk.Result{Err: ev.Err}
		if ev.Response != nil {
			if ev.Response.IsProvisional() {
				return
			}
			r.Code = ev.Response.StatusCode
		}
		select {
		case answered <- r:
		default:
		}
	})
	if err != nil {
		return trunk.Result{Err: err}
	}
	select {
	case r := <-answered:
		return r
	case <-ctx.Done():
		return trunk.Result{Err: errSilent}
	}
}

var errSilent = errors.New("no answer in time")

// ping makes an OPTIONS to a hop. It names nothing of the inside.
func ping(f *transport.Flow, h route.Hop) *sip.Request {
	host := h.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	to := sip.Uri{Scheme: "sip", Host: host}
	if h.Addr.Port() != route.DefaultPort {
		to.Port = int(h.Addr.Port())
	}
	own, port := f.ViaHost()
	req := sip.NewRequest(sip.OPTIONS, to)
	hops, callID := sip.MaxForwardsHeader(dialog.MaxForwards), sip.CallIDHeader(sipmsg.NewCallID())
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "ping", Host: own, Port: port}, Params: sip.HeaderParams{{K: "tag", V: sipmsg.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: to})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	req.AppendHeader(&sip.ContactHeader{Address: contactURI(f)})
	req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	req.SetBody(nil)
	return req
}

// towards returns a socket that reaches a hop, or nil.
func (r *realm) towards(h route.Hop) *transport.Interface {
	for _, i := range r.interfaces {
		local := i.Local().Addr()
		if string(i.Network()) == h.Network && (local.Unmap().Is4() == h.Addr.Addr().Is4() || local == netip.IPv6Unspecified()) {
			return i
		}
	}
	return nil
}

// peerFlow sends requests within a call to where the carrier's Contact or Record-Route points (RFC 3261 §12.2.1.1), if
// that is an address of a trunk of ours; otherwise over the flow that the call came by.
func (b *Border) peerFlow(d *dialog.Dialog, last *transport.Flow) *transport.Flow {
	next := d.Target
	if len(d.Routes) > 0 {
		next = d.Routes[0]
	}
	addr, err := netip.ParseAddr(strings.Trim(next.Host, "[]"))
	if err != nil || last.Reliable() || d.Remote.Tag == "" { // the first INVITE goes to the gateway that was chosen
		return last
	}
	port := next.Port
	if port == 0 {
		port = route.DefaultPort
	}
	if _, ok := b.carrierAt(addr); !ok {
		return last
	}
	return last.Interface().FlowTo(netip.AddrPortFrom(addr, uint16(port)))
}

// Resolver looks host names up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Resolver = (*net.Resolver)(nil)
