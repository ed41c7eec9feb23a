package events

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/eventdoc"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transaction"
	"brickhouse/shared/verdict"
)

// Bounds of publications.
const (
	maxPublications = 4       // of one extension
	maxPublished    = 4 << 10 // bytes of one
)

// statusConditionalFailed is 412 (RFC 3903 §11.2.1).
const statusConditionalFailed = 412

// publication is what one phone of an extension says of its user (RFC 3903).
type publication struct {
	id      string // of its tuples; stays when the publication changes
	etag    string
	state   eventdoc.PIDF
	expires time.Time
}

// publications are all of them. Notifier.mu guards them.
type publications struct {
	by    map[string][]*publication
	total int
}

func newPublications() publications { return publications{by: map[string][]*publication{}} }

func (p *publications) of(number string) []*publication { return p.by[number] }

func (p *publications) find(number, etag string) *publication {
	for _, one := range p.by[number] {
		if one.etag == etag {
			return one
		}
	}
	return nil
}

func (p *publications) drop(number string) {
	p.total -= len(p.by[number])
	delete(p.by, number)
}

// remove takes out those that over picks.
func (p *publications) remove(number string, over func(*publication) bool) (any bool) {
	var keep []*publication
	for _, one := range p.by[number] {
		if !over(one) {
			keep = append(keep, one)
		}
	}
	any = len(keep) < len(p.by[number])
	p.total -= len(p.by[number]) - len(keep)
	if p.by[number] = keep; len(keep) == 0 {
		delete(p.by, number)
	}
	return any
}

// expire takes out what is not live at now, and returns whose it was.
func (p *publications) expire(now time.Time) []string {
	var whose []string
	for number := range p.by {
		if p.remove(number, func(one *publication) bool { return !now.Before(one.expires) }) {
			whose = append(whose, number)
		}
	}
	return whose
}

// Publish takes a PUBLISH (RFC 3903 §6) of who, for number. The verdict is for the caller to answer where it is not Pass.
func (n *Notifier) Publish(s *transaction.Server, who, number string) verdict.Verdict {
	req := s.Request()
	ev, v := eventOf(req)
	switch {
	case !v.OK():
		return v
	case ev.Package != eventdoc.Presence: // the other states are ours to know
		return verdict.Rejected(StatusBadEvent, verdict.BadEvent)
	case who != number:
		return verdict.Rejected(sip.StatusForbidden, verdict.NotAllowed)
	}
	life, v := n.life(req)
	if !v.OK() {
		return v
	}
	state, v := published(req)
	if !v.OK() {
		return v
	}
	match, conditional := sipmsg.Header(req, "SIP-If-Match")
	if !conditional && state == nil {
		return verdict.Rejected(sip.StatusBadRequest, verdict.BadBody)
	}
	etag, v := n.publish(number, match, conditional, state, life)
	if !v.OK() {
		return v
	}
	res := sipmsg.Response(req, sip.StatusOK, "", s.Tag())
	res.AppendHeader(sip.NewHeader("SIP-ETag", etag))
	res.AppendHeader(sip.NewHeader("Expires", seconds(life)))
	n.respond(s, res)
	return verdict.Passed
}

// publish makes a publication, or changes the one that match names. Each has a new name afterwards (RFC 3903 §6 step 7).
func (n *Notifier) publish(number, match string, conditional bool, state *eventdoc.PIDF, life time.Duration) (etag string, v verdict.Verdict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, all := n.published.find(number, match), &n.published
	switch {
	case conditional && p == nil:
		return "", verdict.Rejected(statusConditionalFailed, verdict.StalePublication)
	case !conditional && life > 0 && all.total >= n.opt.Total:
		return "", verdict.Rejected(sip.StatusServiceUnavailable, verdict.SubscriptionLimit)
	case !conditional && life > 0 && len(all.by[number]) >= maxPublications:
		return "", verdict.Rejected(sip.StatusForbidden, verdict.SubscriptionLimit)
	}
	etag = sipmsg.NewTag()
	if life == 0 {
		all.remove(number, func(one *publication) bool { return one == p })
		n.touchLocked(topic{eventdoc.Presence, number})
		return etag, verdict.Passed
	}
	if p == nil || !conditional {
		p = &publication{id: "p" + sipmsg.NewTag()[:6]}
		all.by[number] = append(all.by[number], p)
		all.total++
	}
	p.etag, p.expires = etag, n.opt.Now().Add(life)
	if state != nil {
		p.state = *state
		n.touchLocked(topic{eventdoc.Presence, number})
	}
	return etag, verdict.Passed
}

// published is the state in a PUBLISH; nil if it has none.
func published(req *sip.Request) (*eventdoc.PIDF, verdict.Verdict) {
	if len(req.Body()) == 0 {
		return nil, verdict.Passed
	}
	value, _ := sipmsg.Header(req, "Content-Type")
	switch typ, _, err := sipmsg.ParseMediaType(value); {
	case err != nil || typ != eventdoc.TypePIDF:
		return nil, verdict.Rejected(sip.StatusUnsupportedMediaType, verdict.UnsupportedBody)
	case len(req.Body()) > maxPublished:
		return nil, verdict.Rejected(sip.StatusRequestEntityTooLarge, verdict.Oversize)
	}
	state, err := eventdoc.ParsePIDF(req.Body())
	if err != nil {
		return nil, verdict.Rejected(sip.StatusBadRequest, verdict.BadBody)
	}
	return &state, verdict.Passed
}
