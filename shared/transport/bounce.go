package transport

import (
	"errors"
	"net/netip"

	"brickhouse/shared/datagram"
	"brickhouse/shared/verdict"
)

const (
	maxBounces = 64 // reports taken at a time; the next call on the socket fails again if there are more
	maxResends = 8  // of one datagram, when reports about others are in its way
)

// watchBounces has the system tell about datagrams that can't be delivered, if the owner wants to know.
func (i *Interface) watchBounces(c *udpSocket) error {
	if i.cfg.Undelivered == nil {
		return nil
	}
	return c.quick.WatchBounces()
}

// bounced takes the reports that made a call on a socket fail, and tells the owner. It reports whether err was of that kind.
func (i *Interface) bounced(c *udpSocket, err error) bool {
	if i.cfg.Undelivered == nil || !datagram.IsBounce(err) {
		return false
	}
	for range maxBounces {
		b, err := c.quick.Bounced()
		if err != nil {
			break
		}
		if b.Hard {
			i.undelivered(b.To, b.Quote)
		}
	}
	return true
}

// undelivered tells the owner; a panic there loses this report only.
func (i *Interface) undelivered(to netip.AddrPort, quote []byte) {
	defer i.logPanic(to)
	i.cfg.Undelivered(i, to, quote)
}

// faulty deals with an error of reading. Without a report about what we sent it counts as a failure, with a pause.
func (i *Interface) faulty(c *udpSocket, remote netip.AddrPort, err error) {
	if i.bounced(c, err) {
		return
	}
	i.dropped(remote, verdict.TransportFailure, nil)
	i.pause(readPause)
}

// writeUDP writes one datagram. A report about another one makes the write fail in its place, so it is tried again; the report
// goes to a goroutine of its own, because whoever sends may hold what the owner needs to take it.
func (i *Interface) writeUDP(c *udpSocket, local netip.Addr, remote netip.AddrPort, b []byte) error {
	var oob []byte
	if i.wildcard && local.IsValid() && !local.IsUnspecified() {
		oob = sourceControl(local)
	}
	for tries := 0; ; tries++ {
		err := error(datagram.ErrFull)
		if oob == nil {
			err = c.quick.Send(b, remote)
		}
		if errors.Is(err, datagram.ErrFull) { // the rare case waits
			_, _, err = c.WriteMsgUDPAddrPort(b, oob, remote)
		}
		if err == nil || i.cfg.Undelivered == nil || tries == maxResends || !datagram.IsBounce(err) {
			return err
		}
		if tries == 0 {
			i.spawn(func() { i.bounced(c, err) })
		}
	}
}
