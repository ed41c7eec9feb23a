package events

import (
	"bytes"
	"strconv"

	"brickhouse/shared/eventdoc"
)

// buildLocked makes a resource's document, if something has changed. A document that says the same as the last is none.
func (n *Notifier) buildLocked(r *resource) {
	if !r.stale {
		return
	}
	r.stale = false
	next := n.documentLocked(r)
	r.ended = nil
	n.built++
	if r.rev > 0 && bytes.Equal(next.info.With(0), r.doc.info.With(0)) && bytes.Equal(next.body, r.doc.body) {
		return
	}
	r.doc = next
	r.rev++
}

func (n *Notifier) documentLocked(r *resource) document {
	switch r.pkg {
	case eventdoc.Dialog:
		d := eventdoc.DialogInfo{User: r.number, Dialogs: append(n.lines.entries(r.number), r.ended...)}
		for i := range d.Dialogs {
			if !n.opt.Identity {
				d.Dialogs[i].Remote = nil
			}
		}
		return document{info: d.Template(n.opt.Domain)}
	case eventdoc.Presence:
		return document{body: n.presenceLocked(r.number).Bytes(n.opt.Domain)}
	}
	w := n.opt.Store.Waiting(r.number)
	return document{body: eventdoc.Summary{User: r.number, New: w.New, Old: w.Old}.Bytes(n.opt.Domain)}
}

// presenceLocked is how an extension can be reached: whether a phone of it is registered and speaks, and what its phones have
// published.
func (n *Notifier) presenceLocked(number string) eventdoc.PIDF {
	phone := eventdoc.Tuple{ID: "phone", Open: len(n.opt.Store.Bindings(number, n.opt.Now())) > 0}
	p := eventdoc.PIDF{User: number}
	if p.OnPhone = n.lines.busy(number); p.OnPhone {
		phone.Note = "On the phone"
	}
	p.Tuples = append(p.Tuples, phone)
	for _, pub := range n.published.of(number) {
		p.OnPhone = p.OnPhone || pub.state.OnPhone
		for i, t := range pub.state.Tuples {
			if len(p.Tuples) == eventdoc.MaxTuples {
				return p
			}
			t.ID = pub.id + "." + strconv.Itoa(i)
			if t.Note == "" {
				t.Note = pub.state.Note
			}
			p.Tuples = append(p.Tuples, t)
		}
	}
	return p
}

// write is the document for a subscription.
func (d document) write(pkg string, version uint32) []byte {
	if pkg == eventdoc.Dialog {
		return d.info.With(version)
	}
	return d.body
}
