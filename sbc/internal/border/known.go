package border

import (
	"net/netip"
	"slices"
	"time"

	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/regcache"
	"brickhouse/shared/transport"
)

// registry is who is told where good registrations live: the guard, which does not punish an office behind one address for
// one bad phone.
type registry interface {
	Known(src netip.Addr, aor string, until time.Time)
	Forget(src netip.Addr, aor string)
}

// gone takes the news that a binding left the cache.
func (b *Border) gone(old *regcache.Binding) {
	b.save(old.Token)
	if old.Proven {
		b.tellKnown(old.Flow.Remote().Addr(), old.AOR)
	}
}

// tellKnown tells what the cache holds by now of an account behind an address. Two changes may be told in another order than they
// happened, and the last word is right. When we stop, nothing is told: the phones will be back, and are no strangers meanwhile.
func (b *Border) tellKnown(src netip.Addr, aor string) {
	b.knowing.Lock()
	defer b.knowing.Unlock()
	if b.closing.Err() != nil {
		return
	}
	if until, ok := b.cache.Proven(aor, src, b.now()); ok {
		b.known.Known(src, aor, until)
	} else {
		b.known.Forget(src, aor)
	}
}

// ports are the ports that the kernel filter has to know. The sockets are bound by now.
func (b *Border) ports() guard.Ports {
	p := guard.Ports{Media: guard.PortRange{First: b.cfg.Media.MinPort, Last: b.cfg.Media.MaxPort}}
	for _, name := range []realmName{access, peer} {
		for _, i := range b.realms[name].interfaces {
			list := &p.SIPTCP
			if i.Network() == transport.UDP {
				list = &p.SIPUDP
			}
			if port := i.Local().Port(); !slices.Contains(*list, port) {
				*list = append(*list, port)
			}
		}
	}
	p.Own = b.mediaAddresses()
	slices.Sort(p.SIPUDP)
	slices.Sort(p.SIPTCP)
	return p
}

// mediaAddresses are where media may arrive: where its sockets are bound, else where signalling comes to.
func (b *Border) mediaAddresses() []netip.Addr {
	var all []netip.Addr
	for name, m := range map[realmName]MediaAddress{core: b.cfg.Core.Media, access: b.cfg.Access.Media, peer: b.cfg.Peer.Media} {
		if m.Bind.IsValid() && !m.Bind.IsUnspecified() {
			all = append(all, m.Bind)
			continue
		}
		for _, i := range b.realms[name].interfaces {
			all = append(all, i.Local().Addr())
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
