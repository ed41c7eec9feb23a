package bpf

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"brickhouse/bpf/filterbench"
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
	if n := max(len(l.Hosts), len(l.Sites)); n > MaxBans {
		return 0, fmt.Errorf("%w: %d bans, %d at most", filterbench.ErrCapacity, n, MaxBans)
	}
	if l.Plausibility || l.Pinholes || l.Limits == filterbench.LimitsTight {
		return 0, filterbench.ErrFeature
	}
	err := b.Close()
	if err != nil {
		return 0, err
	}
	if b.f, err = Load(Options{}); err != nil {
		return 0, err
	}
	var bans []Ban
	for _, list := range [][]netip.Prefix{l.Hosts, l.Sites, l.Networks} {
		for _, p := range list {
			bans = append(bans, Ban{p, Never})
		}
	}
	start := time.Now()
	if err := b.f.BanAll(bans); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, b.f.SetAllowed(l.Allowed)
}

func (b *benched) Memory() (filterbench.Memory, error) {
	o := &b.f.objs
	hosts, err := filterbench.MemoryOf(o.Host4)
	if err != nil {
		return filterbench.Memory{}, err
	}
	others, err := filterbench.MemoryOf(o.Host6, o.Site6, o.Network4, o.Network6, o.Allow4, o.Allow6, o.Counts, o.Config, o.Budgets, o.Events)
	return filterbench.Memory{Hosts: hosts, All: hosts + others}, err
}

// table prints the filter's costs to w.
func table(t testing.TB, w io.Writer, e filterbench.Effort) {
	t.Helper()
	if os.Geteuid() != 0 {
		fmt.Fprintln(w, "The filter's table needs root: programs are loaded into the kernel.")
		t.SkipNow()
	}
	m, err := filterbench.NewMeter()
	must(t, err)
	b := &benched{}
	must(t, filterbench.NewBench(m, e).Table(w, b))
	must(t, b.Close())
	must(t, m.Close())
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
		table(b, os.Stdout, e)
	}
}

// TestTable makes every row of the table with few packets, in small tables: each packet has the fate that its row says.
func TestTable(t *testing.T) {
	table(t, t.Output(), filterbench.Quick())
}
