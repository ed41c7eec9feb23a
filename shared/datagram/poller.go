package datagram

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller tells of sockets that have something to read, all on one thread, which waits in its own epoll instance: that a goroutine waits for a
// descriptor costs two more system calls and a turn of Go's scheduler for each packet.
//
// While that thread waits, the scheduler counts one processor as taken by it for some milliseconds. Who runs a Poller raises GOMAXPROCS
// by one, or other goroutines wait that long.
type Poller struct {
	epoll, stop int // descriptors; stop is an eventfd that ends Run

	mu    sync.Mutex // guards who writes to slots, free and next
	free  []uint32
	next  uint32 // generation of the next key
	slots atomic.Pointer[[]atomic.Pointer[slot]]

	closed sync.Once
	gather time.Duration
	events [pollBatch]unix.EpollEvent // Run's
}

// slot is a socket that is watched.
type slot struct {
	key   uint64 // generation and place: a number of events that wait may be older than the place's socket
	ready func(busy bool)
}

// pollBatch is how many sockets are told of for one look; from pollBusy on some of them will have more than one datagram.
const (
	pollBatch = 128
	pollBusy  = 48
)

// NewPoller makes a Poller. Run serves it, Close ends it. Run begins no look earlier than gather after the one before, so that a busy
// Poller finds several sockets at a time: each packet then costs less and waits longer, gather at most. With 0 no packet waits.
func NewPoller(gather time.Duration) (*Poller, error) {
	p := &Poller{gather: gather}
	p.slots.Store(new([]atomic.Pointer[slot]))
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if p.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(p.epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := p.watch(p.stop, stopKey); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// stopKey is the eventfd's.
const stopKey = ^uint64(0)

func (p *Poller) watch(fd int, key uint64) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	*(*uint64)(unsafe.Pointer(&ev.Fd)) = key // the union's 64 bits: Fd and Pad
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev))
}

// Add has ready called, on Run's goroutine, whenever s has something to read, and again while it has. busy says that many sockets have: it
// is then cheaper to read s until it is empty than to be called for each datagram. Add returns what Remove takes.
func (p *Poller) Add(s *Socket, ready func(busy bool)) (key uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return 0, ErrClosed
	}
	key = p.take(ready)
	if err := p.watch(s.fd, key); err != nil {
		p.give(key)
		return 0, err
	}
	return key, nil
}

// take finds a place.
func (p *Poller) take(ready func(bool)) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := *p.slots.Load()
	if len(p.free) == 0 {
		more := make([]atomic.Pointer[slot], max(64, 2*len(all)))
		for i := range all {
			more[i].Store(all[i].Load())
		}
		for i := len(more); i > len(all); i-- {
			p.free = append(p.free, uint32(i-1))
		}
		p.slots.Store(&more)
		all = more
	}
	at := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.next = (p.next + 1) & 0x7fffffff // so that none is stopKey
	key := uint64(p.next)<<32 | uint64(at)
	all[at].Store(&slot{key, ready})
	return key
}

// give frees a place.
func (p *Poller) give(key uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := &(*p.slots.Load())[uint32(key)]
	if s := at.Load(); s != nil && s.key == key {
		at.Store(nil)
		p.free = append(p.free, uint32(key))
	}
}

// Remove has no more told of s, which was added under key, once a call that is under way has returned.
func (p *Poller) Remove(s *Socket, key uint64) {
	p.give(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd >= 0 { // else closing it has done that
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
	}
}

// Run tells until Close. A panic of a ready function is the caller's.
func (p *Poller) Run() {
	runtime.LockOSThread() // never unlocked: the thread ends with its own timer slack
	defer p.close()
	if p.gather > 0 { // else each sleep is 50 µs longer
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	}
	for {
		n := p.look()
		for i := range n {
			key := *(*uint64)(unsafe.Pointer(&p.events[i].Fd))
			if key == stopKey {
				return
			}
			if s := (*p.slots.Load())[uint32(key)].Load(); s != nil && s.key == key {
				s.ready(n >= pollBusy)
			}
		}
		if p.gather > 0 {
			rest(p.gather)
		}
	}
}

// rest sleeps without Go's timers, which would wake another thread.
func rest(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.Syscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// look waits until some sockets have something to read.
func (p *Poller) look() int {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events[0])), pollBatch, ^uintptr(0), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Close ends Run, which gives the descriptors back. A second call does nothing.
func (p *Poller) Close() (err error) {
	p.closed.Do(func() {
		one := [8]byte{1}
		if _, e := unix.Write(p.stop, one[:]); e != nil {
			err = fmt.Errorf("ending a poller: %w", e)
		}
	})
	return err
}

func (p *Poller) close() {
	_ = unix.Close(p.epoll)
	_ = unix.Close(p.stop)
}
