package border

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"

	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/guard"
)

// banLists follow the lists of networks that the configuration names, and hand them to the guard.
type banLists struct {
	follower *follow.Follower
	done     sync.WaitGroup // the follower runs

	mu    sync.Mutex
	kinds map[string]guard.FeedKind
	set   guard.SetList // what puts a list into force now
	end   func(name string) error
}

// newBanLists makes the follower; it reads nothing before load.
func (b *Border) newBanLists() (*banLists, error) {
	l := &banLists{kinds: kindsOf(b.cfg.Lists)}
	var err error
	l.follower, err = follow.New(follow.Config{Lists: b.cfg.Lists}, follow.Options{
		Apply: l.apply, Dir: filepath.Join(b.cfg.State, "guard", "feeds"), Log: b.log,
	})
	return l, err
}

// load puts into force what there is without the network, before the guard judges its first packet.
func (l *banLists) load(ctx context.Context) func(guard.SetList) {
	return func(set guard.SetList) {
		l.use(set, func(string) error { return nil })
		l.follower.Load(ctx)
	}
}

// use says how lists come into force from now on.
func (l *banLists) use(set guard.SetList, end func(string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set, l.end = set, end
}

// reload takes other lists over.
func (l *banLists) reload(lists []follow.List) error {
	l.mu.Lock()
	l.kinds = kindsOf(lists)
	l.mu.Unlock()
	return l.follower.Reload(follow.Config{Lists: lists})
}

func (l *banLists) apply(name string, prefixes []netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if prefixes == nil {
		return l.end(name)
	}
	return l.set(name, l.kinds[name], prefixes)
}

func kindsOf(lists []follow.List) map[string]guard.FeedKind {
	kinds := map[string]guard.FeedKind{}
	for _, l := range lists {
		switch {
		case l.Allow:
			kinds[l.Name] = guard.FeedAllow
		case l.Monitor:
			kinds[l.Name] = guard.FeedMonitor
		}
	}
	return kinds
}

// Lists tells how the lists stand that the configuration names.
func (b *Border) Lists() []follow.Status { return b.lists.follower.Status() }
