package command

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// The garbage collector runs each time the heap has grown by GOGC percent. With Go's 100 a program that holds little and makes much
// garbage, as ours do between calls, collects many times a second. So we give it room: headroom above what lives, and never less than
// Go's own measure. What lives may be counted in bytes per call; the room is the same for one call and for ten thousand.
const (
	headroom   = 160 << 20
	leastGrow  = 100 // percent; Go's default
	mostGrow   = 1600
	governTick = 2 * time.Second
	shareOfAll = 0.5 // of the host's memory: the other program may run beside us
	shareOfOur = 0.9 // of a limit that is ours alone
)

// growth is the percentage to give the collector when live bytes live.
func growth(live uint64) int {
	if live == 0 {
		return mostGrow
	}
	return int(min(mostGrow, max(leastGrow, headroom*100/live)))
}

// govern keeps the collector's percentage in step with what lives, until ctx ends. Whoever sets GOGC or GOMEMLIMIT knows better.
func govern(ctx context.Context) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(os.ReadFile))
	}
	if os.Getenv("GOGC") != "" {
		return
	}
	set := mostGrow / 2
	debug.SetGCPercent(set)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(governTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		// Each change stops the world for a moment: small ones are not worth it.
		if want := growth(live[0].Value.Uint64()); want < set*4/5 || want > set*5/4 {
			set = want
			debug.SetGCPercent(set)
		}
	}
}

// memoryLimit is how many bytes the program should stay below: most of its control group's limit, else half of the host's memory.
// Near it the collector runs more often; it is not a wall. read is os.ReadFile.
func memoryLimit(read func(string) ([]byte, error)) int64 {
	limit := int64(math.MaxInt64)
	if b, err := read("/proc/meminfo"); err == nil {
		if total, ok := kilobytes(string(b), "MemTotal:"); ok {
			limit = int64(float64(total) * 1024 * shareOfAll)
		}
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := read(path)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // else "max"
			limit = min(limit, int64(float64(n)*shareOfOur))
		}
	}
	return limit
}

// kilobytes reads a line as "MemTotal:  16384 kB".
func kilobytes(meminfo, name string) (int64, bool) {
	for line := range strings.Lines(meminfo) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
