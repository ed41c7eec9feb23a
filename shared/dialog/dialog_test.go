package dialog

import (
	"errors"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func parse[T sip.Message](t *testing.T, lines ...string) T {
	t.Helper()
	msg, err := sip.ParseMessage([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatalf("parsing: %v", err)
	}
	return msg.(T)
}

func invite(t *testing.T, extra ...string) *sip.Request {
	return parse[*sip.Request](t, append([]string{
		"INVITE sip:1002@example.com SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
		"From: \"Alice\" <sip:1001@example.com>;tag=alice",
		"To: <sip:1002@example.com>",
		"Call-ID: c1",
		"CSeq: 7 INVITE",
		"Contact: <sip:1001@192.0.2.1:5060>",
		"Content-Length: 0",
	}, extra...)...)
}

func TestCalledSide(t *testing.T) {
	d, err := FromInvite(invite(t, "Record-Route: <sip:p1.example.com;lr>", "Record-Route: <sip:p2.example.com;lr>"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	if want := (ID{"c1", "bob", "alice"}); d.ID() != want {
		t.Errorf("ID = %+v, want %+v", d.ID(), want)
	}
	bye := d.NewRequest(sip.BYE)
	for _, want := range []string{
		"BYE sip:1001@192.0.2.1:5060 SIP/2.0\r\n",
		"Route: <sip:p1.example.com;lr>\r\nRoute: <sip:p2.example.com;lr>\r\n",
		"From: <sip:1002@example.com>;tag=bob\r\n",
		"To: \"Alice\" <sip:1001@example.com>;tag=alice\r\n",
		"CSeq: 1 BYE\r\n",
	} {
		if !strings.Contains(bye.String(), want) {
			t.Errorf("BYE lacks %q:\n%s", want, bye)
		}
	}
}

func TestCallingSide(t *testing.T) {
	uri := sip.Uri{Scheme: "sip", User: "1002", Host: "example.com"}
	d := NewClient("c2", Party{URI: uri, Tag: "me"}, Party{URI: uri}, uri, nil, 3)
	req := d.First(sip.INVITE)
	if got := req.CSeq().SeqNo; got != 3 {
		t.Errorf("first CSeq = %d, want 3", got)
	}
	ok := parse[*sip.Response](t, "SIP/2.0 200 OK",
		"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2",
		"From: <sip:1002@example.com>;tag=me", "To: <sip:1002@example.com>;tag=you", "Call-ID: c2", "CSeq: 3 INVITE",
		"Record-Route: <sip:near.example.com;lr>", "Record-Route: <sip:far.example.com;lr>",
		"Contact: <sip:you@192.0.2.7>", "Content-Length: 0")
	// The response lists the hops nearest to the callee first (RFC 3261 §12.1.2: reversed for the caller).
	if err := d.Establish(ok); err != nil {
		t.Fatal(err)
	}
	ack := d.Ack(3).String()
	if !strings.HasPrefix(ack, "ACK sip:you@192.0.2.7 SIP/2.0\r\nRoute: <sip:far.example.com;lr>\r\nRoute: <sip:near.example.com;lr>\r\n") {
		t.Errorf("ACK is\n%s", ack)
	}
	if d.NewRequest(sip.BYE).CSeq().SeqNo != 4 {
		t.Error("CSeq does not follow the INVITE's")
	}
}

func TestStrictRouter(t *testing.T) {
	d, err := FromInvite(invite(t, "Record-Route: <sip:strict.example.com>", "Record-Route: <sip:p2.example.com;lr>"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	got := d.NewRequest(sip.BYE).String()
	want := "BYE sip:strict.example.com SIP/2.0\r\nRoute: <sip:p2.example.com;lr>\r\nRoute: <sip:1001@192.0.2.1:5060>\r\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant prefix\n%s", got, want)
	}
}

func TestSequence(t *testing.T) {
	d, err := FromInvite(invite(t), "bob")
	if err != nil {
		t.Fatal(err)
	}
	bye := func(seq string) *sip.Request {
		return parse[*sip.Request](t, "BYE sip:x@y SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK3",
			"From: <sip:a@b>;tag=alice", "To: <sip:c@d>;tag=bob", "Call-ID: c1", "CSeq: "+seq+" BYE", "Content-Length: 0")
	}
	if err := d.Receive(bye("7")); !errors.Is(err, ErrOldCSeq) {
		t.Errorf("CSeq 7 after INVITE 7: %v", err)
	}
	if err := d.Receive(bye("9")); err != nil {
		t.Errorf("CSeq 9: %v", err)
	}
}

func TestIncomplete(t *testing.T) {
	req := invite(t)
	req.RemoveHeader("Contact")
	if _, err := FromInvite(req, "bob"); !errors.Is(err, ErrIncomplete) {
		t.Errorf("INVITE without Contact: %v", err)
	}
	long := make([]string, 17)
	for i := range long {
		long[i] = "Record-Route: <sip:p.example.com;lr>"
	}
	if _, err := FromInvite(invite(t, long...), "bob"); !errors.Is(err, ErrRouteSet) {
		t.Errorf("17 hops: %v", err)
	}
}

func TestRefresh(t *testing.T) {
	d, err := FromInvite(invite(t), "bob")
	if err != nil {
		t.Fatal(err)
	}
	moved := invite(t)
	moved.ReplaceHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "1001", Host: "192.0.2.99"}})
	d.Refresh(moved)
	if d.Target.Host != "192.0.2.99" {
		t.Errorf("target = %s", d.Target.String())
	}
}
