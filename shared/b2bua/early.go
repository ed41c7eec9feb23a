package b2bua

import (
	"slices"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
)

// maxEarly is how many early dialogs one INVITE of ours may make. More phones than that behind one target ring unheard.
const maxEarly = 8

// early is one early dialog of a first INVITE of ours. A target may be a proxy that forks: then each phone behind it
// answers with a tag of its own (RFC 3261 §12.1), counts its own RSeq (RFC 3262 §4) and makes its own media.
type early struct {
	leg  *leg
	dlg  *dialog.Dialog
	sdp  []byte // its answer, or its offer where A made none, as it came last
	sure bool   // offer and answer are exchanged: it was confirmed by PRACK (RFC 3262 §5)
	rseq uint32 // RSeq of its last reliable response; 0 before the first
	owed uint32 // RSeq of the response whose PRACK waits for A's answer; 0: none
}

// earlyOf returns the early dialog that a response belongs to and takes from it what dialogs take. It is nil where there
// can be none.
func (l *leg) earlyOf(res *sip.Response) *early {
	tag := toTag(res)
	e := l.earlyBy(tag)
	if e != nil {
		if e.dlg.Establish(res) != nil {
			return nil
		}
		return e
	}
	if len(l.forks) >= maxEarly {
		return nil
	}
	d := l.dlg // the first one is what the leg's dialog becomes, unless another phone answers
	if len(l.forks) > 0 {
		d = l.another()
	}
	if d.Establish(res) != nil {
		return nil
	}
	e = &early{leg: l, dlg: d}
	l.forks = append(l.forks, e)
	return e
}

// another makes a further dialog of the leg's first INVITE.
func (l *leg) another() *dialog.Dialog {
	remote := l.target.To
	return dialog.NewClient(l.dlg.CallID, l.dlg.Local, remote, l.target.URI, l.target.Routes, l.dlg.LocalSeq)
}

// earlyBy finds an early dialog by the far side's tag.
func (l *leg) earlyBy(tag string) *early {
	i := slices.IndexFunc(l.forks, func(e *early) bool { return e.dlg.Remote.Tag == tag })
	if i < 0 {
		return nil
	}
	return l.forks[i]
}

// confirm makes the dialog of a 2xx the leg's, and returns its early one if there was any.
func (l *leg) confirm(res *sip.Response) (*early, error) {
	d, e := l.dlg, l.earlyBy(toTag(res))
	switch {
	case e != nil:
		d = e.dlg
	case len(l.forks) > 0:
		d = l.another()
	}
	if err := d.Establish(res); err != nil {
		return nil, err
	}
	d.LocalSeq = max(d.LocalSeq, l.dlg.LocalSeq)
	l.dlg, l.forks = d, nil
	return e, nil
}

// within builds a request in one of the leg's dialogs. All of them count on together, so that no number comes twice.
func (l *leg) within(d *dialog.Dialog, method sip.RequestMethod) *sip.Request {
	d.LocalSeq = max(d.LocalSeq, l.dlg.LocalSeq)
	req := d.NewRequest(method)
	l.dlg.LocalSeq = d.LocalSeq
	return req
}
