package border

import (
	"context"
	"net/netip"
	"time"

	"brickhouse/shared/transport"
)

// keepAlive is what a phone over UDP gets so that its NAT keeps the way to it open: line ends, which every SIP stack skips
// (RFC 3261 §7.5).
var keepAlive = []byte("\r\n\r\n")

// keepAliveSteps is in how many portions the phones get theirs, so that not all of them do at once.
const keepAliveSteps = 25

// keepAlives keeps the NATs of registered phones open until ctx ends.
func (b *Border) keepAlives(ctx context.Context) {
	every := b.cfg.Access.Registration.KeepAlive
	if every == 0 {
		return
	}
	t := time.NewTicker(every / keepAliveSteps)
	defer t.Stop()
	var flows []*transport.Flow
	for step := 0; ; step = (step + 1) % keepAliveSteps {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if step == 0 {
			flows = b.datagramFlows()
		}
		for i := step; i < len(flows); i += keepAliveSteps {
			if err := flows[i].Send(keepAlive); err != nil {
				b.log.Debug("keep-alive", "flow", flows[i].String(), "error", err)
			}
		}
	}
}

// datagramFlows returns the UDP flows that phones are registered over, each once.
func (b *Border) datagramFlows() []*transport.Flow {
	type way struct {
		socket *transport.Interface
		remote netip.AddrPort
	}
	seen := map[way]bool{}
	var flows []*transport.Flow
	for _, bound := range b.cache.All() {
		f := bound.Flow
		w := way{f.Interface(), f.Remote()}
		if f.Reliable() || seen[w] {
			continue
		}
		seen[w] = true
		flows = append(flows, f)
	}
	return flows
}
