package transactiontest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/transport"
)

// Ask is a request that a test wants to be sent. Empty fields that a request must have are made up.
type Ask struct {
	Method sip.RequestMethod
	URI    string
	From   string // value of From with its tag
	To     string // value of To
	CallID string
	Seq    int
	Lines  []string // further header lines; they replace what is made up; an empty value takes it away
	Body   string   // a session description, unless Lines have a Content-Type
}

// NewAsk makes a request outside a dialog, with names of its own.
func NewAsk(method sip.RequestMethod, uri, from, to string, lines ...string) Ask {
	return Ask{
		Method: method, URI: uri, From: "<" + from + ">;tag=" + sipmsg.NewTag(), To: "<" + to + ">",
		CallID: sipmsg.NewCallID(), Seq: 1, Lines: lines,
	}
}

// With returns the request once more, with the next CSeq and further lines: as a phone that was challenged sends it.
func (a Ask) With(lines ...string) Ask {
	a.Seq++
	a.Lines = append(append([]string(nil), a.Lines...), lines...)
	return a
}

// Within makes a request in the dialog that a response to a made: an ACK with its CSeq, others with the next.
func (a Ask) Within(res *sip.Response, method sip.RequestMethod, lines ...string) Ask {
	out := Ask{Method: method, From: a.From, To: res.To().Value(), CallID: a.CallID, Seq: a.Seq + 1, Lines: lines}
	if method == sip.ACK {
		out.Seq = a.Seq
	}
	if c := res.Contact(); c != nil {
		out.URI = c.Address.String()
	}
	return out
}

// Back makes a request in the dialog that an INVITE to us made, of which res is our answer.
func Back(invite *sip.Request, tag string, method sip.RequestMethod, lines ...string) Ask {
	to := invite.To().Value()
	if !strings.Contains(to, "tag=") {
		to += ";tag=" + tag
	}
	return Ask{
		Method: method, URI: invite.Contact().Address.String(), From: to, To: invite.From().Value(),
		CallID: invite.CallID().Value(), Seq: 1, Lines: lines,
	}
}

// request builds the message; the transaction layer adds Via.
func (a Ask) request(t testing.TB, f *transport.Flow) *sip.Request {
	t.Helper()
	host, port := f.ViaHost()
	contact := "<sip:far@" + host + ">"
	if port != 0 {
		contact = fmt.Sprintf("<sip:far@%s:%d;transport=%s>", host, port, f.Network())
	}
	head := []string{
		"Max-Forwards: 70", "From: " + a.From, "To: " + a.To, "Call-ID: " + a.CallID, fmt.Sprintf("CSeq: %d %s", a.Seq, a.Method),
	}
	if a.Method != sip.REGISTER {
		head = append(head, "Contact: "+contact)
	}
	head = slices.DeleteFunc(head, func(l string) bool {
		return slices.ContainsFunc(a.Lines, func(o string) bool { return name(o) == name(l) })
	})
	for _, l := range a.Lines {
		if _, value, _ := strings.Cut(l, ":"); value != "" {
			head = append(head, l)
		}
	}
	text := string(a.Method) + " " + a.URI + " SIP/2.0\r\nVia: SIP/2.0/UDP invalid;branch=z9hG4bKx\r\n" + strings.Join(head, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
	msg, err := sipmsg.Parse([]byte(text))
	if err != nil {
		t.Fatalf("test makes a bad request: %v\n%s", err, text)
	}
	req := msg.(*sip.Request)
	sipmsg.Remove(req, "Via")
	setBody(req, a.Body)
	return req
}

// name is that of a header line.
func name(line string) string {
	n, _, _ := strings.Cut(line, ":")
	return n
}

func addLines(t testing.TB, msg sip.Message, lines []string) {
	t.Helper()
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		if err := sipmsg.Add(msg, name, strings.TrimSpace(value)); err != nil {
			t.Errorf("test makes a bad header %q: %v", l, err)
		}
	}
}

// setBody sets a body; without a Content-Type it is a session description.
func setBody(msg sip.Message, body string) {
	if _, ok := sipmsg.Header(msg, "Content-Type"); !ok && body != "" {
		msg.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	}
	msg.SetBody([]byte(body))
}
