package product

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"brickhouse/deploy/lab"
	"brickhouse/shared/siptest"
)

// A call between a carrier and a desk, plain RTP on both sides, is relayed by the XDP program: the tones go both ways, nothing is lost while
// it changes hands, nobody else's packets get in, and nothing is sent on for a border that is dead.
func TestMediaInTheKernel(t *testing.T) {
	l := lab.New(t)
	l.DMZ.TakeFrames()
	l.Carrier.FullChecksums()
	l.Desk.FullChecksums()
	p := Start(t, l, Options{XDP: true, Kernel: true, Trunk: true, Silence: "3s"})
	p.Extension("1002", "md5")
	carrier, err := siptest.NewCarrier(siptest.CarrierConfig{Config: siptest.Config{
		User: "4930", Server: p.Peer().String(), Bind: l.Carrier.Addr(), Port: p.CarrierAddr().Port(), Within: l.Carrier.Do, Tone: 620,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(carrier.Close)
	desk := tester(t, siptest.Config{
		User: "1002", Password: Password, Domain: Domain, Server: p.Inside().String(), Bind: l.Desk.Addr(), Within: l.Desk.Do, Tone: 700,
	})
	enrol(t, desk)

	c := p.plainCall(t, carrier, desk)
	c.bothHear(t)
	c.mostlyByKernel(t, 400) // four seconds: longer than the silence that ends a call
	if err := c.out.Hold(bounded(t, waits)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.AwaitSilence(bounded(t, waits)); err != nil {
		t.Error(err)
	}
	if err := c.out.Resume(bounded(t, waits)); err != nil {
		t.Fatal(err)
	}
	c.bothHear(t)
	c.lostNothing(t, "after a hold")
	c.keepsStrangersOut(t)

	moved, err := c.out.ReInvite(bounded(t, waits), siptest.Change{Move: true})
	if err != nil || !moved.OK() {
		t.Fatalf("a re-INVITE with new ports: %+v %v", moved, err)
	}
	c.inKernel(t, 2)
	c.bothHear(t)
	s := c.out.Stats()
	c.moving = s.Lost - s.Late
	c.mostlyByKernel(t, 100)
	if s := c.out.Stats(); s.Foreign > 0 {
		t.Errorf("the carrier got packets from another address than it was told: %+v", s)
	}
	if err := c.in.Hangup(bounded(t, waits)); err != nil {
		t.Error(err)
	}
	<-c.out.Done()
	c.inKernel(t, 0)
	p.noCallsLeft(t)

	// Nobody takes a call's packets back when the border is killed; the kernel stops by itself.
	c = p.plainCall(t, carrier, desk)
	c.bothHear(t)
	p.Border.Kill()
	last := c.in.Stats().Received
	until(t, waits, "the kernel to stop", func() string {
		time.Sleep(500 * time.Millisecond) // 25 packets
		n := c.in.Stats().Received - last
		last += n
		if n > 0 {
			return fmt.Sprint(n, " packets more")
		}
		return ""
	})
	p.Border.Start()
	until(t, waits, "the desk to be without a call", func() string {
		if err := c.in.Hangup(bounded(t, waits)); err != nil {
			return err.Error()
		}
		return ""
	})
	c = p.plainCall(t, carrier, desk)
	c.bothHear(t)
	c.mostlyByKernel(t, 100)
}

// plainCall is a call that the carrier made to the desk.
type plainCall struct {
	p       *Product
	out, in *siptest.Call // as the carrier and the desk have it
	moving  uint64        // packets that the carrier lost since it had left its old ports before the border knew
}

// plainCall has the carrier call the desk, and waits until the kernel relays the call.
func (p *Product) plainCall(t *testing.T, carrier *siptest.Carrier, desk *siptest.Phone) plainCall {
	t.Helper()
	out, err := carrier.Call(bounded(t, waits), "4930100")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case in := <-desk.Incoming():
		c := plainCall{p: p, out: out, in: in}
		c.inKernel(t, 2)
		return c
	case <-time.After(waits):
		t.Fatal("the desk does not ring")
	}
	return plainCall{}
}

func (c plainCall) inKernel(t *testing.T, streams int) {
	t.Helper()
	until(t, waits, fmt.Sprint(streams, " streams in the kernel"), func() string {
		if n := c.p.banStats(t).MediaInKernel; n != streams {
			return fmt.Sprint(n)
		}
		return ""
	})
}

func (c plainCall) bothHear(t *testing.T) {
	t.Helper()
	if _, err := c.out.AwaitTone(bounded(t, waits), 700); err != nil {
		t.Errorf("the carrier: %v", err)
	}
	if _, err := c.in.AwaitTone(bounded(t, waits), 620); err != nil {
		t.Errorf("the desk: %v", err)
	}
}

// forwarded is how many packets the kernel has sent on.
func (p *Product) forwarded(t *testing.T) (n int) {
	t.Helper()
	for _, c := range p.banStats(t).Counts {
		if c.Action == "forward" {
			n += c.Packets
		}
	}
	return n
}

func (c plainCall) received() int { return int(c.out.Stats().Received + c.in.Stats().Received) }

// mostlyByKernel wants that of the packets that come, the kernel has sent on 95 % and more.
func (c plainCall) mostlyByKernel(t *testing.T, packets int) {
	t.Helper()
	kernel, all := c.p.forwarded(t), c.received()
	until(t, waits, "packets", func() string {
		if n := c.received() - all; n < packets {
			return fmt.Sprint(n)
		}
		return ""
	})
	all = c.received() - all // first: what comes between the two is the kernel's gain, 5 % is more
	kernel = c.p.forwarded(t) - kernel
	t.Logf("of %d packets the kernel sent on %d", all, kernel)
	if kernel < all*95/100 {
		t.Errorf("of %d packets the kernel sent on only %d", all, kernel)
	}
	c.lostNothing(t, "in the kernel")
}

// lostNothing wants each packet to have come, in whatever order.
func (c plainCall) lostNothing(t *testing.T, when string) {
	t.Helper()
	carrier := c.out.Stats()
	carrier.Lost -= c.moving
	for name, s := range map[string]siptest.MediaStats{"carrier": carrier, "desk": c.in.Stats()} {
		if s.Lost != s.Late || s.Foreign+s.Malformed+s.WrongPayload+s.SSRCChanges > 0 {
			t.Errorf("%s, the %s: %+v", when, name, s)
		}
	}
}

// keepsStrangersOut sends RTP from another host to the port that the carrier sends to.
func (c plainCall) keepsStrangersOut(t *testing.T) {
	t.Helper()
	const packets = 20
	before := c.p.counted(t, "sbc", "media_dropped_total")["media-stranger"]
	bad, err := c.p.Lab.Attacker.Dial("udp", c.out.RemoteSDP().Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	b := make([]byte, 172)
	b[0] = 0x80
	for i := range packets {
		binary.BigEndian.PutUint16(b[2:], uint16(i))
		if _, err := bad.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	until(t, waits, "the strangers to be counted", func() string {
		if n := c.p.counted(t, "sbc", "media_dropped_total")["media-stranger"] - before; n != packets {
			return fmt.Sprint(n)
		}
		return ""
	})
	c.lostNothing(t, "with a stranger about")
}
