package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"brickhouse/bpf/table"
)

// layout names the maps' layout in the path of their pins. It changes with any name, type or size in xdp/maps.h; then what was
// pinned under the one before must still be understood (previous.go).
const layout = "v4"

// minKernel is the oldest kernel that has all that the program uses; bpf_ktime_get_coarse_ns is the youngest of it.
const minKernel = "5.11"

// Errors that tell the caller what is missing.
var (
	ErrNotPermitted = errors.New("needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
	ErrInUse        = errors.New("in use by another process")
	ErrKernel       = errors.New("kernel is too old")
	ErrLayout       = errors.New("pinned maps do not fit this program")
)

// Options say where the filter lives.
type Options struct {
	// BPFFS is the mount point of a BPF file system; one is mounted there if there is none and we may. Empty: nothing is
	// pinned, and the filter ends with the process.
	BPFFS string
	// Name is the directory below BPFFS that is ours. One process at a time may have it open.
	Name string
}

// Filter is the loaded program with its maps. Its methods may be called from any goroutine, except that Attach, Release, Close
// and Detach must not run at the same time as any other; Sources says what holds for it.
type Filter struct {
	objs    edgeObjects
	mem     *memory
	set     *table.Set
	ports   *region // the ports' map in our memory
	streams streams
	bans    []Ban    // found in the kernel when it was loaded
	dir     string   // of this layout's pins; empty: nothing is pinned
	lock    *os.File // held on dir
	links   map[int]*attached
	fresh   bool   // dir was made or empty when it was opened
	note    string // what the operator should know about where the pins are
}

type attached struct {
	Attachment
	link link.Link
}

// Load loads the program and makes its maps, or takes over those that are pinned. Packets are not touched before Attach.
func Load(o Options) (_ *Filter, err error) {
	f := &Filter{links: map[int]*attached{}}
	defer func() {
		if err != nil {
			f.abandon()
		}
	}()
	spec, err := loadEdge()
	if err != nil {
		return nil, fmt.Errorf("reading the embedded program: %w", err)
	}
	if o.BPFFS == "" {
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinNone
		}
	} else if err := f.openDir(o); err != nil {
		return nil, err
	}
	opts := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: f.dir}}
	err = spec.LoadAndAssign(&f.objs, opts)
	if err != nil && !permission(err) && !errors.Is(err, ebpf.ErrMapIncompatible) {
		// Before 5.18 no program takes packets in several buffers. Ours works without, on interfaces with an MTU below a page.
		spec.Programs["edge"].Flags &^= unix.BPF_F_XDP_HAS_FRAGS
		if spec.LoadAndAssign(&f.objs, opts) == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, f.explain(err)
	}
	return f, f.open()
}

// open maps the tables into our memory, and finds out what bans they hold.
func (f *Filter) open() (err error) {
	if f.mem, err = newMemory(&f.objs); err != nil {
		return err
	}
	if f.ports, err = newRegion(f.objs.Ports, 65536*8); err != nil {
		return err
	}
	if err = f.openStreams(); err != nil {
		return err
	}
	f.set = table.New(f.mem)
	if f.bans, err = f.mem.bans(); err != nil || f.dir == "" {
		return err
	}
	old, err := f.previousBans()
	f.bans = append(f.bans, old...)
	return err
}

// Sources are the tables of banned, limited and known sources and of the never-ban list. Nothing of them is in force before the first
// Rebuild; until then the kernel goes on with what it had.
func (f *Filter) Sources() *table.Set { return f.set }

// Bans reads the bans of IPv4 hosts and IPv6 /64s off the kernel's tables, also those that have ended and were not removed yet.
func (f *Filter) Bans() ([]Ban, error) { return f.mem.bans() }

// Inherited are the bans that were in the kernel's tables when the filter was loaded: of IPv4 hosts and IPv6 /64s, and all that an
// earlier layout held. They are gone with the next Rebuild unless they are banned anew.
func (f *Filter) Inherited() []Ban { return f.bans }

func permission(err error) bool { return errors.Is(err, fs.ErrPermission) } // EPERM or EACCES

// permitted adds the remedy to a lack of permission.
func permitted(err error) error {
	if permission(err) {
		return fmt.Errorf("%w: %w", err, ErrNotPermitted)
	}
	return err
}

// explain names the remedy for a program that does not load.
func (f *Filter) explain(err error) error {
	var refused *ebpf.VerifierError // EACCES, too
	switch {
	case permission(err) && !errors.As(err, &refused):
		return fmt.Errorf("loading the XDP program: %w", ErrNotPermitted)
	case errors.Is(err, ebpf.ErrMapIncompatible):
		return fmt.Errorf("%w: %w; remove %s", ErrLayout, err, f.dir)
	case older(release(), minKernel):
		return fmt.Errorf("loading the XDP program: %w: %s, %s or newer is needed", ErrKernel, release(), minKernel)
	}
	return fmt.Errorf("loading the XDP program on kernel %s: %w", release(), err)
}

// older reports whether a kernel's release is before one that is given as "major.minor".
func older(release, than string) bool {
	var a, b, c, d int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false
	}
	_, err := fmt.Sscanf(than, "%d.%d", &c, &d)
	return err == nil && (a < c || a == c && b < d)
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// openDir makes sure that the directory of the pins is there and that nobody else has it.
func (f *Filter) openDir(o Options) error {
	if o.Name == "" || strings.ContainsAny(o.Name, "./") {
		return fmt.Errorf("name of the pin directory %q: no dots or slashes, and not empty", o.Name)
	}
	note, err := mountBPFFS(o.BPFFS)
	if err != nil {
		return err
	}
	f.note = note
	dir := filepath.Join(o.BPFFS, o.Name, layout)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the pin directory: %w", permitted(err))
	}
	lock, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the pin directory: %w", permitted(err))
	}
	// The kernel gives the lock back when we die, however we do.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("pin directory %s: %w; give this border a name of its own", dir, ErrInUse)
		}
		return fmt.Errorf("locking the pin directory %s: %w", dir, err)
	}
	names, err := lock.Readdirnames(1)
	f.dir, f.lock, f.fresh = dir, lock, err != nil || len(names) == 0
	return nil
}

// abandon undoes what a failed Load did: what others had pinned stays, what we began goes.
func (f *Filter) abandon() {
	if f.fresh {
		_ = removePins(f.dir) // the reason for the failure is told, not that of the cleaning
	}
	_ = f.close()
}

// Note says what an operator should know about where the pins are; usually nothing.
func (f *Filter) Note() string { return f.note }

// Program is the loaded program, for test runs.
func (f *Filter) Program() *ebpf.Program { return f.objs.Edge }

// Close gives the filter's resources back. It goes on filtering wherever it is attached, if it is pinned; if it is attached nowhere,
// its pins are removed.
func (f *Filter) Close() error {
	if f.dir == "" || f.lock == nil {
		return f.close()
	}
	links, err := filepath.Glob(filepath.Join(f.dir, linkPin+"*"))
	if err == nil && len(links) == 0 {
		err = removePins(f.dir)
	}
	return errors.Join(err, f.close())
}

func (f *Filter) close() error {
	var errs []error
	for _, a := range f.links {
		errs = append(errs, a.link.Close())
	}
	f.links = nil
	if f.mem != nil {
		errs = append(errs, f.mem.close())
	}
	if f.objs.Edge != nil {
		errs = append(errs, f.objs.Close())
		f.objs = edgeObjects{}
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
		f.lock = nil
	}
	return errors.Join(errs...)
}

// Detach ends the filter on all interfaces, removes all its pins, with them all bans, and closes it.
func (f *Filter) Detach() error {
	var errs []error
	for i, a := range f.links {
		errs = append(errs, detach(a.link))
		delete(f.links, i)
	}
	if f.dir != "" {
		errs = append(errs, f.dropPrevious(), removePins(f.dir))
	}
	return errors.Join(append(errs, f.close())...)
}

// Remove does what Detach does for a filter that no process has open. That there is none is no error.
func Remove(o Options) error {
	if _, err := os.Stat(filepath.Join(o.BPFFS, o.Name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f := &Filter{}
	if err := f.openDir(o); err != nil {
		return err
	}
	return f.Detach()
}

// removePins detaches all pinned links, removes all pins and the directories that held them.
func removePins(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the pin directory: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), linkPin) {
			if l, err := link.LoadPinnedLink(path, nil); err == nil {
				errs = append(errs, detach(l))
				continue
			}
		}
		errs = append(errs, os.Remove(path))
	}
	errs = append(errs, os.Remove(dir))
	// The directory above may hold another layout; then it stays.
	if err := os.Remove(filepath.Dir(dir)); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
