package registrar

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/sipmsg"
)

// Bounds of what is stored of a phone's words.
const (
	maxContact   = 1024 // bytes of a contact's URI
	maxPath      = 8    // Path values
	maxPathValue = 1024 // bytes of one
	maxInstance  = 256  // bytes
	maxUserAgent = 128  // bytes; more is cut
	maxKey       = 300  // bytes of a binding's key; a longer one is hashed
	maxSeconds   = 1<<32 - 1
)

// update is what a REGISTER wants done.
type update struct {
	number   string
	callID   string
	cseq     uint32
	now      time.Time
	all      bool // Contact: *
	contacts []contact
	limit    int
	path     []string
	echoPath bool // the phone supports path: it is told
	outbound bool // RFC 5626 is in use

	final []*store.Binding // what is bound afterwards
}

// contact is one Contact of it.
type contact struct {
	uri sip.Uri
	row *store.Binding // nil: take it out
	id  string
}

func (u *update) changes() bool { return u.all || len(u.contacts) > 0 }

// read takes a REGISTER apart.
func (r *Registrar) read(req *sip.Request, number string, o Origin, now time.Time) (*update, *faultError) {
	u := &update{
		number: number, callID: req.CallID().Value(), cseq: req.CSeq().SeqNo, now: now, limit: r.cfg.MaxContacts,
		echoPath: supports(req, optionPath),
	}
	if fault := u.readPath(req, o); fault != nil {
		return nil, fault
	}
	values := sipmsg.Headers(req, "Contact")
	if slices.Contains(values, "*") {
		// RFC 3261 §10.3 step 6: alone, and with Expires: 0.
		if e, ok := sipmsg.Header(req, "Expires"); len(values) != 1 || !ok || seconds(e) != 0 {
			return nil, &faultError{code: 400}
		}
		u.all = true
		return u, nil
	}
	if len(values) > r.cfg.MaxContacts {
		return nil, &faultError{code: 403}
	}
	for _, v := range values {
		if fault := r.readContact(u, req, v, o); fault != nil {
			return nil, fault
		}
	}
	return u, nil
}

// readPath keeps the Path of a REGISTER that came through the border (RFC 3327 §5.3). A phone inside is its own first
// hop: a Path from it would only name a place for us to send requests to, so it is left out.
func (u *update) readPath(req *sip.Request, o Origin) *faultError {
	if !o.Outside {
		return nil
	}
	for _, v := range sipmsg.Headers(req, "Path") {
		p, err := sipmsg.ParseNameAddr(v)
		if err != nil || len(v) > maxPathValue || len(u.path) == maxPath {
			return &faultError{code: 400}
		}
		u.path = append(u.path, text(p.URI))
	}
	return nil
}

// readContact reads one Contact into u.
func (r *Registrar) readContact(u *update, req *sip.Request, value string, o Origin) *faultError {
	c, err := sipmsg.ParseNameAddr(value)
	if err != nil || c.URI.Scheme != "sip" && c.URI.Scheme != "sips" || c.URI.Wildcard {
		return &faultError{code: 400}
	}
	uri := text(c.URI)
	instance, _ := sipmsg.Param(c.Params, "+sip.instance")
	if len(uri) > maxContact || len(instance) > maxInstance {
		return &faultError{code: 400}
	}
	regID := 0
	if v, ok := sipmsg.Param(c.Params, "reg-id"); ok && instance != "" && u.firstHopIsOutbound() {
		n, err := strconv.ParseInt(v, 10, 32) // RFC 5626 §9: 1 to 2^31-1
		if err != nil || n < 1 {
			return &faultError{code: 400}
		}
		regID, u.outbound = int(n), true
	}
	id := key(u.number, uri, instance, regID)
	if slices.ContainsFunc(u.contacts, func(d contact) bool { return d.id == id || sipmsg.SameURI(d.uri, c.URI) }) {
		return &faultError{code: 400} // the same contact twice: which of them is meant?
	}
	life, fault := r.life(req, c.Params)
	if fault != nil {
		return fault
	}
	if life == 0 {
		u.contacts = append(u.contacts, contact{uri: c.URI, id: id})
		return nil
	}
	q, ok := quality(c.Params)
	if !ok {
		return &faultError{code: 400}
	}
	agent, _ := sipmsg.Header(req, "User-Agent")
	u.contacts = append(u.contacts, contact{uri: c.URI, id: id, row: &store.Binding{
		ID: id, AOR: u.number, ContactURI: uri, Path: u.path, Instance: instance, RegID: regID,
		CallID: u.callID, CSeq: u.cseq, Q: q, UserAgent: agent[:min(len(agent), maxUserAgent)],
		Registered: u.now, Expires: u.now.Add(life),
		Outside: o.Outside, Interface: o.Interface, Network: o.Network, Remote: o.Remote, FlowID: o.FlowID,
	}})
	return nil
}

// firstHopIsOutbound reports whether the phone's first hop keeps its flow: we are it, or its Path URI has "ob"
// (RFC 5626 §6). Else reg-id is left out of account.
func (u *update) firstHopIsOutbound() bool {
	if len(u.path) == 0 {
		return true
	}
	first, err := sipmsg.ParseURI(u.path[len(u.path)-1]) // the hop nearest to the phone was added first
	if err != nil {
		return false
	}
	_, ok := sipmsg.Param(first.UriParams, "ob")
	return ok
}

// key is the binding's primary key, hashed when a phone's words make it long.
func key(number, uri, instance string, regID int) string {
	id := store.BindingID(number, uri, instance, regID)
	if len(id) <= maxKey {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return number + " #" + hex.EncodeToString(sum[:])
}

// life is how long a contact shall be bound; 0 takes it out (RFC 3261 §10.3 step 7).
func (r *Registrar) life(req *sip.Request, params sip.HeaderParams) (time.Duration, *faultError) {
	s, ok := sipmsg.Param(params, "expires")
	if !ok {
		s, ok = sipmsg.Header(req, "Expires")
	}
	if !ok {
		return r.cfg.DefaultExpires, nil
	}
	n := seconds(s)
	if n < 0 { // RFC 3261 §10.2.1.1: a malformed value stands for the default
		return r.cfg.DefaultExpires, nil
	}
	d := time.Duration(n) * time.Second
	switch {
	case d == 0:
		return 0, nil
	case d < r.cfg.MinExpires:
		return 0, &faultError{code: 423, min: r.cfg.MinExpires}
	}
	return min(d, r.cfg.MaxExpires), nil
}

// seconds reads delta-seconds, or returns -1.
func seconds(s string) int64 {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil || n > maxSeconds {
		return -1
	}
	return int64(n)
}

// quality reads the q parameter: 0 to 1 with up to three decimals (RFC 3261 §25.1, qvalue).
func quality(params sip.HeaderParams) (float32, bool) {
	s, ok := sipmsg.Param(params, "q")
	if !ok {
		return 1, true
	}
	whole, decimals, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" {
		return 0, false
	}
	q, err := strconv.ParseFloat(s, 32)
	return float32(q), err == nil && q <= 1
}

func supports(req *sip.Request, option string) bool {
	return slices.ContainsFunc(sipmsg.Headers(req, "Supported"), func(s string) bool { return strings.EqualFold(s, option) })
}

// text writes a URI without brackets.
func text(u sip.Uri) string {
	return strings.Trim(sipmsg.NameAddr{URI: u}.String(), "<>")
}

// apply decides, in the store's transaction, what becomes of the bindings that are there.
func (u *update) apply(now []*store.Binding) (put, del []*store.Binding, err error) {
	keep := make([]*store.Binding, 0, len(now)+len(u.contacts))
	for _, b := range now {
		switch {
		case !b.Live(u.now):
			del = append(del, b)
		case u.all:
			if !u.after(b) {
				return nil, nil, &faultError{code: 500}
			}
			del = append(del, b)
		default:
			keep = append(keep, b)
		}
	}
	for _, c := range u.contacts {
		i := slices.IndexFunc(keep, c.matches)
		if i >= 0 {
			if !u.after(keep[i]) {
				return nil, nil, &faultError{code: 500}
			}
			if c.row == nil || keep[i].ID != c.row.ID {
				del = append(del, keep[i])
			}
			keep = slices.Delete(keep, i, i+1)
		}
		if c.row != nil {
			put = append(put, c.row)
		}
	}
	for len(keep)+len(put) > u.limit {
		i := firstToExpire(keep)
		del = append(del, keep[i])
		keep = slices.Delete(keep, i, i+1)
	}
	u.final = append(keep, put...)
	slices.SortFunc(u.final, func(a, b *store.Binding) int { return strings.Compare(a.ID, b.ID) }) // as the store lists them
	return put, del, nil
}

// after reports whether this REGISTER comes after the one that made the binding: another Call-ID, or a higher CSeq
// (RFC 3261 §10.3 step 7). If not, the whole update fails.
func (u *update) after(b *store.Binding) bool { return b.CallID != u.callID || u.cseq > b.CSeq }

// matches reports whether b is the binding that the contact means: the same flow of the same device (RFC 5626 §6), or
// the same URI (RFC 3261 §10.3, §19.1.4).
func (c *contact) matches(b *store.Binding) bool {
	if b.ID == c.id {
		return true
	}
	if b.RegID > 0 || c.row != nil && c.row.RegID > 0 {
		return false
	}
	u, err := sipmsg.ParseURI(b.ContactURI)
	return err == nil && sipmsg.SameURI(u, c.uri)
}

func firstToExpire(rows []*store.Binding) int {
	first := 0
	for i, b := range rows {
		if b.Expires.Before(rows[first].Expires) {
			first = i
		}
	}
	return first
}

// response is step 8: 200 with all that is bound.
func (u *update) response(req *sip.Request, now time.Time) *sip.Response {
	res := sipmsg.Response(req, 200, "", "")
	for _, b := range u.final {
		v := "<" + b.ContactURI + ">;expires=" + strconv.FormatInt(ceilSeconds(b.Expires.Sub(now)), 10)
		if b.Q != 1 {
			v += ";q=" + strconv.FormatFloat(float64(b.Q), 'f', -1, 32)
		}
		if b.Instance != "" {
			v += ";+sip.instance=" + quote(b.Instance)
		}
		if b.RegID > 0 {
			v += ";reg-id=" + strconv.Itoa(b.RegID)
		}
		add(res, "Contact", v)
	}
	if u.echoPath {
		for _, p := range u.path {
			add(res, "Path", "<"+p+">") // RFC 3327 §5.3
		}
	}
	if u.outbound {
		add(res, "Require", optionOutbound) // RFC 5626 §6
	}
	add(res, "Date", now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	return res
}

func ceilSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// quote writes a quoted-string; what can't stand in one, even escaped, the reader never let in.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
