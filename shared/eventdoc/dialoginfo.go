package eventdoc

import (
	"bytes"
	"strconv"
)

const spaceDialogInfo = "urn:ietf:params:xml:ns:dialog-info"

// maxDialogs bounds the dialogs of one document.
const maxDialogs = 64

// DialogState is how far a dialog is (RFC 4235 §3.7.1).
type DialogState string

// The states.
const (
	Trying     DialogState = "trying"
	Proceeding DialogState = "proceeding"
	Early      DialogState = "early"
	Confirmed  DialogState = "confirmed"
	Terminated DialogState = "terminated"
)

func (s DialogState) valid() bool {
	return s == Trying || s == Proceeding || s == Early || s == Confirmed || s == Terminated
}

// DialogInfo is what the calls of somebody are (RFC 4235).
type DialogInfo struct {
	User    string // whose calls
	Version uint32 // of the document within its subscription
	Partial bool   // only what has changed
	Dialogs []DialogEntry
}

// DialogEntry is one call as its user's phone has it.
type DialogEntry struct {
	ID        string // a token, the same in all documents of the user
	Initiator bool   // the user called; else the user was called
	State     DialogState
	Remote    *Identity // nil: it is nobody's business
}

// Identity is the other party of a call.
type Identity struct{ User, Display string }

// Template is a document whose version is not written yet: it is made once, and given out to each subscription with the version
// that is next there (RFC 4235 §4.1).
type Template struct{ head, tail []byte }

// With is the document of that version.
func (t Template) With(version uint32) []byte {
	b := make([]byte, 0, len(t.head)+len(t.tail)+10)
	b = append(b, t.head...)
	b = strconv.AppendUint(b, uint64(version), 10)
	return append(b, t.tail...)
}

// Bytes is the document for readers in domain.
func (d DialogInfo) Bytes(domain string) []byte { return d.Template(domain).With(d.Version) }

// Template is the document for readers in domain, without the version.
func (d DialogInfo) Template(domain string) Template {
	head, b := &bytes.Buffer{}, &bytes.Buffer{}
	head.WriteString(prolog + `<dialog-info xmlns="` + spaceDialogInfo + `" version="`)
	state := "full"
	if d.Partial {
		state = "partial"
	}
	b.WriteString(`" state="` + state + `" entity="`)
	address(b, d.User, domain)
	b.WriteString("\">\n")
	for _, e := range d.Dialogs {
		e.append(b, domain)
	}
	b.WriteString("</dialog-info>\n")
	return Template{head.Bytes(), b.Bytes()}
}

func (e DialogEntry) append(b *bytes.Buffer, domain string) {
	b.WriteString(`<dialog id="`)
	text(b, e.ID)
	direction := "recipient"
	if e.Initiator {
		direction = "initiator"
	}
	b.WriteString(`" direction="` + direction + `"><state>` + string(e.State) + "</state>")
	if e.Remote != nil {
		b.WriteString("<remote><identity")
		if e.Remote.Display != "" {
			b.WriteString(` display="`)
			text(b, e.Remote.Display)
			b.WriteByte('"')
		}
		b.WriteByte('>')
		address(b, e.Remote.User, domain)
		b.WriteString("</identity></remote>")
	}
	b.WriteString("</dialog>\n")
}

// ParseDialogInfo reads a document, and of it what DialogInfo holds.
func ParseDialogInfo(data []byte) (DialogInfo, error) {
	root, err := rootOf(data, spaceDialogInfo, "dialog-info")
	if err != nil {
		return DialogInfo{}, err
	}
	d := DialogInfo{Partial: root.attr("state") == "partial"}
	if !d.Partial && root.attr("state") != "full" {
		return DialogInfo{}, bad("state")
	}
	version, err := strconv.ParseUint(root.attr("version"), 10, 32)
	if err != nil {
		return DialogInfo{}, bad("version")
	}
	d.Version = uint32(version)
	if d.User, err = userOf(root.attr("entity")); err != nil {
		return DialogInfo{}, err
	}
	for _, c := range root.children {
		if c.name.Space != spaceDialogInfo || c.name.Local != "dialog" {
			continue
		}
		e, err := parseDialog(c)
		if err != nil {
			return DialogInfo{}, err
		}
		if d.Dialogs = append(d.Dialogs, e); len(d.Dialogs) > maxDialogs {
			return DialogInfo{}, bad("too many dialogs")
		}
	}
	return d, nil
}

func parseDialog(n *node) (DialogEntry, error) {
	e := DialogEntry{ID: n.attr("id"), Initiator: n.attr("direction") == "initiator"}
	state := n.child(spaceDialogInfo, "state")
	if state == nil || !isToken(e.ID) {
		return e, bad("dialog")
	}
	if e.State = DialogState(state.text); !e.State.valid() {
		return e, bad("state of a dialog")
	}
	remote := n.child(spaceDialogInfo, "remote")
	if remote == nil {
		return e, nil
	}
	if id := remote.child(spaceDialogInfo, "identity"); id != nil {
		user, err := userOf(id.text)
		if err != nil {
			return e, err
		}
		e.Remote = &Identity{User: user, Display: line(id.attr("display"))}
	}
	return e, nil
}
