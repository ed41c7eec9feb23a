package registrar

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/corelink"
	"brickhouse/shared/sipmsg"
)

func TestRegisterRefreshRemove(t *testing.T) {
	p := newWorld(t).phone("1001")
	res, v := p.send("Contact: <sip:1001@10.0.0.1:5060;transport=tcp>;expires=600;q=0.5", "User-Agent: test/1")
	p.want(res, 401, "")
	if v.Outcome != corelink.OutcomeChallenge {
		t.Errorf("%+v", v)
	}
	res, v = p.send("Contact: <sip:1001@10.0.0.1:5060;transport=tcp>;expires=600;q=0.5", "User-Agent: test/1")
	p.want(res, 200, "<sip:1001@10.0.0.1:5060;transport=tcp>;expires=600;q=0.5")
	if want := (corelink.Verdict{Outcome: corelink.OutcomeOK, AOR: "1001@example.com", NonceKnown: true}); v != want {
		t.Errorf("%+v", v)
	}
	if d, _ := sipmsg.Header(res, "Date"); d != "Sat, 21 Nov 2026 12:00:00 GMT" {
		t.Errorf("date %q", d)
	}
	rows := p.reg.Lookup("1001", p.now)
	if len(rows) != 1 {
		t.Fatalf("%d bindings", len(rows))
	}
	want := store.Binding{
		ID: "1001 sip:1001@10.0.0.1:5060;transport=tcp", AOR: "1001", ContactURI: "sip:1001@10.0.0.1:5060;transport=tcp",
		CallID: "call-1001", CSeq: 2, Q: 0.5, UserAgent: "test/1", Registered: epoch, Expires: epoch.Add(10 * time.Minute),
		Interface: "voice", Network: "udp", Remote: netip.MustParseAddrPort("10.0.0.1:5060"), FlowID: "f",
	}
	if got := exported(*rows[0]); !reflect.DeepEqual(got, exported(want)) {
		t.Errorf("got  %v\nwant %v", got, exported(want))
	}
	p.now = p.now.Add(100 * time.Second)
	p.want(p.register(), 200, "<sip:1001@10.0.0.1:5060;transport=tcp>;expires=500;q=0.5") // a question
	p.want(p.register("Contact: <sip:1001@10.0.0.1:5060;transport=TCP>", "Expires: 300"), 200,
		"<sip:1001@10.0.0.1:5060;transport=TCP>;expires=300") // the same URI (RFC 3261 §19.1.4)
	p.want(p.register("Contact: <sip:1001@10.0.0.1:5060;transport=tcp>;expires=0"), 200, "")
	if rows := p.reg.Lookup("1001", p.now); len(rows) != 0 {
		t.Errorf("still bound: %+v", rows[0])
	}
}

// exported are a row's exported fields.
func exported(b store.Binding) map[string]any {
	out := map[string]any{}
	v := reflect.ValueOf(b)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			out[f.Name] = v.Field(i).Interface()
		}
	}
	return out
}

func TestRegisterAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		code  int
		bound string
		has   string // in the answer
	}{
		{"default expiry", []string{"Contact: <sip:a@10.0.0.1>"}, 200, "<sip:a@10.0.0.1>;expires=3600", ""},
		{"header's expiry", []string{"Contact: <sip:a@10.0.0.1>", "Expires: 120"}, 200, "<sip:a@10.0.0.1>;expires=120", ""},
		{"parameter wins", []string{"Contact: <sip:a@10.0.0.1>;expires=90", "Expires: 120"}, 200, "<sip:a@10.0.0.1>;expires=90", ""},
		{"cut to the maximum", []string{"Contact: <sip:a@10.0.0.1>;expires=4294967295"}, 200, "<sip:a@10.0.0.1>;expires=3600", ""},
		{"malformed expiry", []string{"Contact: <sip:a@10.0.0.1>;expires=99999999999999"}, 200, "<sip:a@10.0.0.1>;expires=3600", ""},
		{"too short", []string{"Contact: <sip:a@10.0.0.1>;expires=59"}, 423, "", "Min-Expires: 60"},
		{"one of two too short", []string{"Contact: <sip:a@10.0.0.1>, <sip:b@10.0.0.1>;expires=1"}, 423, "", ""},
		{"several", []string{"Contact: <sip:b@10.0.0.1>;q=0.1, <sip:a@10.0.0.1>", "Contact: <sips:c@10.0.0.1>"}, 200,
			"<sip:a@10.0.0.1>;expires=3600 <sip:b@10.0.0.1>;expires=3600;q=0.1 <sips:c@10.0.0.1>;expires=3600", ""},
		{"too many", []string{"Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>, <sip:d@h>"}, 403, "", ""},
		{"same twice", []string{"Contact: <sip:a@h>, <sip:a@H>;expires=0"}, 400, "", ""},
		{"star", []string{"Contact: *", "Expires: 0"}, 200, "", ""},
		{"star without expiry", []string{"Contact: *"}, 400, "", ""},
		{"star with expiry", []string{"Contact: *", "Expires: 60"}, 400, "", ""},
		{"star and more", []string{"Contact: *", "Contact: <sip:a@h>", "Expires: 0"}, 400, "", ""},
		{"not SIP", []string{"Contact: <tel:+441632960000>"}, 400, "", ""},
		{"bad q", []string{"Contact: <sip:a@h>;q=1.1"}, 400, "", ""},
		{"bad q form", []string{"Contact: <sip:a@h>;q=0.1234"}, 400, "", ""},
		{"exponent in q", []string{"Contact: <sip:a@h>;q=0.1e1"}, 400, "", ""},
		{"q of one", []string{"Contact: <sip:a@h>;q=1.000"}, 200, "<sip:a@h>;expires=3600", ""},
		{"long contact", []string{"Contact: <sip:" + strings.Repeat("a", maxContact) + "@h>"}, 400, "", ""},
		{"required and known", []string{"Contact: <sip:a@h>", "Require: path, outbound"}, 200, "<sip:a@h>;expires=3600", ""},
		{"required and unknown", []string{"Contact: <sip:a@h>", "Require: gruu, path, x"}, 420, "", "Unsupported: gruu, x"},
		{"for another", []string{"Contact: <sip:a@h>", "To: <sip:1002@example.com>"}, 403, "", ""},
		{"another name of ours", []string{"Contact: <sip:a@h>", "To: <sip:1001@PBX.example.com>"}, 200, "<sip:a@h>;expires=3600", ""},
		{"foreign domain", []string{"Contact: <sip:a@h>", "To: <sip:1001@elsewhere.example>"}, 404, "", ""},
		{"foreign From", []string{"Contact: <sip:a@h>", "From: <sip:1001@elsewhere.example>;tag=a"}, 404, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newWorld(t).phone("1001")
			res := p.register(tt.lines...)
			p.want(res, tt.code, tt.bound)
			if !strings.Contains(string(sipmsg.Bytes(res)), tt.has) {
				t.Errorf("no %q in\n%s", tt.has, sipmsg.Bytes(res))
			}
			if tt.code != 200 && len(p.store.AllBindings(p.now)) != 0 {
				t.Error("something is bound")
			}
		})
	}
}

func TestForeignDomainTellsNothing(t *testing.T) {
	w := newWorld(t)
	var first string
	for _, number := range []string{"1001", "nobody"} {
		p := w.phone(number)
		req := p.request("REGISTER", "sip:elsewhere.example", "Contact: <sip:a@h>")
		res, v := w.reg.Register(t.Context(), req, p.origin, p.now)
		if res.StatusCode != 404 || v.Outcome != corelink.OutcomeRefused || len(sipmsg.Headers(res, "WWW-Authenticate")) > 0 {
			t.Errorf("%d, %+v", res.StatusCode, v)
		}
		if first == "" {
			first = res.Reason
		} else if first != res.Reason {
			t.Errorf("%q and %q", first, res.Reason)
		}
	}
	p := w.phone("1001")
	req := p.request("REGISTER", "sip:example.com")
	sipmsg.Remove(req, "To")
	if res, _ := w.reg.Register(t.Context(), req, p.origin, p.now); res.StatusCode != 400 {
		t.Errorf("without To: %d", res.StatusCode)
	}
}

// Order: what comes late is refused whole; a phone that restarted (new Call-ID) begins anew.
func TestOrder(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.want(p.register("Contact: <sip:a@h>;expires=600"), 200, "<sip:a@h>;expires=600")
	for _, lines := range [][]string{
		{"Contact: <sip:a@h>;expires=0"},
		{"Contact: <sip:a@h>;expires=700"},
		{"Contact: <sip:new@h>, <sip:a@h>;expires=700"},
		{"Contact: *", "Expires: 0"},
	} {
		for _, cseq := range []int{1, 2} { // lower, and the same
			p.want(p.register(append(lines, fmt.Sprintf("CSeq: %d REGISTER", cseq))...), 500, "")
		}
	}
	p.want(p.register(), 200, "<sip:a@h>;expires=600")
	p.callID = "restarted"
	p.want(p.register("Contact: <sip:a@h>;expires=800", "CSeq: 1 REGISTER"), 200, "<sip:a@h>;expires=800")
	p.callID = "third"
	p.want(p.register("Contact: *", "Expires: 0", "CSeq: 1 REGISTER"), 200, "")
}

func TestBindingsExpire(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.register("Contact: <sip:a@h>;expires=60, <sip:b@h>;expires=120")
	p.now = p.now.Add(60 * time.Second)
	p.want(p.register(), 200, "<sip:b@h>;expires=60")
	// An expired binding orders nothing any more, and does not count.
	p.want(p.register("Contact: <sip:a@h>;expires=90", "CSeq: 1 REGISTER"), 200, "<sip:a@h>;expires=90 <sip:b@h>;expires=60")
	p.now = p.now.Add(59*time.Second + time.Millisecond)
	p.want(p.register(), 200, "<sip:a@h>;expires=31 <sip:b@h>;expires=1")
}

// Over the limit the binding that would go first goes; the phone that comes is never locked out.
func TestContactLimit(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.register("Contact: <sip:a@h>;expires=300")
	p.register("Contact: <sip:b@h>;expires=200")
	p.register("Contact: <sip:c@h>;expires=400")
	p.want(p.register("Contact: <sip:d@h>;expires=100"), 200, "<sip:a@h>;expires=300 <sip:c@h>;expires=400 <sip:d@h>;expires=100")
	p.want(p.register("Contact: <sip:e@h>, <sip:f@h>, <sip:g@h>"), 200, "<sip:e@h>;expires=3600 <sip:f@h>;expires=3600 <sip:g@h>;expires=3600")
	if n := len(p.store.AllBindings(p.now)); n != 3 {
		t.Errorf("%d rows", n)
	}
}

func TestPath(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.origin.Outside = true
	path := []string{"Path: <sip:near@border;lr>, <sip:far@edge;lr;x=y>"}
	res := p.register(append(path, "Contact: <sip:a@h>")...)
	p.want(res, 200, "<sip:a@h>;expires=3600")
	if got := sipmsg.Headers(res, "Path"); len(got) != 0 {
		t.Errorf("path is told to a phone that does not know it: %q", got)
	}
	row := p.reg.Lookup("1001", p.now)[0]
	if got := strings.Join(row.Path, " "); got != "sip:near@border;lr sip:far@edge;lr;x=y" || !row.Outside {
		t.Errorf("stored: %q, %v", got, row.Outside)
	}
	res = p.register(append(path, "Contact: <sip:a@h>", "Supported: 100rel, path")...)
	if got := strings.Join(sipmsg.Headers(res, "Path"), " "); got != "<sip:near@border;lr> <sip:far@edge;lr;x=y>" {
		t.Errorf("told: %q", got)
	}
	for _, bad := range []string{"Path: nonsense", "Path: <sip:" + strings.Repeat("x", maxPathValue) + "@h>",
		"Path: " + strings.Repeat("<sip:h;lr>,", maxPath) + "<sip:h;lr>"} {
		p.want(p.register(bad, "Contact: <sip:a@h>"), 400, "")
	}
	p.origin.Outside = false
	p.register("Path: <sip:169.254.169.254;lr>", "Contact: <sip:a@h>")
	if row := p.reg.Lookup("1001", p.now)[0]; len(row.Path) != 0 {
		t.Errorf("a phone inside chose a path: %q", row.Path)
	}
}

func TestOutbound(t *testing.T) {
	const instance = `+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"`
	p := newWorld(t).phone("1001")
	res := p.register("Contact: <sip:a@10.0.0.1:1111>;reg-id=1;"+instance, "Supported: outbound, path")
	p.want(res, 200, "<sip:a@10.0.0.1:1111>;expires=3600;"+instance+";reg-id=1")
	if got := sipmsg.Headers(res, "Require"); len(got) != 1 || got[0] != "outbound" {
		t.Errorf("Require %q", got)
	}
	p.register("Contact: <sip:a@10.0.0.1:2222>;reg-id=2;"+instance, "Supported: outbound")
	// A new connection of the same flow takes the old one's place, whatever its port.
	p.want(p.register("Contact: <sip:a@10.0.0.1:3333>;reg-id=1;"+instance), 200,
		"<sip:a@10.0.0.1:3333>;expires=3600;"+instance+";reg-id=1 <sip:a@10.0.0.1:2222>;expires=3600;"+instance+";reg-id=2")
	p.want(p.register("Contact: <sip:a@10.0.0.1:4444>;expires=0;reg-id=2;"+instance), 200,
		"<sip:a@10.0.0.1:3333>;expires=3600;"+instance+";reg-id=1")
	for _, bad := range []string{"0", "-1", "x", "2147483648"} {
		p.want(p.register("Contact: <sip:a@h>;reg-id="+bad+";"+instance), 400, "")
	}
	p.want(p.register("Contact: <sip:a@h>;reg-id=1;+sip.instance=\""+strings.Repeat("x", maxInstance+1)+"\""), 400, "")

	// Through a first hop that does not keep flows, reg-id is left out of account (RFC 5626 §6).
	q := newWorld(t).phone("1001")
	q.origin.Outside = true
	res = q.register("Contact: <sip:a@h>;reg-id=1;"+instance, "Path: <sip:border;lr>")
	q.want(res, 200, "<sip:a@h>;expires=3600;"+instance)
	if got := sipmsg.Headers(res, "Require"); len(got) != 0 {
		t.Errorf("Require %q", got)
	}
	res = q.register("Contact: <sip:b@h>;reg-id=1;"+instance, "Path: <sip:inner;lr>, <sip:border;lr;ob>")
	q.want(res, 200, "<sip:b@h>;expires=3600;"+instance+";reg-id=1 <sip:a@h>;expires=3600;"+instance)
}

func TestLookupOrder(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.register("Contact: <sip:low@h>;q=0.1, <sip:old@h>")
	p.now = p.now.Add(time.Second)
	p.register("Contact: <sip:new@h>")
	var got []string
	for _, b := range p.reg.Lookup("1001", p.now) {
		got = append(got, b.ContactURI)
	}
	if fmt.Sprint(got) != "[sip:new@h sip:old@h sip:low@h]" {
		t.Error(got)
	}
}

func TestLongKeyIsHashed(t *testing.T) {
	p := newWorld(t).phone("1001")
	long := "sip:" + strings.Repeat("a", 400) + "@h"
	p.want(p.register("Contact: <"+long+">"), 200, "<"+long+">;expires=3600")
	p.want(p.register("Contact: <"+long+">;expires=60"), 200, "<"+long+">;expires=60")
	if rows := p.store.AllBindings(p.now); len(rows) != 1 || len(rows[0].ID) > maxKey {
		t.Errorf("%d rows", len(rows))
	}
}

// While the disk is away a REGISTER is answered all the same, and counted; when the store is gone it is 503.
func TestDiskAway(t *testing.T) {
	p := newWorld(t).phone("1001")
	p.log.Hold()
	p.want(p.register("Contact: <sip:a@h>"), 200, "<sip:a@h>;expires=3600")
	if p.reg.EarlyAnswers() != 1 || len(p.reg.Lookup("1001", p.now)) != 1 {
		t.Errorf("%d early, %d bound", p.reg.EarlyAnswers(), len(p.reg.Lookup("1001", p.now)))
	}
	p.log.Release()
	p.register("Contact: <sip:a@h>")
	if p.reg.EarlyAnswers() != 1 {
		t.Error("counted though it was on disk")
	}
	p.store.Close()
	res := p.register("Contact: <sip:a@h>")
	p.want(res, 503, "")
	if v, _ := sipmsg.Header(res, "Retry-After"); v != retryAfter {
		t.Errorf("Retry-After %q", v)
	}
}

func TestConfig(t *testing.T) {
	for i, change := range []func(*Config){
		func(c *Config) { c.MinExpires = 0 }, func(c *Config) { c.MaxExpires = time.Second },
		func(c *Config) { c.DefaultExpires = time.Second }, func(c *Config) { c.DefaultExpires = 2 * time.Hour },
		func(c *Config) { c.MaxContacts = 0 }, func(c *Config) { c.DurableWait = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := New(c, nil, nil); err == nil {
			t.Errorf("configuration %d is taken", i)
		}
	}
}

// Whatever stands in Contact, Path, Expires and credentials: no panic, an answer that can be read, and no more bindings
// than allowed.
func FuzzRegister(f *testing.F) {
	f.Add("<sip:a@h>;expires=60", "<sip:b;lr>", "60", "outbound")
	f.Add("*", "", "0", "path")
	f.Add(`"x" <sips:a@[::1]:5061;transport=tls>;q=0.7;reg-id=1;+sip.instance="<urn:x>"`, "<sip:x;ob;lr>", "", "")
	f.Add("<sip:a@h>,<sip:a@h>", ",", "-1", ",,")
	w := newWorld(f)
	p := w.phone("1001")
	p.origin.Outside = true
	f.Fuzz(func(t *testing.T, contact, path, expires, supported string) {
		w.TB = t
		req := p.request("REGISTER", "sip:example.com")
		for name, v := range map[string]string{"Contact": contact, "Path": path, "Expires": expires, "Supported": supported} {
			if v != "" && sipmsg.Set(req, name, v) != nil {
				return
			}
		}
		p.credentials(req)
		res, _ := w.reg.Register(t.Context(), req, p.origin, p.now)
		p.learn(res)
		p.check(res)
		if n := len(w.store.AllBindings(p.now)); n > 3 {
			t.Fatalf("%d bindings", n)
		}
	})
}

func BenchmarkRegister(b *testing.B) {
	w := newWorld(b)
	p := w.phone("1001")
	p.register("Contact: <sip:1001@10.0.0.1:5060>")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		req := p.request("REGISTER", "sip:example.com", "Contact: <sip:1001@10.0.0.1:5060>")
		p.credentials(req)
		b.StartTimer()
		if res, _ := w.reg.Register(b.Context(), req, p.origin, p.now); res.StatusCode != 200 {
			b.Fatal(res.StatusCode)
		}
	}
}
