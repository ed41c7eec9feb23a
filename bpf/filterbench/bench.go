package filterbench

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// Effort is how much is measured.
type Effort struct {
	Repeat int // packets in a round
	Slow   int // packets in a round of what costs more than slow; these would take minutes
	Unit   int // packets in a round of drop
	Rounds int // of which the median counts
	Warm   int // packets before the first round
	Sample int // packets that are looked at one by one
	Shrink int // tables are so many times smaller than the rows say
}

// slow is the cost of a packet, in ns, from which on a table of LRU_HASH or LPM_TRIE takes longer than it is worth.
const slow = 150

// Full is the effort of the table: 5 × 5 M packets.
func Full() Effort {
	return Effort{Repeat: 5_000_000, Slow: 1_000_000, Unit: 500_000, Rounds: 5, Warm: 1_000_000, Sample: 2000, Shrink: 1}
}

// Quick proves that all works, and measures nothing worth to be told.
func Quick() Effort {
	return Effort{Repeat: 5000, Slow: 5000, Unit: 5000, Rounds: 1, Warm: 50_000, Sample: 300, Shrink: 500}
}

// Cost is the median cost of a packet.
type Cost struct {
	NS           float64        // as the Meter's Unit says
	Ratio        float64        // to drop, round by round
	Net          float64        // the same without the cost of the kernel's own loop around each repeat
	Drop         float64        // as NS
	Loop         float64        // as NS: the loop with a program that drops, and no generator
	Instructions float64        // 0 without a PMU
	Acted        map[uint32]int // XDP actions of the sample
}

// Bench measures programs side by side.
type Bench struct {
	meter  *Meter
	effort Effort
}

// NewBench is a bench on m.
func NewBench(m *Meter, e Effort) *Bench { return &Bench{m, e} }

// contender is a program with the generator that can call it.
type contender struct {
	*generator
	prog   *ebpf.Program
	repeat int
	rounds []round
}

// round is what a packet took in one round.
type round struct{ loop, drop, subject Spent }

// Compare measures programs with the same traffic, by turns, each after drop. An error, if one of them does not act as the traffic wants.
func (b *Bench) Compare(t Traffic, programs ...*ebpf.Program) (_ []Cost, err error) {
	costs := make([]Cost, len(programs))
	all := make([]contender, 0, len(programs))
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.Close())
		}
	}()
	for i, p := range programs {
		g, err := generatorFor(t, p)
		if err != nil {
			return nil, err
		}
		all = append(all, contender{generator: g, prog: p})
		if err := b.warm(t, &all[i]); err != nil {
			return nil, err
		}
		want := t
		if t.FirstOnly && i > 0 {
			want.Want = Any
		}
		if costs[i].Acted, err = b.sample(want, g); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	for range b.effort.Rounds {
		for i := range all {
			r, err := b.round(&all[i])
			if err != nil {
				return nil, err
			}
			all[i].rounds = append(all[i].rounds, r)
		}
	}
	for i, c := range all {
		costs[i].sum(c.rounds)
	}
	return costs, nil
}

func (c *Cost) sum(rounds []round) {
	over := func(of func(round) float64) float64 { return median(each(rounds, of)) }
	c.NS = over(func(r round) float64 { return r.subject.NS })
	c.Drop = over(func(r round) float64 { return r.drop.NS })
	c.Loop = over(func(r round) float64 { return r.loop.NS })
	c.Ratio = over(func(r round) float64 { return r.subject.NS / r.drop.NS })
	c.Net = over(func(r round) float64 { return (r.subject.NS - r.loop.NS) / (r.drop.NS - r.loop.NS) })
	c.Instructions = over(func(r round) float64 { return r.subject.Instructions })
}

// sample looks at single packets.
func (b *Bench) sample(t Traffic, g *generator) (map[uint32]int, error) {
	acted := map[uint32]int{}
	for range b.effort.Sample {
		ret, _, err := g.run(1)
		if err != nil {
			return nil, err
		}
		acted[ret]++
	}
	atLeast := t.AtLeast
	if atLeast == 0 {
		atLeast = 1
	}
	if t.Want == Any {
		if acted[Drop]+acted[Pass] != b.effort.Sample {
			return nil, fmt.Errorf("acted %v, want drop or pass", acted)
		}
	} else if float64(acted[t.Want]) < atLeast*float64(b.effort.Sample) {
		return nil, fmt.Errorf("acted %v, want %d for %.0f %% of the packets", acted, t.Want, 100*atLeast)
	}
	return acted, nil
}

// warm fills the caches, and finds out how many packets are to be had for the time.
func (b *Bench) warm(t Traffic, c *contender) error {
	n := b.effort.Warm
	if t.AtLeast == 0 {
		n /= 5 // no limit has to be reached first
	}
	s, err := b.spend(c.generator, n)
	c.repeat = b.effort.Repeat
	if s.NS > slow {
		c.repeat = b.effort.Slow
	}
	return err
}

// round measures the loop, drop and c, one after the other.
func (b *Bench) round(c *contender) (r round, err error) {
	if r.loop, err = b.loop(c.generator); err != nil {
		return r, err
	}
	if err := c.aim(c.objs.Drop); err != nil {
		return r, err
	}
	if r.drop, err = b.spend(c.generator, b.effort.Unit); err != nil {
		return r, err
	}
	if err := c.aim(c.prog); err != nil {
		return r, err
	}
	r.subject, err = b.spend(c.generator, c.repeat)
	return r, err
}

// loop measures what the test run itself takes: where returns are dear (mitigations of Spectre and SRSO) it is most of drop.
func (b *Bench) loop(g *generator) (Spent, error) {
	n := b.effort.Unit
	s, err := b.meter.Measure(func() error {
		_, err := g.objs.Drop.Run(&ebpf.RunOptions{Data: g.frame, Repeat: uint32(n)})
		return err
	})
	return Spent{NS: s.NS / float64(n), Instructions: s.Instructions / float64(n)}, err
}

// spend makes n packets, and returns what one took.
func (b *Bench) spend(g *generator, n int) (Spent, error) {
	var made int
	s, err := b.meter.Measure(func() (err error) {
		_, made, err = g.run(n)
		return err
	})
	return Spent{NS: s.NS / float64(made), Instructions: s.Instructions / float64(made)}, err
}

// Yardsticks measures the unit of the table itself, drop, and what reading the headers costs, which judges nothing.
func (b *Bench) Yardsticks(t Traffic) (drop, parse Cost, err error) {
	t.Want = Any
	g, err := newGenerator(t, true)
	if err != nil {
		return Cost{}, Cost{}, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	costs, err := b.Compare(t, g.objs.Drop, g.objs.Parse)
	if err != nil {
		return Cost{}, Cost{}, err
	}
	return costs[0], costs[1], nil
}

func each[T, U any](in []T, of func(T) U) []U {
	out := make([]U, len(in))
	for i, v := range in {
		out[i] = of(v)
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}
