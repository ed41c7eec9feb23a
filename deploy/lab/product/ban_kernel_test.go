package product

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"brickhouse/bpf"
	"brickhouse/deploy/lab"
	"brickhouse/shared/siptest"
)

// guessing bans who guesses passwords, as the default does, and shortly who guesses names.
const guessing = `  rules:
    - {name: logins, weights: {bad-credentials: 1}, window: 1m, threshold: 5, ban: 5m}
    - {name: names, weights: {unknown-user: 1}, window: 1m, threshold: 5, ban: 3s}`

// Five wrong passwords over TLS, and the next packet of that address ends in the driver: while the border runs, while it is dead, and
// after it came back. Others notice nothing.
func TestBanInTheKernel(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, Guard: guessing})
	p.Extension("1001", "md5")
	p.Extension("1002", "md5")
	alice := l.Remote.Baresip(p.RemoteAccount("1001", 440))
	bob := l.Desk.Baresip(p.InsideAccount("1002", 700))
	alice.Register()
	bob.Register()
	bad, fine := l.Attacker.Addr(), l.Remote2.Addr()

	if s := p.banStats(t); s.Mode != "native" || len(s.Interfaces) != 1 || s.Interfaces[0].Mode != "native" || s.dropped() != 0 {
		t.Fatalf("before the attack: %+v", s)
	}
	for _, try := range p.guess(t, l.Attacker, bad, 5, nil) {
		if last := try.N == 5 && try.Outcome == siptest.CutOff; try.Outcome != siptest.Denied && !last {
			t.Errorf("%v", try)
		}
	}
	p.shutOut(t, netip.AddrPortFrom(bad, 33001))
	p.explained(t, bad)

	// A phone behind another address goes on.
	alice.Call("1002")
	bob.Answer()
	alice.WaitEstablished()
	alice.Hears(700)
	bob.Hears(440)
	alice.Hangup()
	bob.WaitClosed()

	// The filter needs no program.
	p.Border.Kill()
	before := p.pinnedDrops(t)
	if err := p.knock(l.Remote2, netip.AddrPortFrom(fine, 33002)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the border is dead; somebody who is not banned got %v", err)
	}
	if err := p.knock(l.Attacker, netip.AddrPortFrom(bad, 33003)); !timedOut(err) {
		t.Errorf("the border is dead; who is banned got %v", err)
	}
	if after := p.pinnedDrops(t); after <= before {
		t.Errorf("the kernel dropped %d packets before and %d after", before, after)
	}
	p.Border.Start()
	p.shutOut(t, netip.AddrPortFrom(bad, 33004))
	p.explained(t, bad)
	enrol(t, tester(t, p.outsider(t, l.Remote2, "1001", 0)))
	if _, err := p.Try("sbc", "", "ban", "del", bad.String()); err != nil {
		t.Error(err)
	}
	if err := p.knock(l.Attacker, netip.AddrPortFrom(bad, 33005)); err != nil {
		t.Errorf("the ban was lifted, and yet: %v", err)
	}
}

// A ban ends by itself, in the kernel too.
func TestBanEnds(t *testing.T) {
	l := lab.New(t)
	p := Start(t, l, Options{XDP: true, Guard: guessing})
	bad := netip.MustParseAddr("198.18.66.2")
	l.Attacker.AddAddr(bad)
	p.guess(t, l.Attacker, bad, 5, func(n int) string { return fmt.Sprint("nobody", n) })
	until(t, waits, "the ban to end", func() string {
		e := p.whyBanned(t, bad)
		if len(e.Bans) > 0 || len(e.History) != 1 || e.History[0].Rule != "names" || e.History[0].EndedBy != "expiry" {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
	p.nobodyBanned(t)
	if err := p.knock(l.Attacker, netip.AddrPortFrom(bad, 33001)); err != nil {
		t.Errorf("the ban is over, and yet: %v", err)
	}
	for _, try := range p.guess(t, l.Attacker, bad, 4, nil) {
		if try.Outcome != siptest.Denied {
			t.Errorf("four more tries, which no rule bans: %v", try)
		}
	}
}

// shutOut wants that nothing from the address comes through, that nothing is answered, and that the kernel counts it.
func (p *Product) shutOut(t *testing.T, from netip.AddrPort) {
	t.Helper()
	wire := p.Lab.Internet.Capture()
	before := p.banStats(t).dropped()
	if err := p.knock(p.Lab.Attacker, from); !timedOut(err) {
		t.Errorf("%s is banned, and yet: %v", from, err)
	}
	asked, answered := answers(wire.Stop(), from)
	if asked == 0 || answered > 0 {
		t.Errorf("%d packets from %s, %d answers", asked, from, answered)
	}
	if s := p.banStats(t); s.dropped() < before+asked {
		t.Errorf("the kernel dropped %d before and %d after %d packets: %+v", before, s.dropped(), asked, s)
	}
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// explained wants that the border can tell why an address is banned.
func (p *Product) explained(t *testing.T, a netip.Addr) {
	t.Helper()
	e := p.whyBanned(t, a)
	if len(e.Bans) != 1 || e.Bans[0].Prefix != netip.PrefixFrom(a, 32) || e.Bans[0].Rule != "logins" || e.Bans[0].Reason != "bad-credentials" {
		t.Fatalf("%+v", e)
	}
	if ev := e.Bans[0].Evidence; len(ev) != 5 || ev[4].Reason != "bad-credentials" || ev[4].AOR != "1001@"+Domain {
		t.Errorf("evidence %+v", ev)
	}
	text := p.Command("sbc", "", "ban", "why", a.String())
	for _, want := range []string{"rule logins", "bad-credentials", "time left: ", "1001@" + Domain} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// pinnedDrops reads the kernel's counter while no border runs.
func (p *Product) pinnedDrops(t *testing.T) uint64 {
	t.Helper()
	f, err := bpf.Load(bpf.Options{BPFFS: p.Lab.PinDir(), Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	counts, err := f.Counts()
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, c := range counts.Packets {
		if c.Reason == bpf.ReasonHostBanned && c.Action == bpf.ActionDrop {
			n += c.Packets
		}
	}
	return n
}
