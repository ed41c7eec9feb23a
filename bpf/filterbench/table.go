package filterbench

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
)

// Result is a measured row.
type Result struct {
	Row
	Bans     int
	Ours     Cost
	Baseline Cost
	Skipped  string // why there is no Ours
}

// Run measures all stages of ours and of the baseline by turns, and hands out each result when it is there.
func (b *Bench) Run(ours Subject, out func(Result)) error {
	base := &Baseline{}
	err := b.run(ours, base, out)
	return errors.Join(err, base.Close())
}

func (b *Bench) run(ours Subject, base *Baseline, out func(Result)) error {
	for _, s := range Stages(b.effort) {
		l := NewLoad(s.Bans, s.Networks)
		if s.Set != nil {
			s.Set(&l)
		}
		if _, err := base.Fill(l); err != nil {
			return err
		}
		_, full := ours.Fill(l)
		if full != nil && !cannot(full) {
			return fmt.Errorf("filling %s with %d bans: %w", ours.Name(), s.Bans, full)
		}
		for _, row := range s.Rows {
			r, err := b.row(row, ours, base, full)
			if err != nil {
				return fmt.Errorf("%s, %d bans: %w", row.Name, s.Bans, err)
			}
			r.Bans = s.Bans
			out(r)
		}
	}
	return nil
}

func cannot(err error) bool { return errors.Is(err, ErrCapacity) || errors.Is(err, ErrFeature) }

func (b *Bench) row(row Row, ours Subject, base *Baseline, full error) (Result, error) {
	r := Result{Row: row}
	var programs []*ebpf.Program
	var costs []*Cost
	if full == nil {
		programs, costs = append(programs, ours.Program()), append(costs, &r.Ours)
	} else {
		r.Skipped = full.Error()
		if row.Traffic.FirstOnly { // ours would be the first
			row.Traffic.Want = Any
		}
	}
	if !row.alone() {
		programs, costs = append(programs, base.Program()), append(costs, &r.Baseline)
	}
	measured, err := b.Compare(row.Traffic, programs...)
	for i, c := range measured {
		*costs[i] = c
	}
	return r, err
}

// Bulk is what it takes to fill a filter.
type Bulk struct {
	Bans    int
	Load    time.Duration // into an empty filter
	Replace time.Duration // by as many others
	Memory  Memory
}

// MeasureBulk fills s with n IPv4 hosts, and then with n others.
func MeasureBulk(s Subject, n int) (Bulk, error) {
	k := Bulk{Bans: n}
	if _, err := s.Fill(Load{}); err != nil {
		return k, err
	}
	var err error
	if k.Load, err = s.Fill(hostsOnly(0, n)); err != nil {
		return k, err
	}
	if k.Replace, err = s.Fill(hostsOnly(n, n)); err != nil {
		return k, err
	}
	k.Memory, err = s.Memory()
	return k, err
}

func hostsOnly(first, n int) Load { return Load{Hosts: numbered(host4, first, n)} }

// Table measures everything and prints it to w, row by row.
func (b *Bench) Table(w io.Writer, ours Subject) error {
	p := printer{w: w, ours: map[string]Result{}}
	p.say("Cost of a packet: %s.\n", b.meter.Unit())
	p.say("\"drop\" is the generator with a bare XDP_DROP, \"net\" what the figure before is without the test run's own loop; medians of %d\n"+
		"rounds of %d packets (dear ones: %d), by turns. Goals in brackets: at most × drop; at least × cheaper; ! is missed.\n",
		b.effort.Rounds, b.effort.Repeat, b.effort.Slow)
	if b.effort.Shrink > 1 {
		p.say("Too few packets in too small tables: only that each packet has its right fate is shown here.\n")
	}
	p.say("\n")
	if err := b.yardsticks(&p); err != nil {
		return err
	}
	p.say("\n%-34s %8s %8s %7s %-6s %6s  %8s %7s %-5s %6s\n", "packet", "bans", "ns", "× drop", "goal", "net", "baseline", "cheaper", "goal", "net")
	if err := b.Run(ours, p.row); err != nil {
		return err
	}
	if err := b.foreign(&p, ours); err != nil {
		return err
	}
	p.say("\n%-34s %8s %10s %10s %10s %10s\n", "filling", "bans", "load", "rate", "replace", "bytes/ban")
	for _, s := range []Subject{ours, &Baseline{}} {
		for _, n := range []int{100_000, million, 4 * million} {
			if err := p.bulk(s, n/b.effort.Shrink); err != nil {
				return err
			}
		}
		if s != ours {
			p.err = errors.Join(p.err, s.Close())
		}
	}
	return p.err
}

func (b *Bench) yardsticks(p *printer) error {
	for _, version := range []int{4, 6} {
		drop, parse, err := b.Yardsticks(Traffic{Version: version, Sources: Spoofed()})
		if err != nil {
			return err
		}
		p.say("IPv%d: the loop alone %.1f ns, drop %.1f, reading the headers %.1f (%.1f × drop)\n",
			version, drop.Loop, drop.NS, parse.NS, parse.Ratio)
	}
	return nil
}

// xdpFilterGoal is how much cheaper than with xdp-filter a packet has to be at least: a tenth dearer, for all that it does more.
const xdpFilterGoal = 0.9

// foreign compares with xdp-filter at its largest, if it is installed.
func (b *Bench) foreign(p *printer, ours Subject) error {
	x, err := OpenXDPFilter()
	if err != nil {
		p.say("\nnot compared with xdp-filter: %v\n", err)
		return nil
	}
	defer func() { p.err = errors.Join(p.err, x.Close()) }()
	n := xdpFilterBans / b.effort.Shrink
	l := NewLoad(n, manyNetworks/b.effort.Shrink)
	_, err1 := ours.Fill(l)
	_, err2 := x.Fill(l)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	p.say("\n%-34s %8s %8s %7s %-6s %6s  %8s %7s\n", "against xdp-filter", "bans", "ns", "× drop", "goal", "net", "theirs", "cheaper")
	for _, row := range []Row{
		{Name: "banned host", Traffic: ipv4(Banned(n), Drop)},
		{Name: strangerRow, Traffic: ipv4(Legit(10_000), Pass)},
	} {
		costs, err := b.Compare(row.Traffic, ours.Program(), x.Program())
		if err != nil {
			return err
		}
		o, f := costs[0], costs[1]
		p.say("%-34s %8d %8.1f %7.2f %-6s %6.1f  %8.1f %7.1f %-5s\n", row.Name, n, o.NS, o.Ratio, "", o.Net, f.NS, f.NS/o.NS,
			goal(f.NS >= o.NS*xdpFilterGoal, xdpFilterGoal))
	}
	return nil
}

// printer writes the table, and keeps the first error of it.
type printer struct {
	w    io.Writer
	ours map[string]Result // the rows that others go on top of
	err  error
}

func (p *printer) say(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format, args...); err != nil && p.err == nil {
		p.err = fmt.Errorf("printing the table: %w", err)
	}
}

func (p *printer) row(r Result) {
	if r.Skipped != "" {
		p.say("%-34s %8d %8s %7s %-6s %6s  %8s\n", r.Name, r.Bans, "-", "-", "", "-", figure(r.Baseline.NS))
		return
	}
	p.ours[r.Name] = r
	ratio, net := r.Ours.Ratio, r.Ours.Net
	if r.Over != "" {
		ratio -= p.ours[r.Over].Ours.Ratio
		net -= p.ours[r.Over].Ours.Net
	}
	p.say("%-34s %8d %8.1f %7.2f %-6s %6.1f  ", r.Name, r.Bans, r.Ours.NS, ratio, goal(ratio <= r.Goal, r.Goal), net)
	if r.alone() {
		p.say("%8s\n", figure(0))
		return
	}
	cheaper := r.Baseline.NS / r.Ours.NS
	netCheaper := (r.Baseline.NS - r.Baseline.Loop) / (r.Ours.NS - r.Ours.Loop)
	p.say("%8s %7.1f %-5s %6.1f\n", figure(r.Baseline.NS), cheaper, goal(cheaper >= r.Row.Baseline, r.Row.Baseline), netCheaper)
}

// figure is a cost, or a dash where none was measured.
func figure(ns float64) string {
	if ns == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", ns)
}

// goal is a goal, with a mark if it is missed.
func goal(met bool, of float64) string {
	switch {
	case of == 0:
		return ""
	case met:
		return fmt.Sprintf("(%g)", of)
	}
	return fmt.Sprintf("(%g)!", of)
}

func (p *printer) bulk(s Subject, n int) error {
	k, err := MeasureBulk(s, n)
	if cannot(err) {
		p.say("%-34s %8d          - %v\n", s.Name(), n, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("filling %s: %w", s.Name(), err)
	}
	p.say("%-34s %8d %7.1f ms %6.1f M/s %7.1f ms %10.1f\n", s.Name(), n, ms(k.Load), float64(n)/k.Load.Seconds()/1e6, ms(k.Replace),
		float64(k.Memory.Hosts)/float64(n))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
