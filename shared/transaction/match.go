package transaction

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// serverKey matches requests to server transactions (RFC 3261 §17.2.3): branch, sent-by and method, with INVITE for ACK
// and CANCEL. The source address is in it too, so that nobody cancels or answers for somebody else by guessing a branch;
// the port is not, because a NAT may change it.
type serverKey struct {
	branch string
	host   string
	port   int
	method sip.RequestMethod
	source netip.Addr
}

// clientKey matches responses (RFC 3261 §17.1.3).
type clientKey struct {
	branch string
	method sip.RequestMethod
}

// mergeKey finds the same request that came by two ways (RFC 3261 §8.2.2.2).
type mergeKey struct {
	callID  string
	fromTag string
	seq     uint32
	method  sip.RequestMethod
	source  netip.Addr
}

// keyOf returns the key of a request; false if it has no Via, CSeq, Call-ID or From.
func keyOf(f *transport.Flow, req *sip.Request) (serverKey, bool) {
	via, cseq, id, from := req.Via(), req.CSeq(), req.CallID(), req.From()
	if via == nil || cseq == nil || id == nil || from == nil {
		return serverKey{}, false
	}
	k := serverKey{
		host: plainHost(via.Host), port: via.Port, method: req.Method, source: f.Remote().Addr(),
	}
	k.branch, _ = sipmsg.Param(via.Params, "branch")
	if !isUniqueBranch(k.branch) {
		// RFC 3261 §17.2.3, for senders of RFC 2543: the fields that stay the same in INVITE, ACK and CANCEL.
		tag, _ := sipmsg.Param(from.Params, "tag")
		k.branch = "2543 " + strconv.Quote(k.branch) + strconv.Quote(string(*id)) + strconv.Quote(tag) +
			strconv.FormatUint(uint64(cseq.SeqNo), 10)
	}
	return k, true
}

// isUniqueBranch reports whether a branch has the cookie of RFC 3261 §8.1.1.7 and something behind it.
func isUniqueBranch(b string) bool {
	n := len(sipmsg.BranchCookie)
	return len(b) > n && strings.EqualFold(b[:n], sipmsg.BranchCookie)
}

// mergeKeyOf returns the key under which a merged request is found; false for requests inside a dialog.
func mergeKeyOf(f *transport.Flow, req *sip.Request) (mergeKey, bool) {
	from, to := req.From(), req.To()
	if to == nil {
		return mergeKey{}, false
	}
	if tag, ok := sipmsg.Param(to.Params, "tag"); ok && tag != "" {
		return mergeKey{}, false
	}
	tag, ok := sipmsg.Param(from.Params, "tag")
	if !ok || tag == "" {
		return mergeKey{}, false // RFC 2543: can't be told apart
	}
	return mergeKey{
		callID: string(*req.CallID()), fromTag: tag, seq: req.CSeq().SeqNo, method: req.Method, source: f.Remote().Addr(),
	}, true
}

// responseKey returns the key of a response whose top Via is ours: it has exactly one (RFC 3261 §8.1.3.3).
func responseKey(res *sip.Response) (k clientKey, via *sip.ViaHeader, ok bool) {
	for _, h := range res.Headers() {
		v, is := h.(*sip.ViaHeader)
		if !is {
			continue
		}
		if via != nil {
			return k, nil, false
		}
		via = v
	}
	cseq := res.CSeq()
	if via == nil || cseq == nil {
		return k, nil, false
	}
	k.branch, _ = sipmsg.Param(via.Params, "branch")
	k.method = cseq.MethodName
	return k, via, k.branch != ""
}

// plainHost is a host as it is compared: lower case, IPv6 without brackets.
func plainHost(h string) string { return strings.ToLower(strings.Trim(h, "[]")) }
