package events

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/dialog"
	"brickhouse/shared/eventdoc"
	"brickhouse/shared/state/memlog"
	"brickhouse/shared/transaction"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// quiet is a handler of sockets that nobody sends to.
type quiet struct{}

func (quiet) Accept(*transport.Interface, netip.AddrPort) verdict.Verdict          { return verdict.Passed }
func (quiet) Raw(*transport.Flow, []byte) verdict.Verdict                          { return verdict.Passed }
func (quiet) Message(*transport.Flow, sip.Message)                                 {}
func (quiet) Unparsed(*transport.Flow, []byte, verdict.Verdict)                    {}
func (quiet) Dropped(*transport.Interface, netip.AddrPort, verdict.Reason, []byte) {}
func (quiet) Closed(*transport.Flow, verdict.Reason)                               {}

// bench is a notifier with watchers that only count.
type bench struct {
	*Notifier
	store *store.Store
	flow  *transport.Flow

	mu    sync.Mutex
	sent  []*sip.Request
	held  []func(transaction.Event) // answers that are due, while hold
	hold  bool
	reply int
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	log, err := memlog.NewDisk().Open("solo", store.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), log, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	i, err := transport.Listen(transport.Config{Name: "phones", Network: transport.UDP, Listen: netip.MustParseAddrPort("127.0.0.1:0")}, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	b := &bench{store: s, flow: i.FlowTo(netip.MustParseAddrPort("127.0.0.1:9")), reply: 200}
	conf := DefaultConfig()
	if change != nil {
		change(&conf)
	}
	b.Notifier = New(Options{
		Config: conf, Domain: "example.com", Store: s, Send: b.send, Border: func() *transport.Flow { return nil },
		Contact: func(*transport.Flow) sip.Uri { return sip.Uri{Scheme: "sip", Host: "pbx"} },
		Log:     slog.New(slog.DiscardHandler), Now: time.Now,
	})
	return b
}

func (b *bench) send(_ *transport.Flow, req *sip.Request, cb func(transaction.Event)) error {
	b.mu.Lock()
	b.sent = append(b.sent, req)
	if b.hold {
		b.held = append(b.held, cb)
		b.mu.Unlock()
		return nil
	}
	code := b.reply
	b.mu.Unlock()
	cb(transaction.Event{Response: sip.NewResponse(code, "")})
	return nil
}

func (b *bench) notes() []*sip.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*sip.Request(nil), b.sent...)
}

// watch adds a subscription as Subscribe does once its request is judged.
func (b *bench) watch(n int, on topic) verdict.Verdict {
	dlg := dialog.NewClient(fmt.Sprint("call", n), dialog.Party{Tag: "a", URI: sip.Uri{Scheme: "sip", Host: "b"}}, dialog.Party{Tag: "c", URI: sip.Uri{Scheme: "sip", Host: "d"}}, sip.Uri{Scheme: "sip", Host: "d"}, nil, 1)
	sub := &subscription{
		key: subKey{dlg.CallID, "a"}, watcher: fmt.Sprint(n), on: on, event: eventdoc.Event{Package: on.pkg}, dlg: dlg, flow: b.flow,
		since: time.Now(), expires: time.Now().Add(time.Hour),
	}
	if v := b.add(sub); !v.OK() {
		return v
	}
	b.tell(sub)
	return verdict.Passed
}

func (b *bench) call(t testing.TB, id, to string, state store.CallState) {
	t.Helper()
	if _, err := b.store.PutCall(t.Context(), &store.Call{ID: id, Direction: "internal", Caller: "1", Callee: to, State: state}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain; %d NOTIFYs", what, len(b.notes()))
		}
	}
}

// TestOneDocument has 500 watchers of one extension told of a call from one document.
func TestOneDocument(t *testing.T) {
	b := newBench(t, nil)
	const watchers = 500
	for n := range watchers {
		if v := b.watch(n, topic{eventdoc.Dialog, "1002"}); !v.OK() {
			t.Fatal(v)
		}
	}
	b.await(t, "the first state", func() bool { return len(b.notes()) == watchers })
	if b.built != 1 {
		t.Errorf("%d documents for the first state", b.built)
	}
	b.call(t, "c1", "1002", store.CallRinging)
	b.await(t, "the call", func() bool { return len(b.notes()) == 2*watchers })
	b.call(t, "c2", "1003", store.CallRinging) // nobody watches
	if _, err := b.store.DeleteCall(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	b.await(t, "its end", func() bool { return len(b.notes()) == 3*watchers })
	b.mu.Lock()
	last := string(b.sent[len(b.sent)-1].Body())
	b.mu.Unlock()
	if b.built != 3 || !strings.Contains(last, `version="2"`) || !strings.Contains(last, "terminated") {
		t.Errorf("%d documents; the last is\n%s", b.built, last)
	}
}

// TestSlowWatcher gives a watcher that does not answer one NOTIFY, and then the newest state alone.
func TestSlowWatcher(t *testing.T) {
	b := newBench(t, nil)
	b.hold = true
	b.watch(1, topic{eventdoc.Dialog, "1002"})
	for i := range 5 {
		b.call(t, fmt.Sprint("c", i), "1002", store.CallRinging)
		time.Sleep(gap / 4)
	}
	b.mu.Lock()
	n, answer := len(b.sent), b.held[0]
	b.held, b.hold = nil, false
	b.mu.Unlock()
	if n != 1 {
		t.Errorf("%d NOTIFYs in flight", n)
	}
	answer(transaction.Event{Response: sip.NewResponse(200, "")})
	b.await(t, "the newest state", func() bool { return len(b.notes()) == 2 })
	if got := strings.Count(string(b.notes()[1].Body()), "<dialog "); got != 5 {
		t.Errorf("%d calls in the newest state", got)
	}
}

// TestSubscriptionEnds holds by what a subscription ends.
func TestSubscriptionEnds(t *testing.T) {
	b := newBench(t, func(c *Config) { c.PerAccount, c.Total = 1, 2 })
	on := topic{eventdoc.Presence, "1002"}
	b.watch(1, on)
	if v := b.watch(1, on); v.Reason != verdict.SubscriptionLimit || v.Code != 403 {
		t.Errorf("second of an account: %v", v)
	}
	b.watch(2, on)
	if v := b.watch(3, on); v.Reason != verdict.SubscriptionLimit || v.Code != 503 {
		t.Errorf("third in all: %v", v)
	}
	b.Sweep(time.Now().Add(30 * time.Minute))
	if b.Len() != 2 {
		t.Errorf("%d before their time", b.Len())
	}
	b.Sweep(time.Now().Add(2 * time.Hour))
	state := ""
	for _, h := range b.notes()[len(b.notes())-1].GetHeaders("Subscription-State") {
		state = h.Value()
	}
	if b.Len() != 0 || state != "terminated;reason=timeout" || len(b.resources) != 0 || len(b.accounts) != 0 {
		t.Errorf("%d left, %q, %v, %v", b.Len(), state, b.resources, b.accounts)
	}
	b.reply = 481
	b.watch(4, on)
	if b.Len() != 0 {
		t.Error("a watcher that refuses stays")
	}
}

// TestMay holds who may watch whom.
func TestMay(t *testing.T) {
	groups := []Group{{"a", []string{"1", "2"}}, {"b", []string{"2", "3"}}}
	for watch, want := range map[string]string{"all": "11 12 13", "own": "11", "none": "", "groups": "11 12"} {
		c := Config{Watch: watch, Groups: groups}
		var got []string
		for _, to := range []string{"1", "2", "3"} {
			if c.may("1", to) {
				got = append(got, "1"+to)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", watch, got)
		}
	}
}

// TestMayWatch holds what can be watched at all.
func TestMayWatch(t *testing.T) {
	for watch, slot := range map[string]int{"all": 0, "own": 0, "none": 403} {
		b := newBench(t, func(c *Config) { c.Watch = watch })
		b.opt.Place = func(number string) bool { return number == "*681" }
		for _, x := range []struct {
			topic
			want int
		}{
			{topic{eventdoc.Dialog, "*681"}, slot}, {topic{eventdoc.Dialog, "*682"}, 404}, {topic{eventdoc.Presence, "*681"}, 404},
			{topic{eventdoc.MessageSummary, "*681"}, 404},
		} {
			if v := b.mayWatch("1", x.topic); v.Code != x.want {
				t.Errorf("watch: %s, %v: %v, want %d", watch, x.topic, v, x.want)
			}
		}
	}
}

// BenchmarkWatchers is the cost of one change of an extension that 500 watch, all of them told.
func BenchmarkWatchers(b *testing.B) {
	x := newBench(b, nil)
	for n := range 500 {
		x.watch(n, topic{eventdoc.Dialog, "1002"})
	}
	r := x.resources[topic{eventdoc.Dialog, "1002"}]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.mu.Lock()
		x.lines.set(&store.Call{ID: fmt.Sprint("c", i%2), Direction: "internal", Callee: "1002", State: store.CallUp}, i%4 > 1)
		r.stale, r.pending = true, true
		x.sent = x.sent[:0]
		x.mu.Unlock()
		x.flush(r)
	}
}
