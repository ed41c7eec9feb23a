// Package openfiles makes room for the sockets that a program's limits promise. What is short then is said at start, and not found out by
// the call that is one too many.
package openfiles

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Raise asks that this process may have n files open at a time and returns how many it may now: at least n, or as many as the system lets
// it. Above the hard limit (getrlimit(2)) that takes CAP_SYS_RESOURCE. It never lowers a limit.
func Raise(n int) (allowed int, err error) {
	var is unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &is); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	want := uint64(n)
	if is.Cur >= want {
		return n, nil
	}
	for _, try := range []unix.Rlimit{{Cur: want, Max: max(want, is.Max)}, {Cur: min(want, is.Max), Max: is.Max}} {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &try) == nil {
			return int(try.Cur), nil
		}
	}
	return int(is.Cur), nil
}

// Share is how many things that take each files a process may have beside others, if it may open allowed files: at most most, at least one.
func Share(allowed, others, each, most int) int {
	return max(1, min(most, (allowed-others)/each))
}
