package bench

import (
	"fmt"
	"net/netip"

	"brickhouse/bpf"
)

// ours is the border's own filter, not pinned, with bans of n hosts. This file is all that knows package bpf.
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
	bans := make([]bpf.Ban, n)
	for i := range bans {
		a := source(i)
		bans[i] = bpf.Ban{Prefix: netip.PrefixFrom(a, a.BitLen()), Until: bpf.Never}
	}
	if err := f.BanAll(bans); err != nil {
		return running{}, fmt.Errorf("banning %d sources: %w", n, err)
	}
	err = w.bed.to.Do(func() error {
		_, err := f.Attach(w.to, bpf.ModeNative)
		return err
	})
	return running{stop: f.Detach}, err
}

// oursLimit is how many hosts the filter takes.
const oursLimit = bpf.MaxBans
