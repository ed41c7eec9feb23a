package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path that fits into a socket address (sun_path without its end, less the temporary suffix).
const maxPath = 107 - len(tempSuffix)

const tempSuffix = ".new"

// BadSocket says why a socket can't be made, and what to do.
type BadSocket struct{ Path, Problem, Remedy string }

func (e *BadSocket) Error() string {
	return fmt.Sprintf("admin socket %s: %s; %s", e.Path, e.Problem, e.Remedy)
}

// BadInput says that the operator can mend it: programs end with status 2.
func (e *BadSocket) BadInput() bool { return true }

// socket is a listening Unix socket and the file that names it.
type socket struct {
	listener *net.UnixListener
	path     string
	inode    uint64
}

// listen makes the socket at path. It appears there complete, with mode 0600 and listening, by a rename; the socket of a
// dead process is replaced, that of a living one is an error. Two processes that start at once are kept apart by a lock
// on the directory.
func listen(path string) (*socket, error) {
	bad := func(problem, remedy string) error { return &BadSocket{path, problem, remedy} }
	if len(path) == 0 || len(path) > maxPath {
		return nil, bad(fmt.Sprintf("the path has %d bytes", len(path)), fmt.Sprintf("use 1 to %d", maxPath))
	}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, bad("its directory can't be made: "+reason(err), "create it, or choose another path")
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, bad("its directory can't be locked: "+reason(err), "choose a directory that is yours")
	}
	defer unlock()
	if problem, remedy := vacate(path); problem != "" {
		return nil, bad(problem, remedy)
	}
	temp := path + tempSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, bad("a leftover of it can't be removed: "+reason(err), "remove "+temp)
	}
	ln, err := bind(temp)
	if err != nil {
		return nil, bad("can't be made: "+reason(err), "choose a directory that is yours")
	}
	ln.SetUnlinkOnClose(false) // it would remove the temporary name
	st, err := os.Lstat(temp)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(temp)
		return nil, bad("can't be put in place: "+reason(err), "choose another path")
	}
	return &socket{listener: ln, path: path, inode: inode(st)}, nil
}

// bind listens on a socket whose file has mode 0600 from its first moment: Linux takes it from the socket's own mode.
func bind(path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // a kernel that ignored it
		_ = ln.Close()
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}

// vacate says what is in the way at path. A socket that nobody listens on is not.
func vacate(path string) (problem, remedy string) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", ""
	case err != nil:
		return "can't be looked at: " + reason(err), "choose another path"
	case st.Mode().Type() != fs.ModeSocket:
		return "something else is there", "remove it, or choose another path"
	}
	conn, err := net.DialTimeout("unix", path, 2*time.Second)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return "", ""
		}
		return "can't be tried: " + reason(err), "remove it, or choose another path"
	}
	defer conn.Close()
	who := "another process"
	if cred, err := peer(conn); err == nil && cred.Pid > 0 {
		who = "the process " + strconv.Itoa(int(cred.Pid))
	}
	return who + " listens on it", "stop that one, or choose another path"
}

// lock takes the directory's lock, and waits a little for another that has it.
func lock(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			_ = unix.Close(fd)
			return nil, err
		}
	}
}

// remove takes the socket's file away, if it is still ours.
func (s *socket) remove() {
	if st, err := os.Lstat(s.path); err == nil && inode(st) == s.inode {
		_ = os.Remove(s.path)
	}
}

func inode(st fs.FileInfo) uint64 {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}

// reason is an error without the names of calls and temporary files.
func reason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func peer(c net.Conn) (*unix.Ucred, error) {
	if s, ok := c.(*slot); ok {
		c = s.Conn
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a Unix socket")
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var serr error
	if err := raw.Control(func(fd uintptr) {
		cred, serr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, serr
}

type callerKey struct{}

type caller struct{ name, from string }

// WithCaller returns a context of a request that somebody sends from somewhere.
func WithCaller(ctx context.Context, name, from string) context.Context {
	return context.WithValue(ctx, callerKey{}, caller{name, from})
}

// withUser is WithCaller for the user whose process is at the other end of a Unix socket.
func withUser(ctx context.Context, c net.Conn) context.Context {
	cred, err := peer(c)
	if err != nil {
		return ctx
	}
	name := "uid " + strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(strconv.Itoa(int(cred.Uid))); err == nil {
		name = u.Username
	}
	return WithCaller(ctx, name, "socket")
}

// Caller is who sent the request: the user whose process did, as the kernel tells it, or the key; "unknown" without one.
func Caller(ctx context.Context) string {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		return c.name
	}
	return "unknown"
}

// Origin is where a request came from: "socket", or an address; "unknown" without one.
func Origin(ctx context.Context) string {
	if c, ok := ctx.Value(callerKey{}).(caller); ok {
		return c.from
	}
	return "unknown"
}
