package ladder

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var (
	phoneA   = netip.MustParseAddrPort("192.0.2.7:40000")
	border   = netip.MustParseAddrPort("192.0.2.1:5061")
	inner    = netip.MustParseAddrPort("10.0.0.1:5060")
	phoneB   = netip.MustParseAddrPort("10.0.0.9:5060")
	epoch    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	sdpLines = "Content-Type: application/sdp\r\n"
)

func message(ms int, sent bool, local, remote netip.AddrPort, first, extra string) Message {
	method := strings.Fields(first)[0]
	if method == "SIP/2.0" {
		method = "INVITE"
	}
	return Message{Time: epoch.Add(time.Duration(ms) * time.Millisecond), Sent: sent, Network: "udp", Local: local, Remote: remote,
		FirstLine: first, Text: first + "\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK" + method + "\r\nCall-ID: one\r\nCSeq: 1 " + method + "\r\n" +
			extra + "\r\n"}
}

func example() []Column {
	return []Column{
		{Name: "remote phone", Messages: []Message{
			message(0, true, phoneA, border, "INVITE sip:102@example.test SIP/2.0", sdpLines),
			message(2, false, phoneA, border, "SIP/2.0 100 Trying", ""),
			message(45, false, phoneA, border, "SIP/2.0 200 OK", sdpLines),
		}},
		{Name: "border", Addrs: []string{border.String()}},
		{Name: "exchange", Addrs: []string{"10.0.0.1"}},
		{Name: "inside phone", Messages: []Message{
			message(12, false, phoneB, inner, "INVITE sip:102@10.0.0.9 SIP/2.0", sdpLines),
			message(40, true, phoneB, inner, "SIP/2.0 200 OK", sdpLines),
		}},
	}
}

const want = `
  time ms       remote phone           border               exchange            inside phone
                     |                     |                     |                     |
      0.0            |---- INVITE (SDP) -->|                     |                     |
      2.0            |<--- 100 Trying -----|                     |                     |
     12.0            |                     |                     |---- INVITE (SDP) -->|
     40.0            |                     |                     |<--- 200 OK (SDP) ---|
     45.0            |<--- 200 OK (SDP) ---|                     |                     |
`

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	if err := Print(&out, example(), Options{Width: 98}); err != nil {
		t.Fatal(err)
	}
	// Only arrows, order and columns are compared: where exactly a label is centred is a matter of taste.
	got, expect := squeeze(out.String()), squeeze(want)
	if got != expect {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if strings.TrimSpace(want) == "" || !strings.Contains(out.String(), "     45.0") {
		t.Error("times are missing")
	}
}

// squeeze makes runs of blanks and shafts single.
func squeeze(s string) string {
	for _, c := range []string{" ", "-"} {
		for strings.Contains(s, c+c) {
			s = strings.ReplaceAll(s, c+c, c)
		}
	}
	return strings.TrimSpace(s)
}

func TestPrintKeepsWidth(t *testing.T) {
	long := example()
	long[0].Messages = append(long[0].Messages,
		message(50, false, phoneA, border, "SIP/2.0 480 "+strings.Repeat("Temporarily Unavailable ", 20), ""))
	for _, o := range []Options{{}, {Unicode: true}, {Width: 60}, {Width: 72, Unicode: true}} {
		var out bytes.Buffer
		if err := Print(&out, long, o); err != nil {
			t.Fatal(err)
		}
		limit := o.Width
		if limit == 0 {
			limit = 100
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > limit {
				t.Errorf("%+v: line of %d characters: %q", o, n, line)
			}
		}
	}
}

func TestPrintDrawsAMessageSeenTwiceOnce(t *testing.T) {
	bye := "BYE sip:x@10.0.0.9 SIP/2.0"
	columns := []Column{
		{Name: "a", Messages: []Message{message(0, true, phoneA, phoneB, bye, ""), message(500, true, phoneA, phoneB, bye, "")}},
		{Name: "b", Messages: []Message{message(1, false, phoneB, phoneA, bye, ""), message(501, false, phoneB, phoneA, bye, ""),
			message(900, false, phoneB, phoneA, bye, "")}},
	}
	var out bytes.Buffer
	if err := Print(&out, columns, Options{}); err != nil {
		t.Fatal(err)
	}
	// Two were sent and seen; the third arrived without having been sent by a: it must not be hidden.
	if n := strings.Count(out.String(), " BYE "); n != 3 {
		t.Errorf("%d arrows, want 3:\n%s", n, out.String())
	}
}

func TestPrintGivesStrangersAColumn(t *testing.T) {
	columns := []Column{{Name: "a", Messages: []Message{message(0, true, phoneA, border, "OPTIONS sip:x SIP/2.0", "")}}}
	var out bytes.Buffer
	if err := Print(&out, columns, Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), border.String()) {
		t.Errorf("no column for the unknown address:\n%s", out.String())
	}
}

func TestPrintAcrossSeveralColumns(t *testing.T) {
	columns := []Column{
		{Name: "a", Addrs: []string{phoneA.String()}},
		{Name: "b", Addrs: []string{border.String()}},
		{Name: "c", Addrs: []string{phoneB.String()}, Messages: []Message{message(0, true, phoneB, phoneA, "BYE sip:x SIP/2.0", "")}},
	}
	var out bytes.Buffer
	if err := Print(&out, columns, Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "|<--") || !strings.Contains(out.String(), "-+-") {
		t.Errorf("no long arrow to the left:\n%s", out.String())
	}
}

func TestPrintRefusesTooManyColumns(t *testing.T) {
	if err := Print(&bytes.Buffer{}, make([]Column, 20), Options{}); err == nil {
		t.Error("20 columns fit into 100 characters")
	}
	if err := Print(&bytes.Buffer{}, nil, Options{}); err == nil {
		t.Error("a ladder without columns was drawn")
	}
}

func TestPrintHidesControlCharacters(t *testing.T) {
	columns := []Column{{Name: "a\x1b[31m", Messages: []Message{message(0, false, phoneA, border, "SIP/2.0 200 \x1b[2JOK", "")}}}
	var out bytes.Buffer
	if err := Print(&out, columns, Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsRune(out.String(), 0x1b) {
		t.Error("an escape character reached the terminal")
	}
}

func TestLog(t *testing.T) {
	l := NewLog(2)
	for range 3 {
		l.Add(message(0, true, phoneA, border, "OPTIONS sip:x SIP/2.0", "Via: SIP/2.0/UDP 10.9.8.7\r\n"))
	}
	if len(l.Messages()) != 2 || l.Dropped() != 1 {
		t.Errorf("%d kept, %d dropped", len(l.Messages()), l.Dropped())
	}
	var zero Log
	zero.Add(Message{})
	if len(zero.Messages()) != 1 {
		t.Error("zero log keeps nothing")
	}
}

func TestFilters(t *testing.T) {
	msgs := example()[0].Messages
	if n := len(Sent(msgs)); n != 1 {
		t.Errorf("%d sent", n)
	}
	if n := len(Received(msgs)); n != 2 {
		t.Errorf("%d received", n)
	}
	if n := len(Containing(msgs, "", "TRYING")); n != 1 {
		t.Errorf("%d hold trying", n)
	}
	if n := len(OfCall(msgs, "one")); n != 3 {
		t.Errorf("%d of the call", n)
	}
	if len(OfCall(msgs, "two")) != 0 || len(OfCall(msgs, "")) != 0 {
		t.Error("messages of another call")
	}
	if h := msgs[0].Header("call-id"); h != "one" {
		t.Errorf("Call-ID %q", h)
	}
	if h := msgs[0].Header("Subject"); h != "" {
		t.Errorf("Subject %q", h)
	}
	if m := msgs[1]; m.From() != border || m.To() != phoneA {
		t.Errorf("from %v to %v", m.From(), m.To())
	}
}
