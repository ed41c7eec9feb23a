package loopback

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/eventdoc"
	"brickhouse/shared/siptest"
)

// watch subscribes, and wants the first state.
func watch(t testing.TB, p *siptest.Phone, to, event string) *siptest.Subscription {
	t.Helper()
	s, err := p.Subscribe(within(t, patience), to, event, 10*time.Minute)
	if err != nil {
		t.Fatalf("%s watching %s: %v", p.Name(), to, err)
	}
	told(t, s, "active", "")
	return s
}

// told waits for a NOTIFY whose subscription is in a state, and that has some text.
func told(t testing.TB, s *siptest.Subscription, state, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a NOTIFY, %s, %q", state, text), func() string {
		for _, m := range s.Notes() {
			if strings.HasPrefix(m.Header("Subscription-State"), state) && strings.Contains(string(m.Body), text) {
				return ""
			}
		}
		return fmt.Sprint(len(s.Notes()), " others")
	})
}

// lamp lists the states that a busy lamp went through, and looks into each document.
func lamp(t testing.TB, s *siptest.Subscription, user string) string {
	t.Helper()
	var states []string
	for i, m := range s.Notes() {
		if len(m.Body) == 0 {
			continue
		}
		d, err := eventdoc.ParseDialogInfo(m.Body)
		if err != nil || d.User != user || int(d.Version) != i || d.Partial || strings.Contains(string(m.Body), "127.") || !strings.Contains(string(m.Body), "@"+domain) {
			t.Errorf("document %d of %s: %v\n%s", i, user, err, m.Body)
		}
		for _, e := range d.Dialogs {
			states = append(states, string(e.State))
		}
	}
	return strings.TrimPrefix(strings.Join(states, " "), "trying ") // short, and perhaps told with the next
}

func refusedWith(t testing.TB, err error, code int) {
	t.Helper()
	var r *siptest.RefusedError
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("%v, want %d", err, code)
	}
}

// TestBusyLamps has phones outside and inside watch one that is called, answers and hangs up.
func TestBusyLamps(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *options) { o.AccessUDP = true })
	s.extension("1701", "1702", "1703", "1704")
	overUDP := s.config(remote, "1704")
	s.overUDPPhone(&overUDP)
	out, udp := s.register(s.config(remote, "1701")), s.register(overUDP)
	desk := s.register(s.config(insideUDP, "1701"))
	caller := s.register(s.config(remote, "1703"))
	callee := s.config(insideUDP, "1702")
	callee.Answer = siptest.RingForever()
	called := s.register(callee)
	lamps := []*siptest.Subscription{watch(t, out, "1702", "dialog"), watch(t, udp, "1702", "dialog;id=4"), watch(t, desk, "1702", "dialog")}
	s.awaitMetric("pbx", "subscriptions", "", 3)
	s.awaitMetric("sbc", "subscriptions", "", 2)

	c := invite(t, caller, "1702")
	b := incoming(t, called)
	for _, l := range lamps {
		told(t, l, "active", "<state>early</state>")
	}
	if err := b.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, l := range lamps {
		told(t, l, "active", "<state>confirmed</state>")
	}
	if err := c.Hangup(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	for _, l := range lamps {
		told(t, l, "active", "<state>terminated</state>")
		if got := lamp(t, l, "1702"); got != "early confirmed terminated" {
			t.Errorf("lamp shows %s", got)
		}
	}
	for _, m := range append(lamps[0].Notes(), lamps[1].Notes()...) {
		if text := strings.ToLower(strings.Join(m.Names(), " ")); strings.Contains(text, "brickhouse") || strings.Contains(m.Header("Contact"), s.addr(10)) || strings.Contains(m.Header("Via"), s.addr(10)) {
			t.Errorf("the inside shows in\n%s\nContact: %s", text, m.Header("Contact"))
		}
	}
	s.says([]string{"subscription", "list"}, "1701", "dialog", "1702", "border")
	for i, l := range lamps {
		if i == 1 {
			l.Refuse(481)
			continue
		}
		if err := l.Renew(within(t, patience), 5*time.Minute); err != nil {
			t.Errorf("renewing: %v", err)
		}
		if err := l.Renew(within(t, patience), 0); err != nil {
			t.Errorf("ending: %v", err)
		}
		told(t, l, "terminated;reason=timeout", "")
	}
	invite(t, caller, "1702")
	s.awaitMetric("pbx", "subscriptions", "", 0) // whoever refuses a NOTIFY watches no more
	s.awaitMetric("sbc", "subscriptions", "", 0)
}

// TestWatchRefused holds what may not be watched, and by whom.
func TestWatchRefused(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1711", "1712")
	for _, p := range []*siptest.Phone{s.register(s.config(remote, "1711")), s.register(s.config(insideUDP, "1711"))} {
		_, err := p.Subscribe(within(t, patience), "1799", "dialog", time.Hour)
		refusedWith(t, err, 404)
		_, err = p.Subscribe(within(t, patience), "1712", "message-summary", time.Hour)
		refusedWith(t, err, 403)
		_, err = p.Subscribe(within(t, patience), "1712", "dialog", 5*time.Second)
		refusedWith(t, err, 423)
		_, err = p.Subscribe(within(t, patience), "1712", "conference", time.Hour)
		refusedWith(t, err, 489)
		var r *siptest.RefusedError
		if errors.As(err, &r) && !strings.Contains(r.Response.Header("Allow-Events"), "dialog") {
			t.Errorf("489 with Allow-Events %q", r.Response.Header("Allow-Events"))
		}
		once, err := p.Subscribe(within(t, patience), "1712", "dialog", 0)
		if err != nil {
			t.Fatal(err)
		}
		told(t, once, "terminated;reason=timeout", "dialog-info")
	}
	stranger := s.config(remote, "1711")
	stranger.Password = "wrong"
	_, err := s.phone(stranger).Subscribe(within(t, patience), "1712", "dialog", time.Hour)
	refusedWith(t, err, 407)
	s.awaitMetric("sbc", "guard_offences_by_reason_total", "bad-credentials", 1)
}

// TestPresence publishes, watches, and lets it lapse.
func TestPresence(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1721", "1722")
	a, b := s.register(s.config(remote, "1721")), s.register(s.config(remoteCM, "1722"))
	w := watch(t, a, "1722", "presence")
	told(t, w, "active", `<tuple id="phone"><status><basic>open</basic></status></tuple>`)
	doc := `<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:1722@10.9.9.9"><tuple id="x"><status><basic>closed</basic></status><note>At &lt;lunch&gt;</note><contact>sip:1722@10.9.9.9</contact></tuple></presence>`
	publish := func(body, match string, life time.Duration, code int) string {
		t.Helper()
		m, err := b.Publish(within(t, patience), body, match, life)
		if err != nil || m.Code != code {
			t.Fatalf("publishing: %+v, %v; want %d", m, err, code)
		}
		return m.Header("SIP-ETag")
	}
	tag := publish(doc, "", 10*time.Minute, 200)
	told(t, w, "active", "<basic>closed</basic></status><note>At &lt;lunch&gt;</note>")
	for _, m := range w.Notes() {
		if strings.Contains(string(m.Body), "10.9.9.9") || strings.Contains(string(m.Body), "127.") {
			t.Errorf("an address shows in\n%s", m.Body)
		}
	}
	second := publish("", tag, 10*time.Minute, 200)
	publish(strings.Replace(doc, "lunch", "home", 1), tag, 10*time.Minute, 412)
	third := publish(strings.Replace(doc, "lunch", "home", 1), second, 10*time.Minute, 200)
	told(t, w, "active", "At &lt;home&gt;")
	publish("", third, 0, 200)
	publish("<presence/>", "", 10*time.Minute, 400)
	publish("", "", 10*time.Minute, 400)
	publish(doc, "", time.Second, 423)
	if err := b.Unregister(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	told(t, w, "active", `<tuple id="phone"><status><basic>closed</basic></status></tuple>`)
}

// TestWaitingMessages says that messages wait, kills the exchange, and finds the phone told again.
func TestWaitingMessages(t *testing.T) {
	t.Parallel()
	s := open(t, nil)
	s.extension("1731")
	p := s.register(s.config(remote, "1731"))
	w := watch(t, p, "1731", "message-summary")
	told(t, w, "active", "Messages-Waiting: no")
	s.says([]string{"extension", "messages", "1731", "--new", "2", "--old", "5"}, "1731")
	told(t, w, "active", "Messages-Waiting: yes\r\nMessage-Account: sip:1731@"+domain+"\r\nVoice-Message: 2/5")
	lost := watch(t, p, "1731", "dialog")
	s.awaitMetric("pbx", "unsaved", "", 0)
	s.pbx.kill()
	s.startExchange()
	s.awaitLink()
	told(t, w, "terminated;reason=deactivated", "") // the border says so; a phone then subscribes anew
	refusedWith(t, lost.Renew(within(t, patience), time.Hour), 481)
	told(t, watch(t, p, "1731", "message-summary"), "active", "Voice-Message: 2/5")
}
