package border

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/conffile"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// statusBadEvent is 489 (RFC 6665 §8.3.2).
const statusBadEvent = 489

// Subscriptions bounds what phones may watch at a time.
type Subscriptions struct {
	Total     int `yaml:"total" doc:"Subscriptions at a time."`
	PerSource int `yaml:"per_source" doc:"Subscriptions per source address: a console watches hundreds of extensions, an office has many phones behind one address."`
}

// DefaultSubscriptions is what holds where the file says nothing.
func DefaultSubscriptions() Subscriptions { return Subscriptions{Total: 200_000, PerSource: 5_000} }

func (s Subscriptions) check(key string) []conffile.Fault {
	var fs []conffile.Fault
	if s.Total <= 0 {
		fs = append(fs, conffile.Bad(key+".total", "must be above 0", "give a number"))
	}
	if s.PerSource <= 0 {
		fs = append(fs, conffile.Bad(key+".per_source", "must be above 0", "give a number"))
	}
	return fs
}

// checkEvents says what is wrong with the event packages of the access realm.
func checkEvents(list []string) []conffile.Fault {
	var fs []conffile.Fault
	for i, name := range list {
		if eventdoc.Type(name) == "" {
			fs = append(fs, conffile.Badf(fmt.Sprintf("access.events[%d]", i), "use some of "+strings.Join(eventdoc.Packages(), ", "), "%.32q is no event package that passes", name))
		}
	}
	return fs
}

// watching is what a realm's messages may be like by its event packages.
func watching(name realmName, m sanitize.Messages, events []string) sanitize.Messages {
	if len(events) == 0 {
		m = m.Without(string(name), sip.SUBSCRIBE)
	}
	if !slices.Contains(events, eventdoc.Presence) {
		m = m.Without(string(name), sip.PUBLISH)
	}
	return m
}

// event is the package that a phone's request names, if it may pass.
func (b *Border) event(req *sip.Request) (eventdoc.Event, verdict.Verdict) {
	value, _ := sipmsg.Header(req, "Event")
	ev, err := eventdoc.ParseEvent(value)
	if err != nil || !slices.Contains(b.cfg.Access.Events, ev.Package) {
		return ev, verdict.Rejected(statusBadEvent, verdict.BadEvent)
	}
	return ev, verdict.Passed
}

// allowEvents names the packages that pass in the answer to a request for another one (RFC 6665 §8.2.2).
func (b *Border) allowEvents(res *sip.Response) {
	if res.StatusCode == statusBadEvent && len(b.cfg.Access.Events) > 0 {
		res.AppendHeader(sip.NewHeader("Allow-Events", strings.Join(b.cfg.Access.Events, ", ")))
	}
}

// document writes the body of in anew for out, if its type has passed: with the domain for every host in it.
func (b *Border) document(out, in sip.Message) {
	domain := b.cfg.Domain
	value, ok := sipmsg.Header(out, "Content-Type")
	var body []byte
	if ok {
		switch value {
		case eventdoc.TypeDialogInfo:
			if d, err := eventdoc.ParseDialogInfo(in.Body()); err == nil {
				body = d.Bytes(domain)
			}
		case eventdoc.TypePIDF:
			if p, err := eventdoc.ParsePIDF(in.Body()); err == nil {
				body = p.Bytes(domain)
			}
		case eventdoc.TypeSummary:
			if s, err := eventdoc.ParseSummary(in.Body()); err == nil {
				body = s.Bytes(domain)
			}
		}
	}
	if body == nil {
		sipmsg.Remove(out, "Content-Type")
	}
	out.SetBody(body)
}
