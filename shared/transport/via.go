package transport

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// stampVia writes into the top Via of a request where it really came from. Whatever the sender wrote as received or as
// the value of rport is gone: neither steers our responses.
func stampVia(req *sip.Request, remote netip.AddrPort) {
	via := req.Via()
	if via == nil {
		return
	}
	addr := remote.Addr().Unmap().WithZone("")
	kept := via.Params[:0]
	rport := false
	for _, p := range via.Params {
		switch {
		case strings.EqualFold(strings.TrimSpace(p.K), "rport"):
			rport = true
		case strings.EqualFold(strings.TrimSpace(p.K), "received"):
		default:
			kept = append(kept, p)
		}
	}
	via.Params = kept
	// RFC 3261 §18.2.1: received, if the host in sent-by is a name or another address. RFC 3581 §4: always with rport.
	said, err := netip.ParseAddr(strings.Trim(via.Host, "[]"))
	if rport || err != nil || said.Unmap() != addr {
		via.Params = append(via.Params, sip.HeaderKV{K: "received", V: addr.String()})
	}
	if rport {
		via.Params = append(via.Params, sip.HeaderKV{K: "rport", V: strconv.Itoa(int(remote.Port()))})
	}
}
