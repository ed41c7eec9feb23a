package border

import (
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/regcache"
	"brickhouse/sbc/internal/sanitize"
	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/corelink"
	"brickhouse/shared/dialog"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Bounds of what one REGISTER may bring.
const (
	maxContacts    = 8
	defaultExpires = 3600 // seconds, where the exchange names none (RFC 3261 §10.2.1.1)
	retryAfterCore = "5"  // seconds until a phone may ask again while the exchange is away
)

// registration is a REGISTER on its way through the border.
type registration struct {
	b        *Border
	server   *transaction.Server
	flow     *transport.Flow
	aor      string
	contacts []contact
}

// contact is one Contact of the phone and the token that stands for it inside.
type contact struct {
	token string
	hdr   *sip.ContactHeader
}

// register passes a REGISTER on to the exchange, which challenges and decides. What the exchange sees of the phone is its
// account, an opaque contact, and a Path that leads back here (RFC 3327).
func (b *Border) register(s *transaction.Server) verdict.Verdict {
	req, f := s.Request(), s.Flow()
	to, err := topology.User(req.To().Address)
	if err != nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadURI)
	}
	link := b.core.current()
	if link == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	r := &registration{b: b, server: s, flow: f, aor: to + "@" + b.cfg.Domain}
	if v := r.readContacts(); !v.OK() {
		return v
	}
	out, v := r.build(link)
	if !v.OK() {
		return v
	}
	if _, err := b.tx.Send(link, out, r.onEvent); err != nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
	}
	return verdict.Passed
}

// readContacts gives each contact its token.
func (r *registration) readContacts() verdict.Verdict {
	for _, h := range r.server.Request().GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || len(r.contacts) == maxContacts {
			return verdict.Rejected(sip.StatusBadRequest, verdict.TooManyHeaders)
		}
		if c.Address.Wildcard {
			r.contacts = append(r.contacts, contact{hdr: c})
			continue
		}
		instance, _ := sipmsg.Param(c.Params, "+sip.instance")
		regID, _ := sipmsg.Param(c.Params, "reg-id")
		r.contacts = append(r.contacts, contact{r.b.cache.Token(r.aor, instance, regID, c.Address), c})
	}
	return verdict.Passed
}

// build makes the REGISTER that the exchange gets.
func (r *registration) build(link *transport.Flow) (*sip.Request, verdict.Verdict) {
	in, domain := r.server.Request(), r.b.cfg.Domain
	from, err := topology.User(in.From().Address)
	if err != nil {
		return nil, verdict.Rejected(sip.StatusBadRequest, verdict.BadURI)
	}
	to, _ := topology.User(in.To().Address)
	tag, _ := in.From().Params.Get("tag")
	out := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: domain})
	// The same phone's next REGISTER has the same names inside, so that the exchange can order them (RFC 3261 §10.3).
	callID := sip.CallIDHeader(r.b.derive("call-id", in.CallID().Value(), r.flow.Remote().Addr().String()))
	hops := sip.MaxForwardsHeader(dialog.MaxForwards)
	if h := in.MaxForwards(); h != nil && h.Val() > 0 {
		hops = min(hops, *h) - 1 // loops end although each message is new
	}
	out.AppendHeader(&hops)
	out.AppendHeader(&sip.FromHeader{Address: topology.Address(from, domain), Params: sip.HeaderParams{{K: "tag", V: r.b.derive("tag", tag)[:20]}}})
	out.AppendHeader(&sip.ToHeader{Address: topology.Address(to, domain)})
	out.AppendHeader(&callID)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: in.CSeq().SeqNo, MethodName: sip.REGISTER})
	host, port := link.ViaHost()
	for _, c := range r.contacts {
		out.AppendHeader(c.inside(host, port))
	}
	path := sip.Uri{Scheme: "sip", User: r.flow.ID(), Host: host, Port: port, UriParams: sip.HeaderParams{{K: "lr"}, {K: "ob"}}}
	out.AppendHeader(sip.NewHeader("Path", "<"+path.String()+">")) // RFC 3327 §5.1, RFC 5626 §5.1
	sanitize.Copy(out, in, sanitize.Inward)
	out.AppendHeader(sip.NewHeader("Supported", "path"))
	r.b.private(out, corelink.RealmAccess, "", r.flow, "")
	out.SetBody(nil)
	return out, verdict.Passed
}

// inside is the contact as the exchange sees it.
func (c contact) inside(host string, port int) *sip.ContactHeader {
	if c.hdr.Address.Wildcard {
		return &sip.ContactHeader{Address: sip.Uri{Wildcard: true}}
	}
	out := &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: c.token, Host: host, Port: port}}
	for _, name := range []string{"expires", "q", "+sip.instance", "reg-id"} {
		if v, ok := sipmsg.Param(c.hdr.Params, name); ok {
			out.Params.Add(name, v)
		}
	}
	return out
}

// onEvent takes the exchange's answer.
func (r *registration) onEvent(ev transaction.Event) {
	res := ev.Response
	switch {
	case res == nil:
		r.b.refuseServer(r.server, verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable))
		return
	case res.IsProvisional():
		return
	}
	proven := r.b.learn(r.flow, res)
	out := sipmsg.Response(r.server.Request(), res.StatusCode, "", sipmsg.NewTag())
	sanitize.Copy(out, res, sanitize.Outward)
	if res.IsSuccess() {
		r.flow.MarkTrusted()
		r.keep(res, out, proven)
	}
	out.SetBody(nil)
	if err := r.server.Respond(out); err != nil {
		r.b.log.Debug("answering a REGISTER", "error", err)
	}
}

// keep remembers the bindings that the exchange accepted, and shows the phone those that are its own. proven says that the phone is
// where the request seems to come from.
func (r *registration) keep(res, out *sip.Response, proven bool) {
	now := r.b.now()
	common := defaultExpires
	if v, ok := sipmsg.Header(res, "Expires"); ok {
		common = seconds(v, common)
	}
	granted := map[string]int{}
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		v, _ := sipmsg.Param(c.Params, "expires")
		granted[c.Address.User] = seconds(v, common)
	}
	for _, c := range r.contacts {
		if c.hdr.Address.Wildcard {
			r.b.cache.RemoveAOR(r.aor) // other accounts of the same phone keep theirs
			continue
		}
		left, ok := granted[c.token]
		if !ok || left == 0 {
			r.b.cache.Remove(c.token)
			continue
		}
		err := r.b.cache.Put(regcache.Binding{
			Token: c.token, AOR: r.aor, Contact: *c.hdr.Address.Clone(), Flow: r.flow, Proven: proven,
			Expires: now.Add(time.Duration(left) * time.Second),
		})
		if err != nil {
			r.b.log.Error("binding is not kept", "aor", r.aor, "error", err)
			continue
		}
		shown := c.hdr.Clone()
		shown.Params.Remove("expires")
		shown.Params.Add("expires", strconv.Itoa(left))
		out.AppendHeader(shown)
	}
	select {
	case <-r.flow.Closed(): // while the exchange thought about it, so that realm.Closed found nothing to forget
		r.b.cache.RemoveFlow(r.flow.ID())
	default:
	}
	if proven {
		r.b.tellKnown(r.flow.Remote().Addr(), r.aor)
	}
}

// seconds reads a delta-seconds (RFC 3261 §20.19); what is none counts as def.
func seconds(s string, def int) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return def
	}
	return int(n)
}
