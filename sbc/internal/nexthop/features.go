package nexthop

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Why an interface can't be handed frames. Test with errors.Is.
var (
	ErrUnknown = errors.New("the kernel does not tell whether its driver takes frames from XDP (6.3 or newer does)")
	ErrRefuses = errors.New("its driver takes no frames from XDP")
)

// Numbers of the netdev family of generic netlink (linux/netdev.h).
const (
	netdevDevGet      = 1
	netdevIfindex     = 1
	netdevXDPFeatures = 3
	netdevXmit        = 4 // NETDEV_XDP_ACT_NDO_XMIT
)

// genericHeader is command, version and two bytes that must be 0 (linux/genetlink.h), which nl.Genlmsg leaves to chance.
type genericHeader [nl.SizeofGenlmsg]byte

// Len is that of the header.
func (genericHeader) Len() int { return nl.SizeofGenlmsg }

// Serialize returns the header.
func (h genericHeader) Serialize() []byte { return h[:] }

// TakesFrames returns nil if the driver of an interface sends frames that an XDP program hands to it. Else a redirected frame would be lost
// without a word.
func TakesFrames(link int) error {
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return ErrUnknown
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genericHeader{netdevDevGet, 1})
	req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(link))))
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return fmt.Errorf("XDP features of interface %d: %w", link, err)
	}
	for _, m := range msgs {
		if len(m) < nl.SizeofGenlmsg {
			continue
		}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return fmt.Errorf("XDP features of interface %d: %w", link, err)
		}
		for _, a := range attrs {
			if a.Attr.Type == netdevXDPFeatures && len(a.Value) == 8 {
				if binary.NativeEndian.Uint64(a.Value)&netdevXmit == 0 {
					return ErrRefuses
				}
				return nil
			}
		}
	}
	return ErrUnknown
}
