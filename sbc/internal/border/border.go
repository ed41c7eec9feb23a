// Package border is the whole session border controller: its configuration, its road, its life.
//
// It stands between two worlds and is a user agent in both: remote phones and trunks outside, the exchange inside. What
// passes is built anew from what was understood (decision 1 of the architecture); what was not understood ends here, with
// a name. The rooms it is made of know nothing of each other; the road (road.go) is where they meet.
package border

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"brickhouse/sbc/internal/banapi"
	"brickhouse/sbc/internal/caps"
	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/media/anchor"
	"brickhouse/sbc/internal/regcache"
	"brickhouse/sbc/internal/regstore"
	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/keyfile"
	"brickhouse/shared/listen"
	"brickhouse/shared/pki"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// expireEvery is how often expired bindings are swept out of the cache.
const expireEvery = 10 * time.Second

// maxAside is how many calls may wait for a name server at a time; more get 503.
const maxAside = 256

// Border is a running session border controller.
type Border struct {
	cfg      Config
	log      *slog.Logger
	metrics  *Metrics
	key      []byte // names inside are derived with it; kept over restarts
	domains  map[string]bool
	resolver Resolver

	guard    *guard.Guard
	lists    *banLists
	banAPI   *banapi.Server // nil: other tools may not ban
	anchor   *anchor.Anchor
	cache    *regcache.Cache
	tx       *transaction.Layer
	engine   *b2bua.Engine
	room     room
	core     *coreLink
	realms   map[realmName]*realm
	policies map[realmName]*b2bua.LegPolicy
	media    map[realmName]anchor.Realm
	trunks   atomic.Pointer[trunkTable] // who the carriers are; replaced by Reload
	carriers *trunk.Set                 // how they are
	learned  *trunk.Sources             // who else they have shown to be

	limits atomic.Pointer[caps.Config] // replaced by Reload
	valve  *caps.Gate
	caps   *caps.Caps

	known      registry   // the guard
	knowing    sync.Mutex // held while it is told, so that its last word is the cache's
	saved      *regstore.Store
	saving     sync.Mutex    // held while saved is told, for the same reason
	maxBans    atomic.Int64  // of the guard's configuration; replaced by Reload
	readFaults atomic.Uint64 // scrapes that could not read the filter's counters

	watchers *watchers // subscriptions of phones

	workers *transaction.Workers // what must not hold up a reader
	closing context.Context      // ends with Close
	stop    context.CancelFunc
	running sync.Mutex // held by Run
}

// New makes a border from its configuration: it reads certificates, binds every socket and opens the guard. An error
// names the key or address at fault, and nothing is left open.
func New(cfg Config, log *slog.Logger, m *telemetry.Metrics) (*Border, error) {
	b := &Border{
		cfg: cfg, log: log, metrics: NewMetrics(m), resolver: net.DefaultResolver,
		domains: map[string]bool{}, workers: transaction.NewWorkers(maxAside, log),
	}
	b.closing, b.stop = context.WithCancel(context.Background())
	for _, d := range append([]string{cfg.Domain}, cfg.Aliases...) {
		b.domains[strings.ToLower(d)] = true
	}
	if err := b.build(); err != nil {
		b.Close()
		return nil, err
	}
	b.maxBans.Store(int64(cfg.Guard.MaxBans))
	b.gauges(m)
	if err := b.openBanAPI(); err != nil {
		b.Close()
		return nil, err
	}
	b.room.warn(log)
	listen.Serve(b.realms[access].interfaces)
	listen.Serve(b.realms[peer].interfaces)
	return b, nil
}

// build makes the rooms, from the ground up: what is in files, media, calls, sockets. The guard comes last: it is what
// stays in the kernel.
func (b *Border) build() error {
	cfg := b.cfg
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	var err error
	if b.key, err = keyfile.Load(filepath.Join(cfg.State, "border.key")); err != nil {
		return err
	}
	trunks, err := b.compileTrunks(cfg.Peer.Trunks)
	if err != nil {
		return err
	}
	b.trunks.Store(trunks)
	if err := b.openTrunks(); err != nil {
		return err
	}
	if err := b.carriers.Configure(cfg.Peer.Trunks); err != nil {
		return err
	}
	b.limits.Store(&cfg.Admission)
	b.valve, b.caps = caps.NewGate(cfg.Admission.Gate()), caps.New()
	if b.anchor, err = anchor.New(cfg.Media, b.log); err != nil {
		return fmt.Errorf("media: %w", err)
	}
	b.cache = regcache.New(b.key, cfg.Limits.Bindings)
	b.cache.OnGone(b.gone)
	b.watchers = newWatchers(cfg.Limits.Subscriptions)
	timers := transaction.DefaultTimers()
	b.tx = transaction.New(timers, b, b.log, transaction.WithAnswered(b.answered))
	b.room = makeRoom(cfg)
	b.engine = b2bua.New(b2bua.Config{Transactions: b.tx, Timers: timers, Log: b.log, MaxCalls: b.room.calls, Session: cfg.Session.Timers()})
	b.realms = b.newRealms()
	b.policies, b.media = b.legPolicies(), b.mediaRealms()
	coreTLS, err := b.coreTLS()
	if err != nil {
		return err
	}
	b.core = newCoreLink(b, cfg.Core, coreTLS)
	if err := b.listen(b.realms[access], cfg.Access.Interfaces, cfg.Access.TLS); err != nil {
		return err
	}
	if err := b.listen(b.realms[peer], cfg.Peer.Interfaces, cfg.Peer.TLS); err != nil {
		return err
	}
	if b.lists, err = b.newBanLists(); err != nil {
		return fmt.Errorf("lists: %w", err)
	}
	b.guard, err = guard.Open(cfg.Guard, guard.Options{
		Dir: filepath.Join(cfg.State, "guard"), Log: b.log, Allow: b.neverBanned(), Ports: b.ports(), Load: b.lists.load(b.closing),
	})
	if err != nil {
		return fmt.Errorf("opening the guard: %w", err)
	}
	b.lists.use(b.guard.SetList, b.guard.EndList)
	b.lists.done.Go(func() { b.lists.follower.Run(b.closing) })
	b.known = b.guard
	b.anchor.Watch(b.guard, b.mediaStranger)
	b.useKernelMedia()
	return b.restore()
}

// listen binds the sockets of a realm.
func (b *Border) listen(r *realm, list []listen.Interface, conf listen.TLS) error {
	var err error
	if r.certs, err = listen.Certificates(string(r.name), list, conf); err != nil {
		return err
	}
	base := transport.Config{FlowKey: b.key, Limits: r.limits(), Log: b.log, Crowded: r.crowded, Undelivered: b.tx.Undelivered}
	if r.name == access {
		base.Registered = r.registered
	}
	r.interfaces, err = listen.Open(string(r.name), list, r.certs, base, r)
	return err
}

// peerTLS is how we call a gateway over TLS: its certificate must name the host that the configuration names.
func (b *Border) peerTLS(host string) *tls.Config {
	return transport.ClientTLS(&tls.Config{ServerName: host, GetClientCertificate: b.realms[peer].certs.GetClientCertificate})
}

// coreTLS is how we prove ourselves to the exchange, and whom we take for it.
func (b *Border) coreTLS() (*tls.Config, error) {
	c := b.cfg.Core
	certs, err := listen.Identity{Certificate: c.Certificate, Key: c.Key}.Load(pki.Client)
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	roots, err := pki.Roots(c.CA, b.now())
	if err != nil {
		return nil, fmt.Errorf("core.ca: %w", err)
	}
	b.realms[core].certs = &listen.Credentials{Certificates: certs}
	return transport.ClientTLS(&tls.Config{
		ServerName: c.ServerName, RootCAs: roots, GetClientCertificate: certs.GetClientCertificate,
	}), nil
}

// Check reads everything that the configuration names, without starting anything.
func Check(cfg *Config) error {
	b := &Border{cfg: *cfg, realms: map[realmName]*realm{core: {name: core}}}
	_, err := b.coreTLS()
	errs := []error{err}
	_, err = b.compileTrunks(cfg.Peer.Trunks)
	errs = append(errs, err)
	_, err = listen.Certificates(string(access), cfg.Access.Interfaces, cfg.Access.TLS)
	errs = append(errs, err)
	_, err = listen.Certificates(string(peer), cfg.Peer.Interfaces, cfg.Peer.TLS)
	return errors.Join(append(errs, err)...)
}

// Run serves until ctx ends.
func (b *Border) Run(ctx context.Context) {
	b.running.Lock()
	defer b.running.Unlock()
	if b.closing.Err() != nil { // closed before Run began
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.closing, cancel)()
	var beside sync.WaitGroup
	beside.Go(func() { b.sweep(ctx) })
	beside.Go(func() { b.keepAlives(ctx) })
	beside.Go(func() { b.carriers.Run(ctx) })
	beside.Go(func() { b.valve.Measure(ctx) })
	b.core.run(ctx)
	beside.Wait()
}

// sweep forgets bindings that expired.
func (b *Border) sweep(ctx context.Context) {
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			b.cache.Expire(b.now())
			b.watchers.expire(b.now())
		}
	}
}

// Close takes no new calls, lets those in hand end for as long as the configuration says, hangs up what is left, closes every socket and leaves the kernel filter with its bans in place.
func (b *Border) Close() {
	if b.engine != nil {
		b.engine.Finish(b.cfg.Limits.Drain)
		b.engine.Close(hangupPatience)
	}
	b.stop()
	b.closeBanAPI()
	b.workers.Wait()
	b.running.Lock()
	defer b.running.Unlock()
	for _, r := range b.realms {
		listen.Close(r.interfaces)
	}
	if b.tx != nil {
		b.tx.Close()
	}
	b.closeSaved()
	if b.anchor != nil {
		b.anchor.Close()
	}
	if b.lists != nil {
		b.lists.done.Wait() // closing has ended
	}
	if b.guard != nil {
		if err := b.guard.Close(); err != nil {
			b.log.Error("closing the guard", "error", err)
		}
	}
}

// hangupPatience is how long Close waits for the answers to its BYEs.
const hangupPatience = 2 * time.Second

// Reload takes a new configuration where it can be taken without ending a connection or a call: certificates, trunks, admission, and
// the guard's rules and allow list. On an error everything stays as it was.
func (b *Border) Reload(cfg Config) error {
	var errs []error
	var take []func()
	for _, r := range b.realms {
		if r.certs == nil {
			continue
		}
		use, err := r.certs.Prepare()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.tls: %w", r.name, err))
		}
		take = append(take, use)
	}
	trunks, err := b.compileTrunks(cfg.Peer.Trunks)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	if err := b.guard.Reload(cfg.Guard); err != nil {
		return err
	}
	if err := b.lists.reload(cfg.Lists); err != nil {
		return err
	}
	for _, use := range take {
		use()
	}
	b.trunks.Store(trunks)
	b.limits.Store(&cfg.Admission)
	b.valve.Configure(cfg.Admission.Gate())
	errs = append(errs, b.carriers.Configure(cfg.Peer.Trunks))
	b.maxBans.Store(int64(cfg.Guard.MaxBans))
	b.reloadBanAPI(cfg.BanAPI)
	for group, prefixes := range b.neverBanned() {
		errs = append(errs, b.guard.SetAllow(group, prefixes))
	}
	return errors.Join(errs...)
}

// allowExchange is the exchange's group of the allow list. Where the configuration has a name, it is known once it was
// looked up.
const allowExchange = "exchange"

// neverBanned lists, by group, whom no rule and no person may ban: the trunks, the exchange, and ourselves.
func (b *Border) neverBanned() map[string][]netip.Prefix {
	own := []netip.Prefix{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		b.log.Error("own addresses can't be listed", "error", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own = append(own, single(ip))
			}
		}
	}
	groups := map[string][]netip.Prefix{"own addresses": own, "trunks": b.trunks.Load().never}
	if addr, err := netip.ParseAddrPort(b.cfg.Core.Exchange); err == nil {
		groups[allowExchange] = []netip.Prefix{single(addr.Addr())}
	}
	return groups
}

// single is the network of one address.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// Guard returns the guard, for the commands.
func (b *Border) Guard() *guard.Guard { return b.guard }

// Calls describes the calls in hand.
func (b *Border) Calls() []b2bua.Info { return b.engine.Calls() }

// Trunks returns the trunks and how their gateways are.
func (b *Border) Trunks() *trunk.Set { return b.carriers }

// Registrations returns the phones that are registered through us, in no order.
func (b *Border) Registrations() []regcache.Binding {
	now := b.now()
	var out []regcache.Binding
	for _, bound := range b.cache.All() {
		if now.Before(bound.Expires) {
			out = append(out, *bound)
		}
	}
	return out
}

// Records returns the calls of an ID or a trace with their ladders, those in hand and the last ones that are over.
func (b *Border) Records(id string) []b2bua.Record { return b.engine.Records(id) }

// Drain makes us take no new calls, or take them again.
func (b *Border) Drain(on bool) { b.engine.Drain(on) }

// Draining reports whether no new calls are taken.
func (b *Border) Draining() bool { return b.engine.Draining() }

// Hangup ends a call.
func (b *Border) Hangup(id string) bool { return b.engine.End(id, verdict.NormalClearing) }

func (b *Border) now() time.Time { return time.Now() }

// realmOf returns the side that a flow belongs to.
func (b *Border) realmOf(f *transport.Flow) realmName {
	name := f.Interface().Name()
	for _, r := range []realmName{access, peer} {
		if strings.HasPrefix(name, string(r)) {
			return r
		}
	}
	return core
}

// derive makes a name for the inside out of names that a phone chose.
func (b *Border) derive(parts ...string) string {
	mac := hmac.New(sha256.New, b.key)
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
