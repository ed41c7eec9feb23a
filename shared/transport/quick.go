package transport

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quickConn reads and writes a TCP connection by system calls that Go's scheduler is not told of: they never wait, since the
// socket does not block. Told of, it would hand the processor to another thread whenever a write takes the kernel longer than some
// microseconds, and on a small machine it spends more on that than on the write. Deadlines hold as they do for net.TCPConn. One
// goroutine at a time may read, and one may write: crypto/tls sees to that.
type quickConn struct {
	*net.TCPConn
	raw         syscall.RawConn
	read, write transfer
}

// transfer is one direction: what is under way, and the function that the poller calls for it.
type transfer struct {
	b    []byte
	n    int
	err  error
	step func(fd uintptr) bool
}

// newQuickConn returns c itself if the system does not let us at it.
func newQuickConn(c *net.TCPConn) net.Conn {
	raw, err := c.SyscallConn()
	if err != nil || !quick {
		return c
	}
	q := &quickConn{TCPConn: c, raw: raw}
	q.read.step = func(fd uintptr) bool { return q.read.once(fd, unix.SYS_READ) }
	q.write.step = func(fd uintptr) bool {
		for q.write.n < len(q.write.b) && q.write.err == nil {
			if !q.write.once(fd, unix.SYS_WRITE) {
				return false
			}
		}
		return true
	}
	return q
}

// once makes one system call. It reports false if that would have to wait.
func (t *transfer) once(fd uintptr, call uintptr) bool {
	left := t.b[t.n:]
	n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(left))), uintptr(len(left)))
	switch errno {
	case 0:
		t.n += int(n)
	case unix.EAGAIN:
		return false
	case unix.EINTR:
		return t.once(fd, call)
	default:
		t.err = errno
	}
	return true
}

// Read reads what has arrived.
func (q *quickConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &q.read
	t.b, t.n, t.err = b, 0, nil
	err := q.raw.Read(t.step)
	t.b = nil
	switch {
	case err != nil:
		return 0, err
	case t.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: t.err}
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write writes all of b.
func (q *quickConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &q.write
	t.b, t.n, t.err = b, 0, nil
	err := q.raw.Write(t.step)
	t.b = nil
	if err == nil && t.err != nil {
		err = &net.OpError{Op: "write", Net: "tcp", Err: t.err}
	}
	return t.n, err
}
