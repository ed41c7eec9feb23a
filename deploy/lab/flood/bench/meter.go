package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Units of what a meter counts.
const (
	UnitCycles = "cycles"
	UnitTime   = "ns"
)

// meter counts what some threads use of their CPU.
type meter struct {
	unit    string
	counts  []int // perf events, if the unit is cycles
	threads []int
}

// newMeter counts threads. Where the machine has no counter of cycles (most virtual ones), it is the scheduler's time on the CPU, which
// says less: a slow memory and a throttled clock both make it longer.
func newMeter(threads []int) (*meter, error) {
	m := &meter{unit: UnitCycles, threads: threads}
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_HARDWARE, Config: unix.PERF_COUNT_HW_CPU_CYCLES}
	attr.Size = uint32(unsafe.Sizeof(attr))
	for _, tid := range threads {
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			m.close()
			return &meter{unit: UnitTime, threads: threads}, nil
		}
		if err != nil {
			m.close()
			return nil, fmt.Errorf("counting the cycles of thread %d: %w", tid, err)
		}
		m.counts = append(m.counts, fd)
	}
	return m, nil
}

func (m *meter) close() {
	for _, fd := range m.counts {
		_ = unix.Close(fd)
	}
	m.counts = nil
}

// read is what all threads have used so far.
func (m *meter) read() (uint64, error) {
	if m.unit == UnitTime {
		return onCPU(m.threads)
	}
	var all uint64
	for _, fd := range m.counts {
		var n uint64
		if _, err := unix.Read(fd, unsafe.Slice((*byte)(unsafe.Pointer(&n)), 8)); err != nil {
			return 0, fmt.Errorf("reading a counter of cycles: %w", err)
		}
		all += n
	}
	return all, nil
}

// onCPU is the time that threads have had on a CPU, ns: the first field of schedstat (Documentation/scheduler/sched-stats).
func onCPU(threads []int) (uint64, error) {
	var all uint64
	for _, tid := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		first, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseUint(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time of thread %d: %w", tid, err)
		}
		all += n
	}
	return all, nil
}

// eager is the priority of all that is measured: on a busy machine it would else run so seldom that each packet finds cold caches.
const eager = -19

// first lets the calling thread run before all that is not real-time: a nice value counts only among the threads of one session
// (sched(7), autogroup). The kernel leaves a twentieth of the CPU to others. Where it is refused, the flood is only weaker.
func first() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
}

// settle keeps a thread on a CPU and lets it run before others; 0 is the calling one.
func settle(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("moving thread %d to CPU %d: %w", tid, cpu, err)
	}
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, eager); err != nil {
		return fmt.Errorf("raising the priority of thread %d: %w", tid, err)
	}
	return nil
}

// napiThread finds the kernel thread that receives on an interface.
func napiThread(name string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, fmt.Errorf("looking for the receiving thread: %w", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(b), "napi/"+name+"-") {
			return strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	return 0, fmt.Errorf("no kernel thread receives on %s", name)
}
