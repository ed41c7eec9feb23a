package filterbench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newBench(t testing.TB, e Effort) *Bench {
	t.Helper()
	m, err := NewMeter()
	must(t, err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewBench(m, e)
}

func filled(t testing.TB, s Subject, l Load) Subject {
	t.Helper()
	_, err := s.Fill(l)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// traffics has each kind of traffic in each shape, with what a filter has to do with it.
func traffics(n, networks int) map[string]Traffic {
	all := map[string]Traffic{}
	for _, v := range []struct {
		name string
		ip   int
	}{{"v4", 4}, {"v6", 6}} {
		for tags, shape := range []string{"", " tagged", " QinQ"} {
			add := func(name string, s Sources, want uint32) {
				all[name+" "+v.name+shape] = Traffic{Version: v.ip, Tags: tags, Sources: s, Want: want}
			}
			add("banned", Banned(n), Drop)
			add("banned network", BannedNetworks(networks), Drop)
			add("legitimate", Legit(1000), Pass)
			add("spoofed", Spoofed(), Pass)
		}
	}
	return all
}

func TestBaselineActs(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	for _, fine := range []bool{false, true} {
		s := filled(t, &Baseline{FineClock: fine}, NewLoad(1000, 300))
		for name, traffic := range traffics(1000, 300) {
			if _, err := b.Compare(traffic, s.Program()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// What the load has not, the baseline does not drop: it is not that all is dropped, or nothing.
func TestCompareSeesWrongActions(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	s := filled(t, &Baseline{}, NewLoad(1000, 0))
	for name, traffic := range map[string]Traffic{
		"half are banned":   {Version: 4, Sources: Banned(2000), Want: Drop},
		"not the networks":  {Version: 6, Sources: BannedNetworks(300), Want: Drop},
		"none is legit":     {Version: 4, Sources: Banned(1000), Want: Pass},
		"ninety of hundred": {Version: 4, Sources: Banned(2000), Want: Drop, AtLeast: 0.9},
	} {
		if costs, err := b.Compare(traffic, s.Program()); err == nil {
			t.Errorf("%s: %v", name, costs)
		}
	}
	other := filled(t, &Baseline{}, NewLoad(2000, 0))
	first := Traffic{Version: 4, Sources: Banned(2000), Want: Drop, FirstOnly: true}
	if _, err := b.Compare(first, other.Program(), s.Program()); err != nil {
		t.Error(err)
	}
	if _, err := b.Compare(first, s.Program(), other.Program()); err == nil {
		t.Error("the first one may do what it wants")
	}
	half := Traffic{Version: 4, Sources: Banned(2000), Want: Drop, AtLeast: 0.3}
	_, err := b.Compare(half, s.Program())
	must(t, err)
}

// forgetful is a filter that bans nobody.
type forgetful struct{ Baseline }

func (f *forgetful) Fill(Load) (time.Duration, error) { return f.Baseline.Fill(Load{}) }

// unable is a filter that holds nothing.
type unable struct{ Baseline }

func (u *unable) Fill(l Load) (time.Duration, error) {
	if len(l.Hosts) > 0 {
		return 0, ErrCapacity
	}
	return u.Baseline.Fill(l)
}

func TestRunStopsAtAWrongFate(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	f := &forgetful{}
	err := b.Run(f, func(Result) {})
	if err == nil || !strings.Contains(err.Error(), "banned network, 0 bans") {
		t.Errorf("a filter that bans nobody: %v", err)
	}
	must(t, f.Close())
}

func TestRunLeavesRowsEmpty(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	u := &unable{}
	ours, base := 0, 0
	must(t, b.Run(u, func(r Result) {
		if r.Skipped == "" {
			ours++
		}
		if r.Baseline.NS > 0 {
			base++
		}
	}))
	must(t, u.Close())
	if rows := len(Stages(Quick())[0].Rows); ours != rows || base <= rows {
		t.Errorf("%d rows of the filter, %d of the baseline; the first stage has %d", ours, base, rows)
	}
}

func TestBaselineLimits(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	l := NewLoad(0, 0)
	l.Limits = LimitsTight
	s := filled(t, &Baseline{}, l)
	one := Traffic{Version: 4, Sources: Legit(1), Want: Drop, AtLeast: 0.5} // 10 at once are allowed
	if _, err := b.Compare(one, s.Program()); err != nil {
		t.Error(err)
	}
	one.Version = 6
	if _, err := b.Compare(one, s.Program()); err != nil {
		t.Error(err)
	}
	_, err := b.Compare(Traffic{Version: 4, Sources: Spoofed(), Want: Pass}, s.Program())
	must(t, err)
}

func TestBaselineAllows(t *testing.T) {
	needRoot(t)
	b := newBench(t, Quick())
	l := NewLoad(100, 0)
	l.Allowed = append(l.Allowed, l.Hosts...)
	l.Allowed = append(l.Allowed, l.Sites...)
	s := filled(t, &Baseline{}, l)
	for _, version := range []int{4, 6} {
		_, err := b.Compare(Traffic{Version: version, Sources: Banned(100), Want: Pass}, s.Program())
		must(t, err)
	}
}

// source reads the source address of a frame.
func source(t Traffic, b []byte) netip.Addr {
	ip := b[t.ipAt():]
	if t.Version == 4 {
		return netip.AddrFrom4([4]byte(ip[12:]))
	}
	return netip.AddrFrom16([16]byte(ip[8:]))
}

// The generator's sources are those that the load is made of, in equal parts; and but for source and ports it changes no byte.
func TestGeneratorDrawsTheLoad(t *testing.T) {
	needRoot(t)
	const n = 32
	l := NewLoad(n, n)
	for name, traffic := range map[string]Traffic{
		"v4":           {Version: 4, Sources: Banned(n)},
		"v6":           {Version: 6, Tags: 2, Sources: Banned(n)},
		"v4 in a net":  {Version: 4, Tags: 1, Sources: BannedNetworks(n)},
		"v6 in a net":  {Version: 6, Sources: BannedNetworks(n)},
		"v4 to a port": {Version: 4, Sources: Banned(n), Port: 20000, Ports: 64},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[int][]netip.Prefix{4: l.Hosts, 6: l.Sites}[traffic.Version]
			if traffic.Sources.networks {
				all = l.Networks
			}
			g, err := newGenerator(traffic, true)
			must(t, err)
			defer g.Close()
			must(t, g.aim(g.objs.Drop))
			seen := map[netip.Prefix]int{}
			for range 4000 {
				seen[drawn(t, g, traffic, all)]++
			}
			for p, times := range seen {
				if times < 20 {
					t.Errorf("%s was drawn %d times of 4000", p, times)
				}
			}
			if len(seen) < n-2 { // networks may be in one another
				t.Errorf("%d of %d were drawn", len(seen), n)
			}
		})
	}
}

// drawn makes one packet, checks it, and returns which of all its source is in.
func drawn(t *testing.T, g *generator, traffic Traffic, all []netip.Prefix) netip.Prefix {
	t.Helper()
	out := make([]byte, len(g.frame)+256)
	o := &ebpf.RunOptions{Data: g.frame, DataOut: out}
	_, err := g.objs.Generate.Run(o)
	must(t, err)
	src := source(traffic, o.DataOut)
	checkFrame(t, traffic, g.frame, o.DataOut)
	for _, p := range all {
		if p.Contains(src) {
			return p
		}
	}
	t.Fatalf("%s is not in the load", src)
	return netip.Prefix{}
}

func checkFrame(t *testing.T, traffic Traffic, in, out []byte) {
	t.Helper()
	in, out = bytes.Clone(in), bytes.Clone(out)
	at, length, header := traffic.ipAt()+12, 4, ipv4Size
	if traffic.Version == 6 {
		at, length, header = traffic.ipAt()+8, 16, ipv6Size
	}
	udp := traffic.ipAt() + header
	if port := int(binary.BigEndian.Uint16(out[udp+2:])); traffic.Ports > 0 {
		if port < int(traffic.Port) || port >= int(traffic.Port)+traffic.Ports {
			t.Errorf("port %d", port)
		}
		clear(in[udp+2 : udp+4])
		clear(out[udp+2 : udp+4])
	}
	for _, b := range [][]byte{in, out} {
		clear(b[at : at+length])
		clear(b[udp : udp+2])
	}
	if !bytes.Equal(in, out) {
		t.Errorf("changed more than it may:\n%x\n%x", in, out)
	}
}

func TestGeneratorCounts(t *testing.T) {
	needRoot(t)
	g, err := newGenerator(Traffic{Version: 4, Sources: Legit(10)}, true)
	must(t, err)
	defer g.Close()
	must(t, g.aim(g.objs.Drop))
	for _, n := range []int{1, 2, 1000, 100000} {
		action, made, err := g.run(n)
		if err != nil || action != Drop || made < n {
			t.Errorf("%d packets: %d of them, action %d, %v", n, made, action, err)
		}
	}
}

func TestXDPFilter(t *testing.T) {
	needRoot(t)
	x, err := OpenXDPFilter()
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip(err)
	}
	must(t, err)
	filled(t, x, NewLoad(1000, 0))
	b := newBench(t, Quick())
	for name, traffic := range map[string]Traffic{
		"banned":     {Version: 4, Sources: Banned(1000), Want: Drop},
		"legitimate": {Version: 4, Sources: Legit(1000), Want: Pass},
	} {
		if _, err := b.Compare(traffic, x.Program()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x.Fill(NewLoad(10001, 0)); !errors.Is(err, ErrCapacity) {
		t.Errorf("10,001 hosts: %v", err)
	}
}

// Without hardware events, a software event shows that counters are opened and read as they must be.
func TestCounter(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // it counts the time of this thread, which is to work between two reads
	defer runtime.UnlockOSThread()
	c, err := openCounter(unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_TASK_CLOCK)
	must(t, err)
	defer c.Close()
	last := -1.0
	for range 3 {
		for worked := time.Now(); time.Since(worked) < time.Millisecond; {
		}
		v, err := c.read()
		if err != nil || v <= last {
			t.Errorf("%f after %f: %v", v, last, err)
		}
		last = v
	}
}

func TestMeterLetsTheThreadGo(t *testing.T) {
	var before, during, after unix.CPUSet
	m, err := NewMeter()
	must(t, err)
	before = m.mask
	must(t, unix.SchedGetaffinity(0, &during))
	s, err := m.Measure(func() error {
		for range 1000 {
			_ = make([]byte, 1<<16)
		}
		return nil
	})
	if err != nil || s.NS <= 0 {
		t.Errorf("%v %v", s, err)
	}
	if during.Count() != 1 {
		t.Errorf("measured on %d CPUs", during.Count())
	}
	wrong := errors.New("wrong")
	if _, err := m.Measure(func() error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
	tid := unix.Gettid()
	must(t, m.Close())
	must(t, unix.SchedGetaffinity(tid, &after))
	if after != before {
		t.Errorf("on %d CPUs before, on %d after", before.Count(), after.Count())
	}
}
