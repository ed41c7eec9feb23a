// Package dialog holds one end of a SIP dialog (RFC 3261 §12): its identity, its sequence numbers, its route set and its
// remote target, and builds the requests that are sent within it. It is pure: it opens no socket and reads no clock.
//
// A Dialog is not safe for concurrent use; whoever owns the call owns it.
package dialog

import (
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// MaxForwards is the hop count that our requests start with (RFC 3261 §8.1.1.6).
const MaxForwards = 70

// maxRouteSet bounds the route set that a far side may give us, in hops.
const maxRouteSet = 16

// The faults of a message that should make or continue a dialog.
var (
	ErrIncomplete = errors.New("message lacks From, To, Call-ID, CSeq or Contact")
	ErrRouteSet   = errors.New("route set is too long")
	ErrOldCSeq    = errors.New("CSeq is not above the last one") // RFC 3261 §12.2.2: answered 500
)

// Party is one side of a dialog as From and To show it.
type Party struct {
	Display string // display name, without quotes; may be empty
	URI     sip.Uri
	Tag     string
}

// ID names a dialog as we see it (RFC 3261 §12).
type ID struct {
	CallID, LocalTag, RemoteTag string
}

// Dialog is one end of a dialog.
type Dialog struct {
	CallID    string
	Local     Party
	Remote    Party
	Target    sip.Uri   // remote target: where in-dialog requests are addressed
	Routes    []sip.Uri // route set, first hop first
	LocalSeq  uint32    // CSeq of our last request
	RemoteSeq uint32    // CSeq of the far side's last request; 0 before the first
}

// ID returns the dialog's name.
func (d *Dialog) ID() ID { return ID{d.CallID, d.Local.Tag, d.Remote.Tag} }

// FromInvite makes the dialog of the called side from a request that creates one (RFC 3261 §12.1.1). localTag is the tag
// that our responses carry.
func FromInvite(req *sip.Request, localTag string) (*Dialog, error) {
	from, to, contact := req.From(), req.To(), req.Contact()
	if from == nil || to == nil || contact == nil || contact.Address.Wildcard || req.CallID() == nil || req.CSeq() == nil {
		return nil, ErrIncomplete
	}
	d := &Dialog{
		CallID:    req.CallID().Value(),
		Local:     Party{Display: to.DisplayName, URI: *to.Address.Clone(), Tag: localTag},
		Remote:    Party{Display: from.DisplayName, URI: *from.Address.Clone(), Tag: tag(from.Params)},
		Target:    stripForRequestURI(contact.Address),
		RemoteSeq: req.CSeq().SeqNo,
	}
	var err error
	d.Routes, err = recordRoutes(req, false)
	return d, err
}

// NewClient makes the dialog of the calling side before its first request is sent. The route set holds the hops that
// the caller already knows (a Path or an outbound proxy); seq is the CSeq number of the first request.
func NewClient(callID string, local, remote Party, target sip.Uri, routes []sip.Uri, seq uint32) *Dialog {
	return &Dialog{CallID: callID, Local: local, Remote: remote, Target: target, Routes: routes, LocalSeq: seq}
}

// Establish takes the far side's tag, target and route set from a response that creates the dialog (RFC 3261 §12.1.2).
// It is called for each 101–299 response to the INVITE; the 2xx decides.
func (d *Dialog) Establish(res *sip.Response) error {
	to := res.To()
	if to == nil {
		return ErrIncomplete
	}
	d.Remote.Tag = tag(to.Params)
	routes, err := recordRoutes(res, true)
	if err != nil {
		return err
	}
	if res.StatusCode >= 200 || len(routes) > 0 {
		d.Routes = routes
	}
	if c := res.Contact(); c != nil && !c.Address.Wildcard {
		d.Target = stripForRequestURI(c.Address)
	} else if res.StatusCode >= 200 {
		return ErrIncomplete // RFC 3261 §12.1.1: a 2xx carries Contact
	}
	return nil
}

// Refresh takes the remote target from a target refresh request or its 2xx (RFC 3261 §12.2).
func (d *Dialog) Refresh(msg sip.Message) {
	var c *sip.ContactHeader
	switch m := msg.(type) {
	case *sip.Request:
		c = m.Contact()
	case *sip.Response:
		c = m.Contact()
	}
	if c != nil && !c.Address.Wildcard {
		d.Target = stripForRequestURI(c.Address)
	}
}

// Receive checks the sequence number of a request from the far side and keeps it (RFC 3261 §12.2.2). ACK and CANCEL
// repeat their INVITE's number and are not checked.
func (d *Dialog) Receive(req *sip.Request) error {
	if req.IsAck() || req.IsCancel() {
		return nil
	}
	cseq := req.CSeq()
	if cseq == nil {
		return ErrIncomplete
	}
	if d.RemoteSeq != 0 && cseq.SeqNo <= d.RemoteSeq {
		return fmt.Errorf("%w: %d after %d", ErrOldCSeq, cseq.SeqNo, d.RemoteSeq)
	}
	d.RemoteSeq = cseq.SeqNo
	return nil
}

// NewRequest builds the next request within the dialog: start line, Route, Max-Forwards, From, To, Call-ID and CSeq
// (RFC 3261 §12.2.1.1). Via is the transport's business, Contact and body are the caller's.
func (d *Dialog) NewRequest(method sip.RequestMethod) *sip.Request {
	d.LocalSeq++
	return d.build(method, d.LocalSeq)
}

// First builds the request that creates the dialog, with the sequence number that NewClient was given.
func (d *Dialog) First(method sip.RequestMethod) *sip.Request { return d.build(method, d.LocalSeq) }

// Ack builds the ACK for the 2xx to the INVITE that had the sequence number seq (RFC 3261 §13.2.2.4).
func (d *Dialog) Ack(seq uint32) *sip.Request { return d.build(sip.ACK, seq) }

func (d *Dialog) build(method sip.RequestMethod, seq uint32) *sip.Request {
	uri, routes := d.Target, d.Routes
	if len(routes) > 0 && !routes[0].UriParams.Has("lr") {
		// RFC 3261 §12.2.1.1: a strict router gets its own URI in the start line, the target goes last.
		uri = stripForRequestURI(routes[0])
		routes = append(append([]sip.Uri{}, routes[1:]...), d.Target)
	}
	req := sip.NewRequest(method, uri)
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	hops := sip.MaxForwardsHeader(MaxForwards)
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{DisplayName: d.Local.Display, Address: *d.Local.URI.Clone(), Params: tagParam(d.Local.Tag)})
	req.AppendHeader(&sip.ToHeader{DisplayName: d.Remote.Display, Address: *d.Remote.URI.Clone(), Params: tagParam(d.Remote.Tag)})
	callID := sip.CallIDHeader(d.CallID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

// stripForRequestURI removes what may not stand in a start line (RFC 3261 §19.1.1, table 1).
func stripForRequestURI(u sip.Uri) sip.Uri {
	c := *u.Clone()
	c.Headers = nil
	c.UriParams.Remove("method")
	return c
}

// recordRoutes reads the route set from Record-Route: as it stands for the called side, reversed for the calling one.
func recordRoutes(msg sip.Message, reverse bool) ([]sip.Uri, error) {
	hdrs := msg.GetHeaders("Record-Route")
	if len(hdrs) > maxRouteSet {
		return nil, ErrRouteSet
	}
	var routes []sip.Uri
	for _, h := range hdrs {
		rr, ok := h.(*sip.RecordRouteHeader)
		if !ok {
			continue
		}
		if reverse {
			routes = append([]sip.Uri{*rr.Address.Clone()}, routes...)
		} else {
			routes = append(routes, *rr.Address.Clone())
		}
	}
	return routes, nil
}

func tag(p sip.HeaderParams) string {
	t, _ := sipmsg.Param(p, "tag")
	return t
}

func tagParam(t string) sip.HeaderParams {
	if t == "" {
		return nil
	}
	return sip.HeaderParams{{K: "tag", V: t}}
}
