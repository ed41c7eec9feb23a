package sipmsg

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// sameToSipgo compares what Parse understood of a message that we wrote with what sipgo's own parser reads in it: whom it is from and for,
// which dialog and transaction it belongs to, where its answer goes, and what it carries.
func sameToSipgo(msg sip.Message, b []byte) error {
	theirs, err := sip.NewParser().ParseSIP(b)
	if err != nil {
		return fmt.Errorf("sipgo reads no message: %w", err)
	}
	ours, others := readings(msg), readings(theirs)
	for i := range ours {
		if ours[i] != others[i] {
			return fmt.Errorf("read as %q, by sipgo as %q", ours[i], others[i])
		}
	}
	return nil
}

// readings is what a message says, in a form that can be compared.
func readings(msg sip.Message) []string {
	var out []string
	add := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	switch m := msg.(type) {
	case *sip.Request:
		add("request %s %s", m.Method, comparable(m.Recipient))
	case *sip.Response:
		add("response %d", m.StatusCode)
	}
	tag := func(p sip.HeaderParams) string { v, _ := Param(p, "tag"); return v }
	if h := msg.From(); h != nil {
		add("From %s %s", comparable(h.Address), tag(h.Params))
	}
	if h := msg.To(); h != nil {
		add("To %s %s", comparable(h.Address), tag(h.Params))
	}
	if h := msg.CallID(); h != nil {
		add("Call-ID %s", h.Value())
	}
	if h := msg.CSeq(); h != nil {
		add("CSeq %d %s", h.SeqNo, h.MethodName)
	}
	if h := msg.Via(); h != nil {
		branch, _ := Param(h.Params, "branch")
		add("Via %s %s %d %s", h.Transport, strings.Trim(h.Host, "[]"), h.Port, branch)
	}
	for _, h := range list(msg) {
		if h, ok := h.(*sip.ContactHeader); ok {
			add("Contact %s", comparable(h.Address))
		}
	}
	add("body %s", msg.Body())
	return out
}

// comparable is what of a URI decides where something goes.
func comparable(u sip.Uri) string {
	return fmt.Sprintf("%s %s@%s:%d", strings.ToLower(u.Scheme), u.User, strings.Trim(u.Host, "[]"), u.Port)
}
