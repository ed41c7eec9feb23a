package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// previous is the layout before this one. Its bans move into the tables of this one, and its links change over to this program
// without a packet passing unfiltered; then its pins go.
//
// Layout v1 held bans in stock maps, keyed by address: host4 and host6 by host, site6 by IPv6 /64, network4 and network6 by prefix. A
// value begins with the end on CLOCK_MONOTONIC in ns, all ones for never. A ban from there has no list.
const previous = "v1"

func (f *Filter) previousDir() string { return filepath.Join(filepath.Dir(f.dir), previous) }

// previousBans reads the bans of the previous layout, and makes sure that no process of that version has them open.
func (f *Filter) previousBans() ([]Ban, error) {
	dir := f.previousDir()
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pins of the previous layout: %w", permitted(err))
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("pin directory %s: %w; stop the older version first", dir, ErrInUse)
	}
	var all []Ban
	add := func(a []byte, bits int, until uint64) {
		if addr, ok := netip.AddrFromSlice(a); ok {
			t := table.Forever
			if until != ^uint64(0) {
				t = table.TickOf(time.Duration(until))
			}
			all = append(all, Ban{Prefix: netip.PrefixFrom(addr, bits).Masked(), Until: t})
		}
	}
	return all, errors.Join(
		eachPrevious(dir, "host4", func(k [4]byte, u uint64) { add(k[:], 32, u) }),
		eachPrevious(dir, "host6", func(k [16]byte, u uint64) { add(k[:], 128, u) }),
		eachPrevious(dir, "site6", func(k [8]byte, u uint64) { add(append(k[:], make([]byte, 8)...), 64, u) }),
		eachPrevious(dir, "network4", func(k [8]byte, u uint64) { add(k[4:], int(k[0]), u) }),
		eachPrevious(dir, "network6", func(k [20]byte, u uint64) { add(k[4:], int(k[0]), u) }),
	)
}

// eachPrevious tells the entries of a map of the previous layout; none if it is not there.
func eachPrevious[K any](dir, name string, do func(K, uint64)) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bans of the previous layout: %w", err)
	}
	defer m.Close()
	var k K
	var v struct{ Until, Rest uint64 }
	it := m.Iterate()
	for it.Next(&k, &v) {
		do(k, v.Until)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("bans of the previous layout: %w", err)
	}
	return nil
}

// dropPrevious ends what is left of the previous layout.
func (f *Filter) dropPrevious() error {
	if _, err := os.Stat(f.previousDir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return removePins(f.previousDir())
}
