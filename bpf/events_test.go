package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// onOneCPU keeps the test's thread where it is until the test ends: samples have a budget on each CPU.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &old))
	for cpu := range 1024 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	t.Cleanup(func() {
		must(t, unix.SchedSetaffinity(0, &old))
		runtime.UnlockOSThread()
	})
}

// drain reads all events that are there.
func drain(t *testing.T, ev *Events) (all []Event) {
	t.Helper()
	for {
		ev.SetDeadline(time.Now())
		e, err := ev.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		must(t, err)
		all = append(all, e)
	}
}

func sampled(t *testing.T) (*Filter, *Events) {
	t.Helper()
	f := unattached(t)
	ban(t, f, time.Hour, "192.0.2.7/32", "2001:db8::7/128")
	ev, err := f.Events()
	must(t, err)
	t.Cleanup(func() { ev.Close() })
	return f, ev
}

// Drops are told with all that is known about them, passed packets are not, and nothing is told unless it is wanted.
func TestRootEvents(t *testing.T) {
	f, ev := sampled(t)
	v4, v6 := frame{src: "192.0.2.7"}.bytes(), frame{src: "2001:db8::7", payload: bytes.Repeat([]byte("x"), 300)}.bytes()
	run(t, f, v4)
	if all := drain(t, ev); len(all) > 0 {
		t.Errorf("samples are off: %+v", all)
	}
	must(t, f.Set(Settings{Samples: 1000}))
	cut := frame{src: "192.0.2.7", proto: etherVLAN}.bytes()[:17]
	before := now(t)
	for _, b := range [][]byte{frame{src: "192.0.2.9"}.bytes(), v4, v6, cut} {
		run(t, f, b)
	}
	must(t, f.Sources().SetMonitored(1<<listOne))
	run(t, f, v4)
	all := drain(t, ev)
	want := []Event{
		{Length: len(v4), Family: FamilyIPv4, Reason: ReasonHostBanned, Action: ActionDrop, List: listOne, Source: netip.MustParseAddr("192.0.2.7"), Head: v4},
		{Length: len(v6), Family: FamilyIPv6, Reason: ReasonHostBanned, Action: ActionDrop, List: listOne, Source: netip.MustParseAddr("2001:db8::7"), Head: v6[:128]},
		{Length: 17, Family: FamilyOther, Reason: ReasonBadPacket, Action: ActionDrop, Head: cut},
		{Length: len(v4), Family: FamilyIPv4, Reason: ReasonHostBanned, Action: ActionMonitor, List: listOne, Source: netip.MustParseAddr("192.0.2.7"), Head: v4},
	}
	if len(all) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(all), len(want), all)
	}
	for i, e := range all {
		if e.At < before-time.Second || e.At > now(t)+time.Second {
			t.Errorf("event %d: at %v, not near %v", i, e.At, before)
		}
		want[i].At, want[i].Interface = e.At, e.Interface
		if fmt.Sprintf("%+v", e) != fmt.Sprintf("%+v", want[i]) {
			t.Errorf("event %d:\n%+v, want\n%+v", i, e, want[i])
		}
	}
}

// No more than the budget is told in a second, but the next second has one of its own.
func TestRootEventsBudget(t *testing.T) {
	f, ev := sampled(t)
	onOneCPU(t)
	must(t, f.Set(Settings{Samples: 6})) // half of them for drops beside the samples
	b, seconds := frame{src: "192.0.2.7"}.bytes(), 0
	begin := now(t)
	for range 200 {
		must(t, run1(f, b))
	}
	seconds = int((now(t) - begin) / time.Second)
	if n := len(drain(t, ev)); n < 3 || n > 3*(seconds+2) {
		t.Errorf("%d events in %d seconds, want 3 in each", n, seconds+1)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		must(t, run1(f, b))
		if len(drain(t, ev)) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is told after the first second")
		}
	}
}

func run1(f *Filter, b []byte) error {
	_, _, err := f.Program().Test(b)
	return err
}

// Samples stand for all packets, passed and dropped: their weights add up to about as many as there were.
func TestRootEventsWeight(t *testing.T) {
	f, ev := sampled(t)
	must(t, f.Set(Settings{Samples: 1 << 20, Interval: 8, Monitored: nil}))
	const n = 2000
	pass := frame{src: "192.0.2.9"}.bytes()
	sum, weighted := 0, 0
	for range n {
		must(t, run1(f, pass))
	}
	for _, e := range drain(t, ev) {
		if e.Weight != 8 || e.Action != ActionPass || e.Reason != ReasonNone || !bytes.Equal(e.Head, pass) {
			t.Fatalf("%+v", e)
		}
		sum += e.Weight
		weighted++
	}
	if sum < n/2 || sum > 2*n { // the mean is n; so far off it is less than once in 10^9 runs
		t.Errorf("%d samples of weight 8 stand for %d packets, want about %d", weighted, sum, n)
	}
	b := frame{src: "192.0.2.7"}.bytes()
	for range 100 {
		must(t, run1(f, b))
	}
	all, extra := drain(t, ev), 0
	for _, e := range all {
		if e.Weight == 0 {
			extra++
		}
	}
	if len(all) != 100 || extra < 50 {
		t.Errorf("%d events of 100 drops, %d of them beyond the samples", len(all), extra)
	}
}

// While somebody captures, a dropped frame is told whole, and its length exactly; a passed one is not.
func TestRootEventsFull(t *testing.T) {
	f, ev := sampled(t)
	must(t, f.Set(Settings{Samples: 1 << 20, Full: true}))
	for _, n := range []int{100, 128, 129, 1400, 1500, 1514, 1536, 1537, 3000} {
		b := frame{src: "192.0.2.7", payload: make([]byte, n-34)}.bytes()
		for i := 34; i < n; i++ {
			b[i] = byte(i)
		}
		run(t, f, b)
		all := drain(t, ev)
		if len(all) != 1 || all[0].Length != n || !bytes.Equal(all[0].Head, b[:min(n, eventFull)]) {
			t.Fatalf("%d bytes: %d events, %+v", n, len(all), all)
		}
	}
	must(t, f.Sources().SetMonitored(1<<listOne))
	run(t, f, frame{src: "192.0.2.7", payload: make([]byte, 1000)}.bytes())
	if all := drain(t, ev); len(all) != 1 || len(all[0].Head) != eventHead {
		t.Errorf("monitored: %+v", all)
	}
}

// What finds no room is counted, and a reader that begins later finds the older ones.
func TestRootEventsLost(t *testing.T) {
	f, ev := sampled(t)
	must(t, f.Set(Settings{Samples: 1 << 20, Full: true}))
	b := frame{src: "192.0.2.7", payload: make([]byte, 1400)}.bytes()
	for range 800 {
		must(t, run1(f, b))
	}
	c, err := f.Counts()
	must(t, err)
	if n := len(drain(t, ev)); n == 0 || c.SamplesLost == 0 || n+int(c.SamplesLost) != 800 {
		t.Errorf("%d read, %d lost, want 800 together", n, c.SamplesLost)
	}
	must(t, ev.Close())
	if _, err := ev.Read(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestDecodeEvent(t *testing.T) {
	if _, err := decodeEvent(make([]byte, headerSize-1)); err == nil {
		t.Error("too short for an event")
	}
	raw := make([]byte, headerSize+128)
	raw[19], raw[40], raw[43] = 77, 255, 255 // more captured than there is room for
	if e, err := decodeEvent(raw); err != nil || len(e.Head) != 128 || e.List != table.List(77) || e.Source.IsValid() {
		t.Errorf("%+v %v", e, err)
	}
}
