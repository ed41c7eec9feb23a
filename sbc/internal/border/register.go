package border

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/regcache"
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
	life  time.Duration // how long it may be registered until the phone must refresh; 0 takes it out
}

// register passes a REGISTER on to the exchange, which challenges and decides. What the exchange sees of the phone is its
// account, an opaque contact, and a Path that leads back here (RFC 3327).
func (b *Border) register(s *transaction.Server) verdict.Verdict {
	req, f := s.Request(), s.Flow()
	to, err := topology.User(req.To().Address)
	if err != nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadURI)
	}
	r := &registration{b: b, server: s, flow: f, aor: to + "@" + b.cfg.Domain}
	if v := r.readContacts(); !v.OK() || r.refresh() {
		return v
	}
	link := b.core.current()
	if link == nil {
		return verdict.Rejected(sip.StatusServiceUnavailable, verdict.ExchangeUnreachable)
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
		life, v := r.readLife(c)
		if !v.OK() {
			return v
		}
		instance, _ := sipmsg.Param(c.Params, "+sip.instance")
		regID, _ := sipmsg.Param(c.Params, "reg-id")
		r.contacts = append(r.contacts, contact{r.b.cache.Token(r.aor, instance, regID, c.Address), c, life})
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
		out.AppendHeader(c.inside(host, port, r.b.cfg.Access.Registration.Inside))
	}
	path := sip.Uri{Scheme: "sip", User: r.flow.ID(), Host: host, Port: port, UriParams: sip.HeaderParams{{K: "lr"}, {K: "ob"}}}
	out.AppendHeader(sip.NewHeader("Path", "<"+path.String()+">")) // RFC 3327 §5.1, RFC 5626 §5.1
	r.b.realms[access].rules.In(out, in)
	out.AppendHeader(sip.NewHeader("Supported", "path"))
	r.b.private(out, corelink.RealmAccess, "", r.flow, "")
	out.SetBody(nil)
	return out, verdict.Passed
}

// inside is the contact as the exchange sees it, registered for longer than the phone if it stays at all.
func (c contact) inside(host string, port int, longer time.Duration) *sip.ContactHeader {
	if c.hdr.Address.Wildcard {
		return &sip.ContactHeader{Address: sip.Uri{Wildcard: true}}
	}
	out := &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: c.token, Host: host, Port: port}}
	if expires, ok := sipmsg.Param(c.hdr.Params, "expires"); ok || longer > 0 {
		if longer > 0 && c.life > 0 {
			expires = strconv.Itoa(int(max(longer, c.life) / time.Second))
		} else if c.life == 0 {
			expires = "0"
		}
		out.Params.Add("expires", expires)
	}
	c.copyParams(out)
	return out
}

// copyParams copies the parameters that the exchange is told, but for the expiry.
func (c contact) copyParams(out *sip.ContactHeader) {
	for _, name := range []string{"q", "+sip.instance", "reg-id"} {
		if v, ok := sipmsg.Param(c.hdr.Params, name); ok {
			out.Params.Add(name, v)
		}
	}
}

// params is what copyParams copies, as a text to compare.
func (c contact) params() string {
	var out sip.ContactHeader
	c.copyParams(&out)
	return out.Params.String()
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
	r.b.realms[access].rules.Out(out, res)
	if res.IsSuccess() {
		r.flow.MarkTrusted()
		r.keep(res, out, proven)
	}
	r.finish(out)
}

// finish sends the answer to the phone.
func (r *registration) finish(out *sip.Response) {
	if r.flow.Reliable() && out.IsSuccess() && outbound(out) {
		out.AppendHeader(sip.NewHeader("Flow-Timer", flowTimer))
	}
	out.SetBody(nil)
	if err := r.server.Respond(out); err != nil {
		r.b.log.Debug("answering a REGISTER", "error", err)
	}
}

// outbound reports whether an answer says that RFC 5626 is in use (§6).
func outbound(res *sip.Response) bool {
	return slices.ContainsFunc(sipmsg.Headers(res, "Require"), func(tag string) bool { return strings.EqualFold(tag, "outbound") })
}

// keep remembers the bindings that the exchange accepted, and shows the phone those that are its own; who only asks is shown
// all of its account. proven says that the phone is where the request seems to come from.
func (r *registration) keep(res, out *sip.Response, proven bool) {
	now := r.b.now()
	granted := grantedLives(res)
	for _, c := range r.contacts {
		switch left := granted[c.token]; {
		case c.hdr.Address.Wildcard:
			r.b.cache.RemoveAOR(r.aor) // other accounts of the same phone keep theirs
		case left == 0 || c.life == 0:
			r.b.cache.Remove(c.token)
		default:
			if c.life = min(c.life, left); r.bind(c, left, proven, outbound(out), now) {
				out.AppendHeader(shown(c.hdr, c.life))
			}
		}
	}
	if len(r.contacts) == 0 {
		r.show(out, granted, now)
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

// grantedLives reads from the exchange's answer how long each token is registered.
func grantedLives(res *sip.Response) map[string]time.Duration {
	common := defaultExpires
	if v, ok := sipmsg.Header(res, "Expires"); ok {
		common = seconds(v, common)
	}
	granted := map[string]time.Duration{}
	for _, h := range res.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			v, _ := sipmsg.Param(c.Params, "expires")
			granted[c.Address.User] = time.Duration(seconds(v, common)) * time.Second
		}
	}
	return granted
}

// bind keeps one binding that the exchange holds for so long.
func (r *registration) bind(c contact, inside time.Duration, proven, outbound bool, now time.Time) bool {
	req := r.server.Request()
	err := r.b.cache.Put(regcache.Binding{
		Token: c.token, AOR: r.aor, Contact: *c.hdr.Address.Clone(), Params: c.params(), Flow: r.flow, Proven: proven, Outbound: outbound,
		CallID: req.CallID().Value(), CSeq: req.CSeq().SeqNo, Life: c.life, Expires: now.Add(c.life), Confirmed: now, Inside: now.Add(inside),
	})
	if err != nil {
		r.b.log.Error("binding is not kept", "aor", r.aor, "error", err)
		return false
	}
	r.b.save(c.token)
	return true
}

// show lists the contacts of an account to a phone of it that asks (RFC 3261 §10.3 step 6).
func (r *registration) show(out *sip.Response, granted map[string]time.Duration, now time.Time) {
	held := r.b.cache.OfAOR(r.aor, now)
	slices.SortFunc(held, func(a, b *regcache.Binding) int { return strings.Compare(a.Token, b.Token) })
	for _, b := range held[:min(len(held), maxContacts)] {
		if granted[b.Token] > 0 {
			out.AppendHeader(shown(&sip.ContactHeader{Address: *b.Contact.Clone()}, b.Expires.Sub(now)))
		}
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
