package bench

import (
	"errors"
	"fmt"
	"net/netip"

	"brickhouse/bpf"
	"brickhouse/bpf/table"
)

// ours is the border's own filter, not pinned, with bans of n hosts and all limits on. This file is all that knows package bpf.
func ours(w *wire, n int, source func(int) netip.Addr) (_ running, err error) {
	f, err := bpf.Load(bpf.Options{})
	if err != nil {
		return running{}, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first fault is told
		}
	}()
	bans := make([]netip.Prefix, n)
	for i := range bans {
		a := source(i)
		bans[i] = netip.PrefixFrom(a, a.BitLen())
	}
	f.SetPorts(bpf.Ports{SIPUDP: []uint16{5060}, SIPTCP: []uint16{5061}, MediaFirst: 16384, MediaLast: 32767})
	limit := bpf.Rate{PerSecond: 50, Burst: 200}
	err = errors.Join(
		f.Set(bpf.Settings{Samples: 100, Interval: 1 << 17, Source: limit, Strangers: bpf.Rate{PerSecond: 5000, Burst: 10_000}, Connections: limit}),
		f.Sources().SetList(table.FirstBan, bans), f.Sources().Rebuild())
	if err != nil {
		return running{}, fmt.Errorf("banning %d sources: %w", n, err)
	}
	err = w.bed.to.Do(func() error {
		_, err := f.Attach(w.to, bpf.ModeNative)
		return err
	})
	return running{stop: f.Detach}, err
}
