package events

import (
	"slices"
	"strings"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/cdr"
	"brickhouse/shared/eventdoc"
)

// maxEntries bounds the calls of one document.
const maxEntries = 16

// line is one party's end of a call.
type line struct {
	number string
	entry  eventdoc.DialogEntry
}

// lines are the calls of extensions, as they are now.
type lines struct {
	byCall   map[string][]line
	byNumber map[string]map[string]eventdoc.DialogEntry // number → id of the dialog
}

func newLines() lines {
	return lines{byCall: map[string][]line{}, byNumber: map[string]map[string]eventdoc.DialogEntry{}}
}

// set takes a call's newest row, or that it is over, and returns what that changes.
func (l *lines) set(c *store.Call, gone bool) []line {
	old := l.byCall[c.ID]
	var now []line
	if !gone {
		now = linesOf(c)
	}
	delete(l.byCall, c.ID)
	if len(now) > 0 {
		l.byCall[c.ID] = now
	}
	changed := now
	for _, o := range old {
		if slices.ContainsFunc(now, func(n line) bool { return n.entry.ID == o.entry.ID && n.number == o.number }) {
			continue
		}
		dialogs := l.byNumber[o.number]
		if delete(dialogs, o.entry.ID); len(dialogs) == 0 {
			delete(l.byNumber, o.number)
		}
		o.entry.State, o.entry.Remote = eventdoc.Terminated, nil
		changed = append(changed, o)
	}
	for _, n := range now {
		if l.byNumber[n.number] == nil {
			l.byNumber[n.number] = map[string]eventdoc.DialogEntry{}
		}
		l.byNumber[n.number][n.entry.ID] = n.entry
	}
	return changed
}

// linesOf are the ends of a call that extensions hold.
func linesOf(c *store.Call) []line {
	state := eventdoc.Early
	switch c.State {
	case store.CallSetup:
		state = eventdoc.Trying
	case store.CallUp:
		state = eventdoc.Confirmed
	case store.CallDown:
		return nil
	}
	var out []line
	add := func(number, other, suffix string, initiator bool) {
		if number != "" {
			e := eventdoc.DialogEntry{ID: c.ID + suffix, Initiator: initiator, State: state}
			if other != "" {
				e.Remote = &eventdoc.Identity{User: other}
			}
			out = append(out, line{number, e})
		}
	}
	if c.Direction != string(cdr.Inbound) {
		add(c.Caller, c.Callee, "-a", true)
	}
	if c.Direction != string(cdr.Outbound) {
		add(c.Callee, c.Caller, "-b", false)
	}
	return out
}

// entries are the calls of a number, in a fixed order.
func (l *lines) entries(number string) []eventdoc.DialogEntry {
	var out []eventdoc.DialogEntry
	for _, e := range l.byNumber[number] {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b eventdoc.DialogEntry) int { return strings.Compare(a.ID, b.ID) })
	return out[:min(len(out), maxEntries)]
}

// busy reports whether a number is in a call.
func (l *lines) busy(number string) bool {
	for _, e := range l.byNumber[number] {
		if e.State == eventdoc.Confirmed || e.Initiator {
			return true
		}
	}
	return false
}
