package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// bpffs is where BPF objects are pinned (bpf(2)).
const bpffs = "/sys/fs/bpf"

// PinDir is a directory on bpffs for n alone, not made yet. It is removed with n, and by whoever takes n down after its
// owner's death; a link pinned there that nobody removed would keep its program in the kernel.
func (n *Net) PinDir() (string, error) {
	if err := mountBPF(); err != nil {
		return "", err
	}
	return pinDir(n.ID), nil
}

func pinDir(id string) string { return filepath.Join(bpffs, Prefix+id) }

// mountBPF mounts the BPF file system in its usual place if it is not there.
func mountBPF() error {
	var st unix.Statfs_t
	if err := unix.Statfs(bpffs, &st); err != nil {
		return fmt.Errorf("looking for bpffs: %w", err)
	}
	if st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", bpffs, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mounting bpffs: %w", err)
	}
	return nil
}

// removePins unpins everything of a build.
func removePins(id string) error {
	if err := os.RemoveAll(pinDir(id)); err != nil {
		return fmt.Errorf("removing pinned BPF objects: %w", err)
	}
	return nil
}
