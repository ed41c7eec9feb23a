package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"brickhouse/shared/crew"
	"brickhouse/shared/verdict"
)

// Interface is one listening socket with its flows. A virtual one (NewVirtual) has no socket.
type Interface struct {
	cfg       Config
	handler   Handler
	log       *slog.Logger
	local     netip.AddrPort
	wildcard  bool
	advertise hostPort

	udp      []*udpSocket
	listener *net.TCPListener

	ids      *flowIDs
	verified *verifiedTable
	conns    *roster[*stream]
	writers  *crew.Crew // of streams
	single   bool       // it is one dialled connection's

	mu      sync.Mutex // guards flows, dials
	flows   map[string]*Flow
	dials   map[dialKey]*dialing
	closing atomic.Bool
	stop    chan struct{} // closed by Close
	work    sync.WaitGroup
}

// hostPort is a parsed Config.Advertise.
type hostPort struct {
	host string // without brackets
	port int
}

// Listen binds the socket of cfg; Serve starts it. The error names the address and, if it is taken, who holds it.
func Listen(cfg Config, h Handler) (*Interface, error) {
	i, err := newInterface(cfg, h)
	if err != nil {
		return nil, err
	}
	switch cfg.Network {
	case UDP:
		err = i.bindUDP()
	case TCP, TLS, WS, WSS:
		err = i.bindTCP()
	default:
		err = fmt.Errorf("interface %q: unknown network %q: use udp, tcp, tls, ws or wss", cfg.Name, cfg.Network)
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

// NewVirtual returns an interface without a socket, for flows that something else carries (Attach) and for dialling.
func NewVirtual(cfg Config, h Handler) (*Interface, error) { return newInterface(cfg, h) }

// newInterface checks cfg and fills in defaults; it opens nothing.
func newInterface(cfg Config, h Handler) (*Interface, error) {
	if cfg.Network.overTLS() && cfg.TLS == nil && cfg.Listen.IsValid() {
		return nil, fmt.Errorf("interface %q: %w", cfg.Name, ErrNoTLS)
	}
	adv, err := parseAdvertise(cfg.Advertise)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", cfg.Name, err)
	}
	if len(cfg.FlowKey) == 0 {
		cfg.FlowKey = make([]byte, 32)
		if _, err := rand.Read(cfg.FlowKey); err != nil {
			return nil, fmt.Errorf("interface %q: making a flow key: %w", cfg.Name, err)
		}
	}
	cfg.Limits = cfg.Limits.withDefaults()
	ids, err := newFlowIDs(cfg.FlowKey, cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", cfg.Name, err)
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Interface{
		cfg: cfg, handler: h, log: log.With("interface", cfg.Name), advertise: adv,
		ids:      ids,
		verified: newVerifiedTable(cfg.Limits.MaxVerified, cfg.Limits.VerifiedLife),
		conns:    newRoster[*stream](cfg.Limits),
		writers:  crew.New(idleWriters),
		flows:    make(map[string]*Flow),
		dials:    make(map[dialKey]*dialing),
		stop:     make(chan struct{}),
	}, nil
}

// idleWriters is how many goroutines of an interface wait for a stream that has something to write.
const idleWriters = 16

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ p, def *int }{
		{&l.MaxDatagram, &d.MaxDatagram}, {&l.MaxMessage, &d.MaxMessage},
		{&l.MaxConnections, &d.MaxConnections}, {&l.MaxPerSource, &d.MaxPerSource},
		{&l.MaxTrustedPerSource, &d.MaxTrustedPerSource}, {&l.MaxVerified, &d.MaxVerified},
		{&l.SendQueue, &d.SendQueue}, {&l.Readers, &d.Readers}, {&l.ReceiveBuffer, &d.ReceiveBuffer},
	} {
		if *f.p <= 0 {
			*f.p = *f.def
		}
	}
	if l.MaxStrangers <= 0 {
		l.MaxStrangers = max(1, l.MaxConnections/5)
	}
	if l.HandshakeTimeout <= 0 {
		l.HandshakeTimeout = d.HandshakeTimeout
	}
	if l.RequestTimeout <= 0 {
		l.RequestTimeout = d.RequestTimeout
	}
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = d.IdleTimeout
	}
	if l.WriteTimeout <= 0 {
		l.WriteTimeout = d.WriteTimeout
	}
	if l.PingInterval <= 0 {
		l.PingInterval = d.PingInterval
	}
	if l.VerifiedLife <= 0 {
		l.VerifiedLife = d.VerifiedLife
	}
	l.Readers = min(l.Readers, max(1, runtime.GOMAXPROCS(0)))
	return l
}

// CheckAdvertise says what is wrong with a Config.Advertise.
func CheckAdvertise(s string) error {
	_, err := parseAdvertise(s)
	return err
}

// parseAdvertise splits host, host:port, an IPv6 address or [IPv6]:port.
func parseAdvertise(s string) (hostPort, error) {
	if s == "" {
		return hostPort{}, nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return hostPort{host: addr.String()}, nil
	}
	host, ports, err := net.SplitHostPort(s)
	if err != nil {
		host, ports = s, ""
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n;,<>@\"[]/?") || (err != nil && strings.Contains(host, ":")) {
		return hostPort{}, fmt.Errorf("advertise %q: use host or host:port", s)
	}
	if err != nil {
		return hostPort{host: host}, nil
	}
	port, err := strconv.ParseUint(ports, 10, 16)
	if err != nil || port == 0 {
		return hostPort{}, fmt.Errorf("advertise %q: port must be 1 to 65535", s)
	}
	return hostPort{host: host, port: int(port)}, nil
}

// Serve reads from the socket until ctx ends or Close is called, and returns nil once its goroutines have ended.
func (i *Interface) Serve(ctx context.Context) error {
	stopped := context.AfterFunc(ctx, i.Close)
	defer stopped()
	for _, c := range i.udp {
		i.work.Go(func() { i.readUDP(c) })
	}
	if i.listener != nil {
		i.work.Go(i.acceptLoop)
	}
	<-i.stop
	i.work.Wait()
	return nil
}

// Close closes the socket and all connections, with verdict.Shutdown. It does not wait; Serve does.
func (i *Interface) Close() {
	i.mu.Lock()
	already := i.closing.Swap(true)
	i.mu.Unlock()
	if already {
		return
	}
	close(i.stop)
	i.writers.Close()
	for _, c := range i.udp {
		_ = c.Close()
	}
	if i.listener != nil {
		_ = i.listener.Close()
	}
	for _, s := range i.conns.list() {
		s.close(verdict.Shutdown) // those in the handshake too
	}
	for _, f := range i.Flows() {
		f.Close(verdict.Shutdown)
	}
}

// Name returns the configured name.
func (i *Interface) Name() string { return i.cfg.Name }

// Network returns the configured network.
func (i *Interface) Network() Network { return i.cfg.Network }

// Local returns the address that is bound, with the real port if zero was asked for; the zero value if there is no socket.
func (i *Interface) Local() netip.AddrPort { return i.local }

// Config returns the configuration with all defaults filled in.
func (i *Interface) Config() Config { return i.cfg }

// FlowTo returns the UDP flow to remote, from the interface's address; with a wildcard socket the kernel chooses the
// address from the route. It returns nil if the interface is not UDP.
func (i *Interface) FlowTo(remote netip.AddrPort) *Flow {
	if i.cfg.Network != UDP || len(i.udp) == 0 {
		return nil
	}
	return i.udpFlow(i.AddrTo(remote), remote)
}

// AddrTo returns the address that remote knows us by: the interface's own; with a wildcard socket, the kernel chooses it
// from the route.
func (i *Interface) AddrTo(remote netip.AddrPort) netip.Addr {
	if i.wildcard {
		return sourceFor(remote, i.local.Addr())
	}
	return i.local.Addr()
}

// Flow returns the live flow with that ID. For UDP each ID made by this interface is live.
func (i *Interface) Flow(id string) (*Flow, bool) {
	if i.cfg.Network == UDP {
		local, remote, ok := i.ids.open(id)
		if !ok {
			return nil, false
		}
		return i.udpFlow(local, remote), true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	f, ok := i.flows[id]
	return f, ok
}

// Flows returns the live connections; none for UDP.
func (i *Interface) Flows() []*Flow {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make([]*Flow, 0, len(i.flows))
	for _, f := range i.flows {
		all = append(all, f)
	}
	return all
}

// ConnectionCounts returns how many accepted connections are trusted, and how many are strangers.
func (i *Interface) ConnectionCounts() (trusted, strangers int) { return i.conns.counts() }

// register makes f findable by its ID; false if the interface is closing.
func (i *Interface) register(f *Flow) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closing.Load() {
		return false
	}
	i.flows[f.id] = f
	return true
}

// spawn runs fn on a goroutine that Serve waits for; false if the interface is closing.
func (i *Interface) spawn(fn func()) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closing.Load() {
		return false
	}
	i.work.Go(fn)
	return true
}

// unregister forgets f.
func (i *Interface) unregister(f *Flow) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.flows, f.id)
}

// isClosed reports whether err means that a socket was closed by us.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
