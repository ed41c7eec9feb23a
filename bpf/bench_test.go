package bpf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"brickhouse/bpf/filterbench"
	"brickhouse/bpf/table"
)

// benched is the filter as filterbench sees it.
type benched struct{ f *Filter }

func (b *benched) Name() string { return "filter" }

func (b *benched) Program() *ebpf.Program { return b.f.Program() }

func (b *benched) Close() error {
	if b.f == nil {
		return nil
	}
	err := b.f.Close()
	b.f = nil
	return err
}

// Fill replaces the filter by a new one.
func (b *benched) Fill(l filterbench.Load) (time.Duration, error) {
	err := b.Close()
	if err != nil {
		return 0, err
	}
	if b.f, err = Load(Options{}); err != nil {
		return 0, err
	}
	s := b.f.Sources()
	if err := errors.Join(s.SetAllow(l.Allowed), s.SetList(table.FirstBan+1, l.Networks), s.Rebuild()); err != nil {
		return 0, err
	}
	hosts := append(append(l.Hosts[:0:0], l.Hosts...), l.Sites...)
	slices.SortFunc(hosts, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }) // as lists come
	start := time.Now()
	if err := s.SetList(table.FirstBan, hosts); err != nil {
		return 0, err
	}
	took := time.Since(start)
	ports := Ports{SIPUDP: []uint16{5060}, SIPTCP: []uint16{5061}}
	if l.Pinholes {
		ports.MediaFirst, ports.MediaLast = filterbench.FirstMediaPort, filterbench.FirstMediaPort+filterbench.MediaPorts-1
	}
	b.f.SetPorts(ports)
	for _, p := range l.Open {
		b.f.OpenPort(p, true)
	}
	return took, b.f.Set(benchSettings(l))
}

// benchSettings has samples on as the guard has them under a flood.
func benchSettings(l filterbench.Load) Settings {
	s := Settings{Samples: 100, Interval: 1 << 17, Monitored: map[Reason]bool{ReasonNotSIP: !l.Plausibility}}
	switch l.Limits {
	case filterbench.LimitsWide:
		wide := Rate{PerSecond: 1e9, Burst: 1 << 30}
		s.Source, s.Known, s.Limited, s.Strangers, s.Connections = wide, wide, wide, wide, wide
	case filterbench.LimitsTight:
		s.Source = Rate{PerSecond: filterbench.SourceRate, Burst: filterbench.SourceBurst}
		s.Strangers = Rate{PerSecond: filterbench.AllRate, Burst: filterbench.AllBurst}
	}
	return s
}

func (b *benched) Memory() (filterbench.Memory, error) {
	o := &b.f.objs
	var m filterbench.Memory
	var hosts [2]uint64
	all := []*ebpf.Map{o.Tables, o.Dir4, o.Dir6, o.Dir6w, o.Deep6, o.Ports, o.Own, o.Cells, o.Strangers, o.Config, o.Cpus, o.Events, o.Streams, o.Flows}
	for i := range uint32(2 * table.Tables) {
		var inner *ebpf.Map
		err := o.Tables.Lookup(i, &inner)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue
		}
		if err != nil {
			return m, err
		}
		defer inner.Close()
		all = append(all, inner)
		if t := i % table.Tables; t == table.Hosts4 || t == table.Listed4 {
			n, err := filterbench.MemoryOf(inner)
			if err != nil {
				return m, err
			}
			hosts[i/table.Tables] += n
		}
	}
	m.Hosts = max(hosts[0], hosts[1]) // the last generation's goes a little later
	var err error
	m.All, err = filterbench.MemoryOf(all...)
	return m, err
}

// filterTable prints the filter's costs to w.
func filterTable(t testing.TB, w io.Writer, e filterbench.Effort) {
	t.Helper()
	if os.Geteuid() != 0 {
		fmt.Fprintln(w, "The filter's table needs root: programs are loaded into the kernel.")
		t.SkipNow()
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := filterbench.NewMeter()
	check(err)
	b := &benched{}
	check(filterbench.NewBench(m, e).Table(w, b))
	check(b.Close())
	check(m.Close())
}

// BenchmarkTable prints what each kind of packet costs, with the goals, and beside a baseline of stock maps. It takes some minutes;
// with FILTERBENCH=quick it takes seconds and its figures are worth nothing.
func BenchmarkTable(b *testing.B) {
	e := filterbench.Full()
	if os.Getenv("FILTERBENCH") == "quick" {
		e = filterbench.Quick()
	}
	for b.Loop() {
		fmt.Println()
		filterTable(b, os.Stdout, e)
	}
}

// TestTable makes every row of the table with few packets, in small tables: each packet has the fate that its row says.
func TestTable(t *testing.T) {
	filterTable(t, t.Output(), filterbench.Quick())
}
