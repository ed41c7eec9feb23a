package border

import (
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/dialog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Transfers at the border. It executes none: REFER (RFC 3515) and INVITE with Replaces (RFC 3891) of a side that may
// transfer go to the exchange, which knows whose rights they have, with each dialog named as the exchange knows it.

// referPass is the value of "refer" that lets a side transfer calls.
const referPass = "pass"

// referring is what a realm's messages may be like by its "refer".
func referring(name realmName, m sanitize.Messages, refer string) sanitize.Messages {
	if refer == referPass {
		return m
	}
	return m.Without(string(name), sip.REFER)
}

// refers reports whether a side may transfer calls.
func (b *Border) refers(outer realmName) bool {
	switch outer {
	case access:
		return b.cfg.Access.Refer == referPass
	case peer:
		return b.cfg.Peer.Refer == referPass
	}
	return false
}

// referTo names the target of a transfer for the exchange, in a call that the realm has that side of; nil where the realm
// may not transfer. Where else than to us a target points is nobody's business inside.
func (b *Border) referTo(outer realmName, side b2bua.Side) func(b2bua.Side, dialog.ReferTo) (sip.Uri, error) {
	if !b.refers(outer) {
		return nil
	}
	return func(from b2bua.Side, to dialog.ReferTo) (sip.Uri, error) {
		user, err := topology.User(to.URI)
		switch {
		case from != side: // the exchange transfers by itself
			return sip.Uri{}, &b2bua.Refusal{Code: sip.StatusForbidden, Reason: verdict.TransferRefused}
		case to.Replaces != nil && err != nil: // the dialog says who is meant; its Contact was ours
			return sip.Uri{Scheme: "sip", Host: b.cfg.Domain}, nil
		case err != nil:
			return sip.Uri{}, &b2bua.Refusal{Code: sip.StatusBadRequest, Reason: verdict.BadURI}
		case to.Replaces == nil && !b.meant(to.URI.Host):
			return sip.Uri{}, &b2bua.Refusal{Code: sip.StatusNotFound, Reason: verdict.UnknownDomain}
		}
		return topology.Address(user, b.cfg.Domain), nil
	}
}

// meant reports whether a target's host is us: a domain of ours, or an address, which is this border as the phone sees it.
func (b *Border) meant(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || b.serves(host)
}

// replacing has an INVITE that is to take the place of a party go on by way of place, with the header that tells the exchange.
func (b *Border) replacing(from realmName, s *transaction.Server, value string, place func(replaces sip.Header) verdict.Verdict) verdict.Verdict {
	if !b.refers(from) {
		return verdict.Rejected(sip.StatusForbidden, verdict.TransferRefused)
	}
	r, err := dialog.ParseReplaces(value)
	if err != nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadHeader)
	}
	b.engine.Across(r, func(across dialog.Replaces, ok bool) {
		v := verdict.Rejected(sip.StatusCallTransactionDoesNotExists, verdict.UnknownDialog)
		if ok {
			v = place(sip.NewHeader("Replaces", across.String()))
		}
		if !v.OK() {
			b.refuseServer(s, v)
		}
	})
	return verdict.Passed
}
