package filterbench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ghz is the clock that cycles are given for, in ns.
const ghz = 4

// Meter counts what the calling thread spends, in the kernel and outside. It is bound to one thread and one CPU until Close.
type Meter struct {
	cycles       *counter // nil: no PMU
	instructions *counter
	mask         unix.CPUSet // of the thread, before
}

// Spent is what a measured call took.
type Spent struct {
	NS           float64 // of a 4 GHz processor by its PMU; or of CPU time, without one
	Instructions float64 // 0 without a PMU
}

// NewMeter binds the calling goroutine to its thread, and the thread to the CPU it is on.
func NewMeter() (_ *Meter, err error) {
	m := &Meter{}
	runtime.LockOSThread()
	defer func() {
		if err != nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := unix.SchedGetaffinity(0, &m.mask); err != nil {
		return nil, fmt.Errorf("reading the thread's CPUs: %w", err)
	}
	var one unix.CPUSet
	cpu, err := lastCPU(&m.mask)
	if err != nil {
		return nil, err
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("binding the thread to CPU %d: %w", cpu, err)
	}
	cycles, err := openCounter(unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES)
	if err != nil {
		return m, nil // no PMU: CPU time
	}
	instructions, err := openCounter(unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS)
	if err != nil {
		return m, cycles.Close()
	}
	m.cycles, m.instructions = cycles, instructions
	return m, nil
}

// lastCPU is the allowed CPU that is the least busy with interrupts, usually.
func lastCPU(set *unix.CPUSet) (int, error) {
	for i := len(set)*64 - 1; i >= 0; i-- {
		if set.IsSet(i) {
			return i, nil
		}
	}
	return 0, errors.New("the thread may run on no CPU")
}

// PMU tells whether cycles are counted; otherwise it is CPU time.
func (m *Meter) PMU() bool { return m.cycles != nil }

// Unit is what NS means, for the head of a table.
func (m *Meter) Unit() string {
	if m.PMU() {
		return "PMU cycles, as ns at 4 GHz"
	}
	return "ns of thread CPU time: this machine has no PMU, so rows may shift with its other load"
}

// Measure runs do and tells what it took.
func (m *Meter) Measure(do func() error) (Spent, error) {
	c0, i0, err := m.read()
	if err != nil {
		return Spent{}, err
	}
	if err := do(); err != nil {
		return Spent{}, err
	}
	c1, i1, err := m.read()
	return Spent{NS: c1 - c0, Instructions: i1 - i0}, err
}

func (m *Meter) read() (ns, instructions float64, err error) {
	if m.PMU() {
		cycles, err1 := m.cycles.read()
		instructions, err2 := m.instructions.read()
		return cycles / ghz, instructions, errors.Join(err1, err2)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, 0, fmt.Errorf("reading the thread's CPU time: %w", err)
	}
	return float64(ts.Nano()), 0, nil
}

// Close lets the thread go where it could before.
func (m *Meter) Close() error {
	var errs []error
	if m.PMU() {
		errs = append(errs, m.cycles.Close(), m.instructions.Close())
	}
	errs = append(errs, unix.SchedSetaffinity(0, &m.mask))
	runtime.UnlockOSThread()
	return errors.Join(errs...)
}

// counter is a perf event of the thread that opened it, on all CPUs.
type counter struct{ fd int }

func openCounter(kind uint32, config uint64) (*counter, error) {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type:        kind,
		Size:        uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config:      config,
		Read_format: unix.PERF_FORMAT_TOTAL_TIME_ENABLED | unix.PERF_FORMAT_TOTAL_TIME_RUNNING,
	}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening a performance counter: %w", err)
	}
	return &counter{fd}, nil
}

// read returns the count; when counters were shared it is extended to the time that another one had ours.
func (c *counter) read() (float64, error) {
	var b [24]byte
	n, err := unix.Read(c.fd, b[:])
	if err != nil || n != len(b) {
		return 0, fmt.Errorf("reading a performance counter: %d bytes: %w", n, err)
	}
	value := float64(binary.NativeEndian.Uint64(b[:]))
	enabled, running := binary.NativeEndian.Uint64(b[8:]), binary.NativeEndian.Uint64(b[16:])
	if running == 0 || enabled == running {
		return value, nil
	}
	return value * float64(enabled) / float64(running), nil
}

func (c *counter) Close() error { return unix.Close(c.fd) }
