package transaction

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// Undelivered takes the news that a datagram could not be delivered (transport.Config.Undelivered): the client transaction that
// sent it fails with ErrTransport (RFC 3261 §18.4, §17.1.4), if no response to it has come. The report must quote as much of our
// request as its branch, which nobody knows who has not seen it: so nobody else can end a transaction. One that quotes less is of
// no use, and the transaction ends by its timer.
func (l *Layer) Undelivered(i *transport.Interface, remote netip.AddrPort, quote []byte) {
	key, ok := quotedKey(quote)
	if !ok {
		return
	}
	tx, ok := l.clients.get(key)
	if !ok || tx.flow.Interface() != i || tx.flow.Remote() != remote {
		return
	}
	tx.undelivered(quote)
}

// undelivered fails the transaction if it waits for its first response, and the quote is what it sent.
func (t *clientTx) undelivered(quote []byte) {
	t.mu.Lock()
	if t.state == clientCalling && !t.reliable && bytes.HasPrefix(t.out, quote) {
		t.endLocked(ErrTransport)
	}
	t.deliverLocked()
}

// quotedKey finds the transaction of a request of ours by its beginning. The Via of a request is written first, with the branch before all
// parameters, and the branch is whole if something stands behind it.
func quotedKey(quote []byte) (k clientKey, ok bool) {
	method, _, ok := bytes.Cut(quote, []byte(" "))
	if !ok {
		return k, false
	}
	_, rest, ok := bytes.Cut(quote, []byte(";branch="+sipmsg.BranchCookie))
	if !ok {
		return k, false
	}
	end := bytes.IndexFunc(rest, func(c rune) bool { return !strings.ContainsRune(branchBytes, c) })
	if end <= 0 {
		return k, false
	}
	k.branch, k.method = sipmsg.BranchCookie+string(rest[:end]), sip.RequestMethod(slices.Clone(method))
	return k, true
}

const branchBytes = "0123456789abcdef" // as NewBranch makes them
