package datagram

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller tells of sockets that have something to read, all on one goroutine. Its own epoll instance is one descriptor to Go's poller, so
// that it waits as a goroutine and takes no thread.
type Poller struct {
	file *os.File
	wait syscall.RawConn
	fd   int

	mu    sync.RWMutex // guards ready
	ready map[uint64]func()
	next  uint64

	events [pollBatch]unix.EpollEvent // Run's
	n      int
}

// pollBatch is how many sockets are told of for one look.
const pollBatch = 64

// NewPoller makes a Poller. Run serves it, Close ends it.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that Go's poller takes it
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), fd: fd, ready: make(map[uint64]func())}
	if p.wait, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("making a poller: %w", err)
	}
	return p, nil
}

// Add has ready called, on Run's goroutine, whenever s has something to read. It returns what Remove takes.
func (p *Poller) Add(s *Socket, ready func()) (key uint64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return 0, ErrClosed
	}
	p.mu.Lock()
	p.next++
	key = p.next
	p.ready[key] = ready
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLIN}
	*(*uint64)(unsafe.Pointer(&ev.Fd)) = key // the union's 64 bits: Fd and Pad
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &ev); err != nil {
		p.mu.Lock()
		delete(p.ready, key)
		p.mu.Unlock()
		return 0, os.NewSyscallError("epoll_ctl", err)
	}
	return key, nil
}

// Remove has no more told of s, which was added under key, once a call that is under way has returned.
func (p *Poller) Remove(s *Socket, key uint64) {
	p.mu.Lock()
	delete(p.ready, key)
	p.mu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd >= 0 { // else closing it has done that
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, s.fd, nil)
	}
}

// Run tells until Close. A panic of a ready function is the caller's: Run may be entered again after it.
func (p *Poller) Run() {
	for p.wait.Read(p.look) == nil {
		for i := range p.n {
			key := *(*uint64)(unsafe.Pointer(&p.events[i].Fd))
			p.mu.RLock()
			ready := p.ready[key]
			p.mu.RUnlock()
			if ready != nil {
				ready()
			}
		}
	}
}

// look asks which sockets have something to read; false if none has.
func (p *Poller) look(uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), pollBatch, 0, 0, 0)
	if errno != 0 {
		n = 0
	}
	p.n = int(n)
	return p.n > 0
}

// Close ends Run.
func (p *Poller) Close() error { return p.file.Close() }
