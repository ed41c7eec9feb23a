package product

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/flood"
)

// A flood of banned sources that takes one core, and one of strangers beside it: calls of a carrier and of a phone over TLS go on as if
// there were none, and the kernel counts what it dropped.
func TestCallsUnderFlood(t *testing.T) {
	const calls, callRate = 100, 10
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, Trunk: true, UDP: true, Guard: guessing})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	uas := l.Desk.SIPp(lab.SIPp{Scenario: "uas", Port: 5080, Rate: callRate})
	l.Desk.SIPp(lab.SIPp{Scenario: "register", Server: p.Inside(), Port: 5090, Domain: Domain, User: "1002", Password: Password,
		Contact: l.Desk.Port(l.Voice, 5080).String()}).MustSucceed(waits)
	p.ban(t, bannedNet, bannedHost)
	w := p.witness(t)

	banned := p.flooding(t, flood.Flood{To: p.OutsideUDP(), Sources: bannedSources(), CPU: 0})
	spoofed := p.flooding(t, flood.Flood{To: p.OutsideUDP(), Sources: flood.Within(strangers), Rate: 1000, CPU: -1})
	w.awaits(strangers)
	alice := tester(t, p.outsider(t, l.Remote, "1001", 440))
	echoed(t, alice, 440)
	uac := l.Carrier.SIPp(lab.SIPp{Scenario: "uac", Server: p.Peer(), To: "4930100", Talk: time.Second, Rate: callRate, Calls: calls})
	if s := uac.MustSucceed(2 * time.Minute); s.Successful != calls {
		t.Errorf("%+v, want %d calls", s, calls)
	}
	echoed(t, alice, 440)
	if n := w.saw(bannedNet, bannedHost); n > 0 {
		t.Errorf("%d packets of banned sources came through", n)
	}
	sent, strange := banned(), spoofed()
	if uas.Stop(); uas.Stats().Created != calls || uas.Stats().Failed > 0 {
		t.Errorf("the called side counted %+v", uas.Stats())
	}
	s := p.banStats(t)
	byNet, byHost := s.droppedOf("network-banned"), s.droppedOf("host-banned")
	t.Logf("%+v banned, %+v not; dropped %d by network, %d by host", sent, strange, byNet, byHost)
	// The wire to the border loses what its queue does not take; nothing else may be missing.
	if dropped := byNet + byHost; dropped > sent.Packets || dropped < sent.Packets/2 || byNet == 0 || byHost == 0 {
		t.Errorf("%d packets sent by banned sources, %d by network and %d by host dropped", sent.Packets, byNet, byHost)
	}
	p.onlyBanned(t, bannedNet, bannedHost) // a stranger's name is easily taken: none was banned
}

// The border is killed again and again under a flood of banned sources: not one packet comes through, whether it lives, is dead or
// starts, and its bans are there afterwards.
func TestBorderDiesUnderFlood(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, UDP: true, Guard: guessing})
	w := p.witness(t)
	p.flood(t, flood.Flood{To: p.OutsideUDP(), Sources: flood.Within(bannedNet), Count: 50, Rate: 5000, CPU: -1})
	w.awaits(bannedNet) // it would be seen
	p.ban(t, bannedNet, bannedHost)
	w.saw() // what came before the ban

	stop := p.flooding(t, flood.Flood{To: p.OutsideUDP(), Sources: bannedSources(), Rate: 20_000, CPU: -1})
	program := p.xdpProgram(t)
	for range 3 {
		p.Border.Kill()
		if now := p.xdpProgram(t); now == 0 || now != program {
			t.Errorf("XDP program %d after the border's death, %d before", now, program)
		}
		before := p.pinnedDrops(t)
		until(t, waits, "the kernel to drop without a border", func() string {
			if p.pinnedDrops(t) == before {
				return "it drops nothing"
			}
			return ""
		})
		p.Border.Start()
		if program = p.xdpProgram(t); program == 0 {
			t.Error("no XDP program after the border's return")
		}
		p.onlyBanned(t, bannedNet, bannedHost)
	}
	sent := stop()
	if n := w.saw(bannedNet, bannedHost); n > 0 {
		t.Errorf("%d packets of banned sources came through", n)
	}
	s := p.banStats(t)
	if n := s.droppedOf("network-banned", "host-banned"); n > sent.Packets || n < sent.Packets/2 {
		t.Errorf("%+v, %d dropped", sent, n)
	}
}

// A border that stopped goes on filtering; `sbc detach` ends that and leaves nothing, but the journal. The next start has the bans.
func TestDetach(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, UDP: true, Guard: guessing})
	w := p.witness(t)
	p.ban(t, bannedHost)
	const knocks = 20
	knock := func() {
		p.flood(t, flood.Flood{To: p.OutsideUDP(), Sources: flood.Within(bannedHost), Count: knocks, Rate: 2000, CPU: -1})
	}
	if out, err := p.Try("sbc", "", "detach", "-c", p.path("sbc.yaml")); err == nil || p.xdpProgram(t) == 0 {
		t.Errorf("detached while the border runs: %v %s", err, out)
	}
	p.stops(t)
	before := p.pinnedDrops(t)
	knock()
	until(t, waits, "the kernel to drop without a border", func() string {
		if n := p.pinnedDrops(t) - before; n != knocks {
			return fmt.Sprintf("it dropped %d of %d", n, knocks)
		}
		return ""
	})
	if p.xdpProgram(t) == 0 || w.saw(bannedHost) > 0 {
		t.Error("the border is stopped, and a packet of a banned source came through")
	}
	p.Command("sbc", "", "detach", "-c", p.path("sbc.yaml"))
	if id := p.xdpProgram(t); id != 0 {
		t.Errorf("XDP program %d is still there", id)
	}
	if left, err := filepath.Glob(filepath.Join(l.PinDir(), "*")); err != nil || len(left) > 0 {
		t.Errorf("still pinned: %v, %v", left, err)
	}
	knock()
	w.awaits(bannedHost)
	p.Command("sbc", "", "detach", "-c", p.path("sbc.yaml")) // nothing there: no error

	p.Border.Start()
	p.onlyBanned(t, bannedHost)
	w.saw() // what came in between
	knock()
	until(t, waits, "the new filter to drop", func() string {
		if s := p.banStats(t); s.dropped() != knocks {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	if n := w.saw(bannedHost); n > 0 {
		t.Errorf("after the next start %d packets came through", n)
	}
	if _, err := os.Stat(filepath.Join(l.PinDir(), "lab")); err != nil {
		t.Errorf("after the next start: %v", err)
	}
}
