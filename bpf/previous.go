package bpf

import (
	"encoding/binary"
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

// previous are the layouts before this one, the latest first. Their bans move into the tables of this one, and their links change over to
// this program without a packet passing unfiltered; then their pins go.
//
// Layout v1 held bans in stock maps, keyed by address: host4 and host6 by host, site6 by IPv6 /64, network4 and network6 by prefix. A
// value begins with the end on CLOCK_MONOTONIC in ns, all ones for never. A ban from there has no list.
//
// Layout v3 had no streams, and fewer counters.
//
// Layout v2 had the tables of this one but for that of listed hosts, so there were four in a generation; and nothing but ports told where
// media ports are closed.
var previous = [...]string{"v3", "v2", "v1"}

func (f *Filter) previousDirs() (dirs [len(previous)]string) {
	for i, v := range previous {
		dirs[i] = filepath.Join(filepath.Dir(f.dir), v)
	}
	return dirs
}

// previousBans reads the bans of the previous layouts, and makes sure that no process of such a version has them open.
func (f *Filter) previousBans() ([]Ban, error) {
	dirs := f.previousDirs()
	var all []Ban
	for i, read := range [len(previous)]func(string) ([]Ban, error){bansV3, bansV2, bansV1} {
		bans, err := readPrevious(dirs[i], read)
		if err != nil {
			return nil, err
		}
		all = append(all, bans...)
	}
	return all, nil
}

func readPrevious(dir string, read func(string) ([]Ban, error)) ([]Ban, error) {
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
	return read(dir)
}

// bansV3 reads the bans of hosts and IPv6 /64s.
func bansV3(dir string) ([]Ban, error) {
	return bansOf(dir, tables, table.Hosts4, table.Hosts6, table.Listed4)
}

// tablesV2 is how many tables a generation of layout v2 had: hosts of IPv4 and IPv6 came first, as they do now.
const tablesV2 = 4

// bansV2 reads the bans of IPv4 hosts and IPv6 /64s.
func bansV2(dir string) ([]Ban, error) { return bansOf(dir, tablesV2, table.Hosts4, table.Hosts6) }

// bansOf reads the bans in some tables of the generation in force, of so many.
func bansOf(dir string, tables uint32, which ...uint32) ([]Ban, error) {
	config, err := ebpf.LoadPinnedMap(filepath.Join(dir, "config"), nil)
	if errors.Is(err, fs.ErrNotExist) { // it was never loaded to the end
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("bans of the previous layout: %w", err)
	}
	defer config.Close()
	all, err := ebpf.LoadPinnedMap(filepath.Join(dir, "tables"), nil)
	if err != nil {
		return nil, fmt.Errorf("bans of the previous layout: %w", err)
	}
	defer all.Close()
	settings, err := config.LookupBytes(uint32(0))
	if err != nil {
		return nil, fmt.Errorf("settings of the previous layout: %w", err)
	}
	if len(settings) < 4 {
		return nil, fmt.Errorf("settings of the previous layout have %d bytes: %w", len(settings), ErrLayout)
	}
	return bansIn(all, binary.NativeEndian.Uint32(settings)&1*tables, which...)
}

// bansV1 reads all bans.
func bansV1(dir string) ([]Ban, error) {
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

// dropPrevious ends what is left of the previous layouts.
func (f *Filter) dropPrevious() error {
	var errs []error
	for _, dir := range f.previousDirs() {
		if _, err := os.Stat(dir); err == nil {
			errs = append(errs, removePins(dir))
		} else if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("pins of the previous layout: %w", err))
		}
	}
	return errors.Join(errs...)
}
