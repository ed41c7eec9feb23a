package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"brickhouse/bpf/table"
)

// model is the filter in plain Go, written from the documentation and not from the C. Rates are not in it.
type model struct {
	claims    []claim
	monitored uint64
	media     map[uint16]bool // of the guarded ports, whether it is open
	own       []netip.Addr    // where they are guarded; none: everywhere
	sip       map[uint16]bool
	fragments Fragments
}

// claim is a ban, or an entry of the never-ban list or another one.
type claim struct {
	prefix netip.Prefix
	list   table.List
	single bool // made by Ban, not by SetList or SetAllow
}

// opinion is what the model says: one of some reasons and lists, since any ban of several may be the one that is named.
type opinion struct {
	family Family
	action Action
	by     []fate // reason and list only
}

func (o opinion) holds(got fate) bool {
	if o.family != got.family || o.action != got.action {
		return false
	}
	for _, b := range o.by {
		if b.reason == got.reason && b.list == got.list {
			return true
		}
	}
	return false
}

func (f Family) is(a Action, r Reason) opinion { return opinion{f, a, []fate{{reason: r}}} }

func (m *model) judge(b []byte) opinion {
	if len(b) < 14 {
		return FamilyOther.is(ActionDrop, ReasonBadPacket)
	}
	proto, at := binary.BigEndian.Uint16(b[12:]), 14
	for tags := 0; proto == etherVLAN || proto == etherQinQ; tags++ {
		if tags == 2 {
			return FamilyOther.is(ActionDrop, ReasonTooManyTags)
		}
		if len(b) < at+4 {
			return FamilyOther.is(ActionDrop, ReasonBadPacket)
		}
		proto, at = binary.BigEndian.Uint16(b[at+2:]), at+4
	}
	switch b = b[at:]; proto {
	case etherIPv4:
		return m.ipv4(b)
	case etherIPv6:
		return m.ipv6(b)
	}
	return FamilyOther.is(ActionPass, ReasonNone)
}

func (m *model) ipv4(b []byte) opinion {
	if len(b) < 20 || b[0]>>4 != 4 {
		return FamilyIPv4.is(ActionDrop, ReasonBadPacket)
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > len(b) || (total > 0 && total < header) {
		return FamilyIPv4.is(ActionDrop, ReasonBadPacket)
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case src.IsMulticast() || src == all, src.IsUnspecified() && !dst.IsMulticast() && dst != all:
		return FamilyIPv4.is(ActionDrop, ReasonMartianSource)
	}
	return m.source(FamilyIPv4, src, func() Reason {
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return m.fragment()
		}
		return m.transport(dst, b[9], b[header:])
	})
}

func (m *model) ipv6(b []byte) opinion {
	if len(b) < 40 || b[0]>>4 != 6 {
		return FamilyIPv6.is(ActionDrop, ReasonBadPacket)
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	if src.IsMulticast() || src.Is4In6() || (src.IsUnspecified() && !dst.IsMulticast()) {
		return FamilyIPv6.is(ActionDrop, ReasonMartianSource)
	}
	return m.source(FamilyIPv6, src, func() Reason { return m.extensions(dst, b[6], b[40:]) })
}

func (m *model) source(fam Family, src netip.Addr, service func() Reason) opinion {
	var hosts, networks, noted []fate
	if special := src.IsUnspecified() || src.Is6() && netip.MustParsePrefix("::/64").Contains(src); !special {
		for _, c := range m.claims {
			if !c.prefix.Contains(src) {
				continue
			}
			if c.list == table.Allow {
				return fam.is(ActionAllow, ReasonNone)
			}
			host := c.prefix.Bits() == 128 || c.prefix.Bits() > 24 && src.Is4() || c.prefix.Bits() > 60 && c.prefix.Bits() <= 64
			by := fate{reason: ReasonNetworkBanned, list: c.list}
			if host {
				by.reason = ReasonHostBanned
			}
			switch {
			case m.monitored>>c.list&1 == 1:
				noted = append(noted, by)
			case host:
				hosts = append(hosts, by)
			default:
				networks = append(networks, by)
			}
		}
	}
	if src.Is6() || len(hosts) == 0 { // of IPv4 the host comes first
		hosts = append(hosts, networks...)
	}
	if len(hosts) > 0 {
		return opinion{fam, ActionDrop, hosts}
	}
	if r := service(); r != ReasonNone {
		return fam.is(ActionDrop, r)
	}
	if len(noted) > 0 {
		return opinion{fam, ActionMonitor, noted}
	}
	return fam.is(ActionPass, ReasonNone)
}

func (m *model) fragment() Reason {
	if m.fragments == FragmentsDrop {
		return ReasonFragment
	}
	return ReasonNone
}

func (m *model) extensions(dst netip.Addr, next byte, b []byte) Reason {
	for n := 0; ; n++ {
		switch next {
		case 0, 43, 44, 51, 60, 135, 139, 140:
		default:
			return m.transport(dst, next, b)
		}
		if n == 6 {
			return ReasonExtensionChain
		}
		if len(b) < 8 {
			return ReasonBadPacket
		}
		length := (int(b[1]) + 1) * 8
		switch next {
		case 44:
			if binary.BigEndian.Uint16(b[2:])>>3 != 0 {
				return m.fragment()
			}
			length = 8
		case 51:
			length = (int(b[1]) + 2) * 4
		}
		next, b = b[0], b[min(length, len(b)):]
	}
}

func (m *model) transport(dst netip.Addr, proto byte, b []byte) Reason {
	switch {
	case proto == 17 && len(b) < 8, proto == 6 && len(b) < 20:
		return ReasonBadPacket
	case proto != 17:
		return ReasonNone
	}
	port, payload := binary.BigEndian.Uint16(b[2:]), b[8:]
	if n := int(binary.BigEndian.Uint16(b[4:])) - 8; n >= 0 {
		payload = payload[:min(n, len(payload))] // what follows is padding
	}
	if open, guarded := m.media[port]; guarded && !open && (len(m.own) == 0 || slices.Contains(m.own, dst.Unmap())) { // a mapped address is the IPv4 one
		return ReasonPortClosed
	}
	if m.sip[port] && !likeSIP(string(payload)) {
		return ReasonNotSIP
	}
	return ReasonNone
}
