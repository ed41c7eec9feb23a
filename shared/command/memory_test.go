package command

import (
	"errors"
	"math"
	"testing"
)

func TestGrowthGivesTheSameRoomToFewAndToMany(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, mostGrow},
		{1 << 20, mostGrow},
		{20 << 20, 800},
		{80 << 20, 200},
		{160 << 20, 100},
		{10 << 30, leastGrow},
	} {
		if got := growth(c.live); got != c.want {
			t.Errorf("growth(%d MiB) = %d, want %d", c.live>>20, got, c.want)
		}
	}
}

func TestMemoryLimitIsTheNarrowest(t *testing.T) {
	const (
		host  = "MemFree: 1 kB\nMemTotal:       16777216 kB\n"
		v1    = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
		v2    = "/sys/fs/cgroup/memory.max"
		giant = "9223372036854771712\n" // what version 1 says where there is no limit
	)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, math.MaxInt64},
		{"host alone", map[string]string{"/proc/meminfo": host}, 8 << 30},
		{"no limit, version 2", map[string]string{"/proc/meminfo": host, v2: "max\n"}, 8 << 30},
		{"no limit, version 1", map[string]string{"/proc/meminfo": host, v1: giant}, 8 << 30},
		{"group of 1 GB", map[string]string{"/proc/meminfo": host, v2: "1000000000\n"}, 900_000_000},
		{"unreadable", map[string]string{"/proc/meminfo": "MemTotal: x kB\n"}, math.MaxInt64},
	} {
		read := func(path string) ([]byte, error) {
			if s, ok := c.files[path]; ok {
				return []byte(s), nil
			}
			return nil, errors.New("no such file")
		}
		if got := memoryLimit(read); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
