package border

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Times of the core link.
const (
	coreDial    = 5 * time.Second  // one attempt to connect
	coreRetry   = time.Second      // pause after a failed attempt
	corePing    = 5 * time.Second  // between two OPTIONS
	coreSilence = 10 * time.Second // an OPTIONS without an answer for so long ends the connection
)

var errCoreDown = errors.New("exchange can't be reached")

// coreLink is the mutually authenticated connection to the exchange. The border opens it, so that the exchange needs no
// way out into the DMZ but this one, and opens it again whenever it ends.
type coreLink struct {
	b   *Border
	cfg Core
	tls *tls.Config

	mu   sync.Mutex
	flow *transport.Flow
	born time.Time     // when flow came up
	up   chan struct{} // closed while flow is up; replaced when it ends
}

func newCoreLink(b *Border, cfg Core, conf *tls.Config) *coreLink {
	return &coreLink{b: b, cfg: cfg, tls: conf, up: make(chan struct{})}
}

// current returns the live flow to the exchange, or nil.
func (l *coreLink) current() *transport.Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flow
}

// since returns when the link came up the last time: what the exchange said before, it may have forgotten.
func (l *coreLink) since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.born
}

// get returns the live flow, for which it waits as long as ctx lasts.
func (l *coreLink) get(ctx context.Context) (*transport.Flow, error) {
	for {
		l.mu.Lock()
		f, up := l.flow, l.up
		l.mu.Unlock()
		if f != nil {
			return f, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, errCoreDown
		}
	}
}

// run keeps the link up until ctx ends.
func (l *coreLink) run(ctx context.Context) {
	for ctx.Err() == nil {
		f, err := l.dial(ctx)
		if err != nil {
			l.b.log.Error("exchange can't be reached; trying again", "exchange", l.cfg.Exchange, "error", err)
			sleep(ctx, coreRetry)
			continue
		}
		answered := make(chan struct{}, 1)
		if l.hello(ctx, f, answered) {
			l.log(slog.LevelInfo, "core link is up")
			l.mu.Lock()
			l.flow, l.born = f, l.b.now()
			close(l.up)
			l.mu.Unlock()
			l.b.workers.Go(func() { l.b.orphaned(l.since()) }, func() {})
			l.watch(ctx, f, answered)
		}
	}
}

// hello waits for the answer to a first ping: then the exchange knows the link, too, and can call through it.
func (l *coreLink) hello(ctx context.Context, f *transport.Flow, answered chan struct{}) bool {
	l.ping(f, answered)
	t := time.NewTimer(coreDial)
	defer t.Stop()
	select {
	case <-answered:
		return true
	case <-t.C:
		l.log(slog.LevelError, "exchange does not answer; trying again")
		f.Close(verdict.IdleTimeout)
	case <-f.Closed():
		l.log(slog.LevelError, "exchange ends the connection; trying again")
		sleep(ctx, coreRetry)
	case <-ctx.Done():
		f.Close(verdict.Shutdown)
	}
	return false
}

func (l *coreLink) log(level slog.Level, text string) {
	l.b.log.Log(context.Background(), level, text, "exchange", l.cfg.Exchange)
}

func (l *coreLink) dial(ctx context.Context) (*transport.Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, coreDial)
	defer cancel()
	host, port, err := net.SplitHostPort(l.cfg.Exchange)
	if err != nil {
		return nil, err
	}
	addrs, err := l.b.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolving %s: %w", host, err)
	}
	if err := l.b.guard.SetAllow(allowExchange, []netip.Prefix{single(addrs[0])}); err != nil {
		return nil, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, err
	}
	return transport.Dial(ctx, transport.DialConfig{
		Name: string(core), Network: transport.TLS, Remote: netip.AddrPortFrom(addrs[0].Unmap(), uint16(n)),
		TLS: l.tls, Limits: transport.Limits{MaxMessage: int(l.cfg.Limits.Message), SendQueue: corelink.SendQueue},
	}, l.b.realms[core])
}

// watch pings the exchange until the connection ends. A peer that is gone without a word is found so.
func (l *coreLink) watch(ctx context.Context, f *transport.Flow, answered chan struct{}) {
	last := l.b.now()
	tick := time.NewTicker(corePing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			f.Close(verdict.Shutdown)
			return
		case <-f.Closed():
			l.closed(f)
			return
		case <-answered:
			last = l.b.now()
		case <-tick.C:
			if l.b.now().Sub(last) > corePing+coreSilence {
				f.Close(verdict.IdleTimeout)
				continue
			}
			l.ping(f, answered)
		}
	}
}

// ping sends an OPTIONS (RFC 3261 §11).
func (l *coreLink) ping(f *transport.Flow, answered chan<- struct{}) {
	uri := sip.Uri{Scheme: "sip", Host: l.b.cfg.Domain}
	req := sip.NewRequest(sip.OPTIONS, uri)
	hops, callID := sip.MaxForwardsHeader(1), sip.CallIDHeader(sipmsg.NewCallID())
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: uri, Params: sip.HeaderParams{{K: "tag", V: sipmsg.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: uri})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	req.SetBody(nil)
	_, err := l.b.tx.Send(f, req, func(ev transaction.Event) {
		if ev.Response != nil {
			select {
			case answered <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		l.b.log.Debug("pinging the exchange", "error", err)
	}
}

// closed takes the news that a connection ended.
func (l *coreLink) closed(f *transport.Flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flow != f {
		return
	}
	l.flow, l.up = nil, make(chan struct{})
	l.b.log.Warn("core link is down", "exchange", l.cfg.Exchange)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
