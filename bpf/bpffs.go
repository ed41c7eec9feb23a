package bpf

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountBPFFS makes sure that a BPF file system is mounted at dir. The note tells when what is pinned there will not last.
func mountBPFFS(dir string) (note string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("BPF file system: %w", permitted(err))
	}
	ok, err := isBPFFS(dir)
	if err != nil {
		return "", err
	}
	if !ok {
		err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
		if err != nil {
			return "", fmt.Errorf("mounting a BPF file system at %s: %w", dir, permitted(err))
		}
		if privateMounts() {
			note = fmt.Sprintf("the BPF file system at %s is in a mount namespace of its own and ends with it, and all bans with it; "+
				"mount one outside and name it", dir)
		}
	}
	return note, nil
}

func isBPFFS(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("BPF file system at %s: %w", dir, permitted(err))
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}

// privateMounts reports whether what we mount is out of the init process's sight, as under "ip netns exec" and in containers.
func privateMounts() bool {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return false
	}
	inits, err := os.Readlink("/proc/1/ns/mnt")
	return err == nil && ours != inits
}
