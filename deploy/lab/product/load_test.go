package product

import (
	"fmt"
	"os"
	"testing"
	"time"

	"brickhouse/deploy/lab"
)

const (
	loadRate = 100 // calls a second
	loadFor  = 60 * time.Second
	loadTalk = time.Second // from ACK to BYE
)

// soakVar names the environment variable that says how long TestSoak lasts, as 30m; `make soak` sets it.
const soakVar = "BH_SOAK"

// When memory is looked at, in seconds of the load. A transaction of an answered INVITE lives 32 s after its 2xx (RFC 6026, timers L
// and M: 64·T1) and a media port rests 30 s, so all tables are full, and memory level, only after 33 s. What the collector
// leaves lying in between makes the curve a saw: peaks are compared, over ten seconds each, in which it runs several times. A leak of
// 4 kB in each call would make 10 MB between the two.
const (
	loadFull   = 36
	loadWindow = 10
	loadGrowth = 1.25
)

// A hundred calls a second for a minute, from a carrier through both programs to an extension: none fails, memory stays level, and
// afterwards nothing is left but exactly one record of each call.
func TestLoad(t *testing.T) { load(t, loadFor) }

// The same for as long as it takes to see a slow leak.
func TestSoak(t *testing.T) {
	text := os.Getenv(soakVar)
	if text == "" {
		t.Skip(soakVar + " is not set; make soak does")
	}
	length, err := time.ParseDuration(text)
	if err != nil || length < loadFor {
		t.Fatalf("%s is %q, want at least %s", soakVar, text, loadFor)
	}
	load(t, length)
}

// load calls for so long.
func load(t *testing.T, length time.Duration) {
	l := lab.New(t)
	p := Start(t, l, Options{Trunk: true})
	p.Extension("1002", "md5")
	calls := loadRate * int(length/time.Second)
	uas := l.Desk.SIPp(lab.SIPp{Scenario: "uas", Port: 5080, Rate: loadRate})
	l.Desk.SIPp(lab.SIPp{Scenario: "register", Server: p.Inside(), Port: 5090, Domain: Domain, User: "1002", Password: Password,
		Contact: l.Desk.Port(l.Voice, 5080).String()}).MustSucceed(waits)
	programs := []*watched{p.watch(t, "sbc", p.Border), p.watch(t, "pbx", p.Exchange)}

	uac := l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Talk: loadTalk, Rate: loadRate, Calls: calls})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(length + 2*loadFor); uac.Running(); {
		<-tick.C
		for _, w := range programs {
			w.rss = append(w.rss, w.proc.RSS())
		}
		if time.Now().After(end) {
			t.Fatalf("SIPp is not done: %+v\n%s", uac.Stats(), uac.Errors())
		}
	}
	s := uac.MustSucceed(waits)
	if s.Successful != calls {
		t.Errorf("%+v, want %d calls", s, calls)
	}
	t.Logf("%+v", s)
	for _, w := range programs {
		w.level(t, calls)
	}
	if uas.Stop(); uas.Stats().Created != calls || uas.Stats().Failed > 0 {
		t.Errorf("the called side counted %+v", uas.Stats())
	}

	for _, w := range programs {
		p.idle(t, w)
	}
	ids := map[string]bool{}
	for _, r := range p.records(t) {
		if ids[r.ID] {
			t.Errorf("two records of %s", r.ID)
		}
		if ids[r.ID] = true; r.Disposition != "answered" || r.Reason != "normal-clearing" || r.Direction != "inbound" || r.Callee != "1002" {
			t.Errorf("%+v", r)
		}
	}
	if len(ids) != calls {
		t.Errorf("%d records of %d calls", len(ids), calls)
	}
}

// level wants that memory did not grow once all tables were full.
func (w *watched) level(t *testing.T, calls int) {
	t.Helper()
	used := cpuTime(t, w.proc.Pid()) - w.cpu
	early, late := w.peak(loadFull, loadFull+loadWindow), w.peak(len(w.rss)-loadWindow, len(w.rss))
	t.Logf("%s: %v CPU a call; %d MB at first, %d MB after %d s, %d MB at the end", w.name, used/time.Duration(calls),
		w.rss[0]>>20, early>>20, loadFull, late>>20)
	if len(w.rss) < loadFull+2*loadWindow-5 || early == 0 || float64(late) > loadGrowth*float64(early) {
		t.Errorf("%s: memory is not level: %v", w.name, w.rss)
	}
}

// kept is how many goroutines may stay and wait for more work: far fewer than one for each call of the test.
const kept = 256

// idle wants that calls, transactions, sockets and goroutines are gone. The border asks the exchange every five seconds how it is:
// that is a transaction too.
func (p *Product) idle(t *testing.T, w *watched) {
	t.Helper()
	until(t, 2*time.Minute, w.name+" to be idle", func() string {
		calls, tx := p.gauge(t, w.name, "brickhouse_"+w.name+"_calls"), p.gauge(t, w.name, "brickhouse_"+w.name+"_transactions")
		open, work := p.gauge(t, w.name, "process_open_fds"), p.gauge(t, w.name, "go_goroutines")
		if calls > 0 || tx > 0 || open > w.open+8 || work > w.work+kept {
			return fmt.Sprintf("%v calls, %v transactions, %v open files (%v before), %v goroutines (%v before)", calls, tx, open, w.open, work, w.work)
		}
		return ""
	})
	t.Logf("%s: idle with %v bytes on its heap", w.name, p.gauge(t, w.name, "go_memstats_heap_alloc_bytes"))
}
