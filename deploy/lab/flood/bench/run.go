package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"brickhouse/deploy/lab/flood"
)

// Options say what is measured.
type Options struct {
	Only    []string      // names of receivers; empty: all
	Bans    int           // sources banned, and sending
	Rounds  int           // how often each receiver has its turn: what changes on the machine meanwhile then hits them all
	Windows int           // per turn; at least four in all turns together
	Window  time.Duration // length of each
	SendCPU int
	RecvCPU int
}

// Bounds of the options.
const (
	leastWindows = 4
	mostWindows  = 50
	mostRounds   = 10
	mostWindow   = 10 * time.Second
	warmUp       = 500 * time.Millisecond
	fewPackets   = 1000 // in a window: not worth a figure
)

// Names are the receivers that can be measured.
func Names() []string {
	var all []string
	for _, r := range receivers() {
		all = append(all, r.name)
	}
	return all
}

// Check tells the first fault.
func (o Options) Check() error {
	for _, n := range o.Only {
		if !slices.Contains(Names(), n) {
			return fmt.Errorf("no receiver %q; there are %s", n, strings.Join(Names(), ", "))
		}
	}
	switch {
	case o.Bans < 1 || o.Bans > MaxSources:
		return fmt.Errorf("%d bans: from 1 to %d", o.Bans, MaxSources)
	case o.Rounds < 1 || o.Rounds > mostRounds:
		return fmt.Errorf("%d rounds: from 1 to %d", o.Rounds, mostRounds)
	case o.Windows < 1 || o.Windows > mostWindows || o.Windows*o.Rounds < leastWindows:
		return fmt.Errorf("%d windows: at most %d, in all rounds together at least %d", o.Windows, mostWindows, leastWindows)
	case o.Window <= 0 || o.Window > mostWindow:
		return fmt.Errorf("a window of %s: at most %s", o.Window, mostWindow)
	case o.SendCPU == o.RecvCPU || min(o.SendCPU, o.RecvCPU) < 0 || max(o.SendCPU, o.RecvCPU) >= runtime.NumCPU():
		return fmt.Errorf("CPUs %d and %d: two different ones of %d are needed", o.SendCPU, o.RecvCPU, runtime.NumCPU())
	}
	return nil
}

// Result is what one receiver cost.
type Result struct {
	Name      string
	Note      string
	Err       error // it was not measured
	Unit      string
	Bans      int
	Min       float64 // of the windows, per packet
	Median    float64
	Rate      float64 // packets a second that it took, median
	Busy      float64 // share of the CPU that it had, median
	Delivered uint64  // packets that were to be dropped and were not

	windows []sample
}

// Run measures the receivers and tells before each turn whose it is. It needs root. A receiver that can't be measured is a Result with an
// error and does not end the run. If ctx ends it, the results so far are returned with its error.
func Run(ctx context.Context, o Options, tell func(name string, round int)) (all []Result, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	b, err := newBed(o.SendCPU, o.RecvCPU)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var rs []receiver
	for _, r := range receivers() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, r.name) {
			continue
		}
		res := Result{Name: r.name, Note: r.note, Bans: o.Bans}
		if r.limit > 0 {
			res.Bans = min(o.Bans, r.limit)
		}
		rs, all = append(rs, r), append(all, res)
	}
	for i := range o.Rounds * len(rs) {
		r, res := rs[i%len(rs)], &all[i%len(rs)]
		if ctx.Err() == nil && res.Err == nil {
			tell(r.name, i/len(rs)+1)
			res.Err = b.measure(ctx, r, o, res)
		}
	}
	for i := range all {
		all[i].sum()
	}
	return all, ctx.Err()
}

// sum makes the figures of the windows.
func (r *Result) sum() {
	if len(r.windows) == 0 && r.Err == nil {
		r.Err = errors.New("the run ended before its turn")
	}
	if r.Err != nil {
		return
	}
	var cost, rate, busy []float64
	for _, s := range r.windows {
		cost, rate, busy = append(cost, s.used/s.packets), append(rate, s.packets/s.took), append(busy, s.onCPU/s.took)
	}
	r.Min, r.Median, r.Rate, r.Busy = slices.Min(cost), median(cost), median(rate), median(busy)
}

// measure floods one receiver.
func (b *bed) measure(ctx context.Context, r receiver, o Options, res *Result) (err error) {
	w, err := b.wire()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	run, err := r.start(w, res.Bans)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.stop()) }()
	send, done, err := w.sender(r, res.Bans)
	if err != nil {
		return err
	}
	defer done()
	m, err := newMeter(append([]int{w.thread}, run.threads...))
	if err != nil {
		return err
	}
	defer m.close()
	res.Unit = m.unit

	sending, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- b.from.Do(func() error { return send(sending) }) }()
	err = w.windows(ctx, m, o, r.open, res)
	stop()
	return errors.Join(err, <-sent)
}

// sender is what floods the receiver: the kernel's generator, or where a rate is wanted, which that can't keep, a packet socket.
func (w *wire) sender(r receiver, n int) (send func(context.Context) error, done func(), err error) {
	to := target4
	if r.v6 {
		to = target6
	}
	if r.rate > 0 {
		f := flood.Flood{Interface: w.from, MAC: w.dst, To: to, Rate: r.rate, CPU: w.bed.sendCPU,
			Sources: func(x *rand.Rand) netip.AddrPort { return netip.AddrPortFrom(source4(x.IntN(n)), sourcePort) }}
		return func(ctx context.Context) error {
			first()
			_, err := f.Run(ctx)
			return err
		}, func() {}, nil
	}
	g, err := newGenerator(w.index, w.src, w.dst, to, n)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) error { return g.run(ctx, w.bed.sendCPU) }, g.close, nil
}

// windows takes the figures while the flood is on.
func (w *wire) windows(ctx context.Context, m *meter, o Options, open bool, res *Result) error {
	pause(ctx, warmUp)
	first, err := w.arrival()
	if err != nil {
		return err
	}
	for range o.Windows {
		s, err := w.window(ctx, m, o.Window)
		if err != nil {
			return err
		}
		if s.packets < fewPackets {
			return fmt.Errorf("only %.0f packets arrived in %s", s.packets, o.Window)
		}
		res.windows = append(res.windows, s)
	}
	last, err := w.arrival()
	if err != nil {
		return err
	}
	if !open {
		res.Delivered += last.delivered - first.delivered
	}
	return nil
}

// sample is one window: seconds, packets, and what was used of the CPU, in the meter's unit and in seconds.
type sample struct{ took, packets, used, onCPU float64 }

func (w *wire) window(ctx context.Context, m *meter, length time.Duration) (sample, error) {
	a0, err0 := w.arrival()
	c0, err1 := onCPU(m.threads)
	u0, err2 := m.read()
	start := time.Now()
	pause(ctx, length)
	u1, err3 := m.read()
	c1, err4 := onCPU(m.threads)
	took := time.Since(start)
	a1, err5 := w.arrival()
	return sample{
		took: took.Seconds(), packets: float64(a1.packets - a0.packets), used: float64(u1 - u0),
		onCPU: float64(c1-c0) / float64(time.Second),
	}, errors.Join(err0, err1, err2, err3, err4, err5, ctx.Err())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
