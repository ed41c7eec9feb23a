package callcontrol

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/sdp"
	"brickhouse/shared/transaction/transactiontest"
	"brickhouse/shared/verdict"
)

// fingers press keys (RFC 4733) in the call that an answer made.
type fingers struct {
	t     *testing.T
	conn  *net.UDPConn
	to    netip.AddrPort
	stamp uint32
	seq   uint16
}

// keypad returns a keypad and the offer to call with.
func keypad(t *testing.T) (*fingers, string) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	d := sdp.Session{Conn: netip.MustParseAddr("127.0.0.1"), Media: []sdp.Media{{
		Type: "audio", Port: conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Proto: "RTP/AVP", Formats: []string{"0", "101"}, Direction: sdp.SendRecv,
		RTPMaps: []sdp.RTPMap{{Format: "101", Encoding: "telephone-event/8000"}},
	}}}
	return &fingers{t: t, conn: conn}, string(d.Bytes())
}

// reach says where keys go: to what an answer names.
func (f *fingers) reach(answer []byte) {
	f.t.Helper()
	d, err := sdp.Parse(answer)
	if err != nil {
		f.t.Fatal(err)
	}
	f.to = netip.AddrPortFrom(d.Conn, d.Media[0].Port)
}

func (f *fingers) press(keys string) {
	f.t.Helper()
	for _, k := range []byte(keys) {
		f.stamp += 1600
		for i := range 3 { // as phones do
			f.seq++
			event := []byte{byte(slices.Index([]byte("0123456789*#"), k)), 0x80 | 10, 0, 160}
			p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 101, SequenceNumber: f.seq, Timestamp: f.stamp, SSRC: 7, Marker: i == 0}, Payload: event}
			b, err := p.Marshal()
			if err != nil {
				f.t.Fatal(err)
			}
			if _, err := f.conn.WriteToUDPAddrPort(b, f.to); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// withMenus puts menus into the rig's dialplan.
func (r *rig) withMenus(menus map[string]dialplan.Menu) {
	r.t.Helper()
	all := map[string]dialplan.Menu{}
	for name, m := range maps.All(menus) {
		m.Say, m.Wait, m.Tries = []string{"1"}, 2*time.Second, 3
		all[name] = m
	}
	plan, err := dialplan.Compile(dialplan.File{
		Menus: all,
		Rules: append([]dialplan.Rule{{Number: "4930555", From: "carrier", Do: "menu", Menu: "main"}}, rules...),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.control.SetDialplan(plan)
}

// choosing calls a menu from the caller, with a keypad.
func (r *rig) choosing(number string) (*fingers, *transactiontest.Asked, *sip.Response) {
	r.t.Helper()
	keys, offer := keypad(r.t)
	asked, v := r.dial(number, func(a *transactiontest.Ask) { a.Body = offer })
	if !v.OK() {
		r.t.Fatal(v)
	}
	res := asked.Response(200)
	r.caller.Ask(r.flow, asked.Sent.Within(res, sip.ACK))
	keys.reach(res.Body())
	return keys, asked, res
}

// TestMenu: a caller from outside chooses a busy extension, and then another one, with which it talks.
func TestMenu(t *testing.T) {
	r := newRig(t, nil)
	r.withMenus(map[string]dialplan.Menu{"main": {Number: "1600", Keys: map[string]string{"1": "1001", "2": "1002"}}})
	busy, p := r.extension("1001"), r.extension("1002")
	r.set(func() { r.who = Caller{Number: "49555", Realm: "peer", Trunk: "carrier", Trace: "trace-1"} })
	keys, _, _ := r.choosing("4930555")
	if row := r.row(store.CallUp); row.Callee != "1600" {
		t.Errorf("row %+v", row)
	}
	keys.press("1")
	busy.Answer(busy.Next(sip.INVITE), 486, "")
	time.Sleep(500 * time.Millisecond) // until it says that nobody answers
	keys.press("2")
	s := p.Next(sip.INVITE)
	if from := s.Request().From().Address.User; from != "49555" {
		t.Errorf("it is called by %s", from)
	}
	if h := s.Request().GetHeader("Referred-By"); h != nil {
		t.Errorf("%v", h)
	}
	p.Answer(s, 180, "")
	p.Answer(s, 200, offer)
	agrees(r.caller)
	p.NextAck()
	p.Do(s.Flow(), transactiontest.Back(s.Request(), s.Tag(), sip.BYE), 200)
	hungUp(r.caller)
	all := r.ended(3)
	if rec := all["4930555"]; rec.Callee != "1600" || rec.Reason != verdict.Transferred || rec.Trunk != "carrier" {
		t.Errorf("record %+v", rec)
	}
	if rec := all["1002"]; rec.Caller != "49555" || rec.Trace != "trace-1" || rec.Reason != verdict.NormalClearing || rec.Trunk != "carrier" {
		t.Errorf("record %+v", rec)
	}
	if rec := all["1001"]; rec.Reason != verdict.Busy {
		t.Errorf("record %+v", rec)
	}
}

// TestMenuRights: a menu leads outside only with the rights of the extension that it names, whoever calls.
func TestMenuRights(t *testing.T) {
	for rights, may := range map[string]bool{"": false, "1001": true} {
		r := newRig(t, nil)
		r.extension("1001")
		r.withMenus(map[string]dialplan.Menu{"main": {Number: "1600", Keys: map[string]string{"1": "030123456"}, Rights: rights}})
		keys, asked, res := r.choosing("1600")
		keys.press("1")
		if may {
			out := r.border.Next(sip.INVITE)
			r.border.Answer(out, 486, "")
		}
		eventually(t, func() string {
			for _, rec := range r.records() {
				if rec.Dialled == "030123456" && (rec.Reason == verdict.NotAllowed) == !may {
					return ""
				}
			}
			return "it was not decided"
		})
		r.border.Quiet()
		r.bye(asked, res)
	}
}

// TestMenuCircle: two menus that lead to each other do not keep a caller for ever who does nothing.
func TestMenuCircle(t *testing.T) {
	r := newRig(t, nil)
	r.extension("1001")
	for led, may := range map[int]bool{maxLed - 1: true, maxLed: false} {
		a := &attempt{c: r.control, caller: Caller{led: led}}
		if _, err := a.led(b2bua.Refer{Flow: r.flow, Account: "1600"}, "1001"); (err == nil) != may {
			t.Errorf("led on %d times before: %v", led, err)
		}
	}
}

// Who is sent to "own messages" by a menu or a transfer is asked whose, and for the PIN: callers from outside may show any number.
func TestOwnMailboxOfWhoWasSent(t *testing.T) {
	for _, who := range []Caller{{Number: "1001", Trunk: "carrier"}, {Number: "1001", Causer: "1002"}, {Number: "1001", Trunk: "carrier", Causer: "1600"}} {
		if who.isOwner() {
			t.Errorf("%+v is taken for the owner", who)
		}
	}
	if who := (Caller{Number: "1001"}); !who.isOwner() {
		t.Error("the owner is not")
	}
}
