package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Mode is how the program is attached to an interface.
type Mode uint8

// The modes.
const (
	ModeAuto    Mode = iota // native, else generic; only to ask for
	ModeNative              // in the driver, before the kernel makes its own buffer
	ModeGeneric             // in the network stack: works everywhere, costs three to four times as much
)

// String is the word for m.
func (m Mode) String() string {
	switch m {
	case ModeAuto:
		return "auto"
	case ModeNative:
		return "native"
	case ModeGeneric:
		return "generic"
	}
	return "mode-" + strconv.Itoa(int(m))
}

// Attachment is an interface that the filter works on.
type Attachment struct {
	Interface string
	Index     int
	Mode      Mode   // ModeNative or ModeGeneric
	Note      string // why it is not native, if it was to be
	TookOver  bool   // a filter was pinned there and was replaced without a gap
}

// OccupiedError tells that another XDP program has the interface.
type OccupiedError struct {
	Interface string
	Program   string // its name, if the kernel tells
	ID        uint32
}

// Error names the program and what to do about it.
func (e *OccupiedError) Error() string {
	by := fmt.Sprintf("program %d", e.ID)
	if e.Program != "" {
		by = fmt.Sprintf("program %q (id %d)", e.Program, e.ID)
	}
	remedy := "ip link set dev " + e.Interface + " xdp off"
	if e.Program == "xdp_dispatcher" { // libxdp's, which holds programs of others
		remedy = "xdp-loader unload " + e.Interface + " --all"
	}
	return fmt.Sprintf("interface %s: XDP %s is attached already; remove it (%s) or leave the interface out", e.Interface, by, remedy)
}

const linkPin = "link_"

// xdpAttached are the values of IFLA_XDP_ATTACHED (linux/if_link.h).
const (
	xdpAttachedNative  = 1
	xdpAttachedGeneric = 2
)

// Attach puts the filter on an interface of the current network namespace, or the newly loaded program in the place of the one
// that is pinned for it. *OccupiedError tells that somebody else's program is there.
func (f *Filter) Attach(name string, mode Mode) (Attachment, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Attachment{}, fmt.Errorf("interface %s: %w", name, err)
	}
	at := l.Attrs()
	// The program reads an Ethernet header; tunnels and the like have none.
	if at.EncapType != "ether" && at.EncapType != "loopback" {
		return Attachment{}, fmt.Errorf("interface %s has no Ethernet header (%s): XDP can't filter it", name, at.EncapType)
	}
	if a, ok := f.links[at.Index]; ok {
		return a.Attachment, nil
	}
	a := &attached{Attachment: Attachment{Interface: name, Index: at.Index}}
	if err := f.takeOver(a, at.Xdp, mode); err != nil {
		return Attachment{}, err
	}
	if a.link == nil {
		if err := f.attachNew(a, mode); err != nil {
			return Attachment{}, err
		}
	}
	f.links[at.Index] = a
	return a.Attachment, nil
}

func (f *Filter) pin(index int) string { return filepath.Join(f.dir, linkPin+strconv.Itoa(index)) }

// takeOver replaces the program of the link that is pinned for a's interface; a.link stays nil if there is no use in it.
func (f *Filter) takeOver(a *attached, now *netlink.LinkXdp, mode Mode) error {
	if f.dir == "" {
		return nil
	}
	l, err := link.LoadPinnedLink(f.pin(a.Index), nil)
	for _, dir := range f.previousDirs() {
		if errors.Is(err, os.ErrNotExist) {
			l, err = link.LoadPinnedLink(filepath.Join(dir, linkPin+strconv.Itoa(a.Index)), nil)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("interface %s: pinned link: %w", a.Interface, err)
	}
	info, err := l.Info()
	if err != nil {
		l.Close()
		return fmt.Errorf("interface %s: pinned link: %w", a.Interface, err)
	}
	ours := now != nil && now.Attached && now.ProgId == uint32(info.Program)
	is := attachMode(now)
	if !ours || (mode != ModeAuto && mode != is) {
		// The interface it was on is gone, and another has its number; or it is to be attached differently.
		return detach(l)
	}
	if err := l.Update(f.objs.Edge); err != nil {
		l.Close()
		return fmt.Errorf("interface %s: replacing the filter: %w", a.Interface, err)
	}
	if err := l.Pin(f.pin(a.Index)); err != nil { // out of the previous layout's directory, if it was there
		l.Close()
		return fmt.Errorf("interface %s: pinning the link: %w", a.Interface, err)
	}
	a.link, a.Mode, a.TookOver = l, is, true
	if is == ModeGeneric && mode == ModeAuto {
		a.Note = "generic, as it was before"
	}
	return nil
}

func attachMode(x *netlink.LinkXdp) Mode {
	switch {
	case x == nil:
		return ModeAuto
	case x.AttachMode == xdpAttachedNative:
		return ModeNative
	case x.AttachMode == xdpAttachedGeneric:
		return ModeGeneric
	}
	return ModeAuto
}

func (f *Filter) attachNew(a *attached, mode Mode) error {
	if l, err := netlink.LinkByIndex(a.Index); err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached {
		return occupant(a.Interface, l.Attrs().Xdp.ProgId)
	}
	first := mode
	if mode == ModeAuto {
		first = ModeNative
	}
	err := f.attachAs(a, first)
	if err != nil && mode == ModeAuto {
		native := err
		if err = f.attachAs(a, ModeGeneric); err == nil {
			a.Note = fmt.Sprintf("no native XDP (%v)", native)
		}
	}
	if err != nil {
		return fmt.Errorf("interface %s: attaching in %s mode: %w", a.Interface, mode, err)
	}
	if f.dir == "" {
		return nil
	}
	if err := a.link.Pin(f.pin(a.Index)); err != nil {
		return errors.Join(fmt.Errorf("interface %s: pinning the link: %w", a.Interface, err), detach(a.link))
	}
	return nil
}

func (f *Filter) attachAs(a *attached, mode Mode) (err error) {
	flags := map[Mode]link.XDPAttachFlags{ModeNative: link.XDPDriverMode, ModeGeneric: link.XDPGenericMode}[mode]
	a.link, err = link.AttachXDP(link.XDPOptions{Program: f.objs.Edge, Interface: a.Index, Flags: flags})
	if err == nil {
		a.Mode = mode
	}
	return err
}

// occupant is the error that names somebody else's program on an interface.
func occupant(name string, id uint32) *OccupiedError {
	o := &OccupiedError{Interface: name, ID: id}
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return o
	}
	defer p.Close()
	if info, err := p.Info(); err == nil {
		o.Program = info.Name
	}
	return o
}

// detach ends a link, pinned or not, and closes it.
func detach(l link.Link) error {
	err := l.Unpin()
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.Detach(), l.Close())
}

// Attachments returns the interfaces that the filter works on, for this process.
func (f *Filter) Attachments() []Attachment {
	var as []Attachment
	for _, a := range f.links {
		as = append(as, a.Attachment)
	}
	return as
}

// Release ends pinned filters on interfaces that were not attached since Load: those that the configuration no longer names, and
// what previous layouts left.
func (f *Filter) Release() error {
	if f.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("reading the pin directory: %w", err)
	}
	var errs []error
	for _, e := range entries {
		n, ok := strings.CutPrefix(e.Name(), linkPin)
		if !ok {
			continue
		}
		if i, err := strconv.Atoi(n); err == nil && f.links[i] != nil {
			continue
		}
		l, err := link.LoadPinnedLink(filepath.Join(f.dir, e.Name()), nil)
		if err == nil {
			err = detach(l)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, f.dropPrevious())...)
}
