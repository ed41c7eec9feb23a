package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// records is where each build leaves a note of who owns it.
const records = "/run/brickhouse-lab"

// record is that note. A pid alone would not do: numbers come back.
type record struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"` // field 22 of /proc/PID/stat
}

func recordPath(id string) string { return filepath.Join(records, id+".json") }

func writeRecord(id string) error {
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{Pid: os.Getpid(), Start: start})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(records, 0o700); err != nil {
		return err
	}
	return os.WriteFile(recordPath(id), b, 0o600)
}

func removeRecord(id string) error {
	if err := os.Remove(recordPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep takes down what dead runs of ours left behind and says which. A build whose owner lives is left alone, and so is
// every namespace without a record of ours, whatever its name.
func Sweep() (removed []string, err error) {
	entries, err := os.ReadDir(records)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweeping: %w", err)
	}
	var errs []error
	for _, e := range entries {
		id, ours := strings.CutSuffix(e.Name(), ".json")
		if !ours || ownerLives(id) {
			continue
		}
		names, _ := filepath.Glob(filepath.Join(dir, name(id, "*")))
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		if err := destroy(id, names); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, id)
	}
	return removed, errors.Join(errs...)
}

// ownerLives tells whether the process that made the build still runs. A record that cannot be read counts as alive:
// it may be half written.
func ownerLives(id string) bool {
	b, err := os.ReadFile(recordPath(id))
	if err != nil {
		return true
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return true
	}
	start, err := startTime(r.Pid)
	return err == nil && start == r.Start
}

// startTime is when a process began, in clock ticks since boot (proc_pid_stat(5), field 22).
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	return parseStart(string(b))
}

// parseStart reads field 22 of a stat line. The second field is the program's name in brackets and may hold anything.
func parseStart(stat string) (string, error) {
	_, rest, ok := cutLast(stat, ")")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return "", fmt.Errorf("reading a stat line: too short: %q", stat)
	}
	return f[19], nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Pids lists the processes that are in the namespace.
func Pids(n Namespace) []int {
	var want syscall.Stat_t
	if err := syscall.Stat(n.Path(), &want); err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && st.Ino == want.Ino && st.Dev == want.Dev {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll ends every process in a namespace that we made, except this one, and waits a moment for them to go.
func killAll(n Namespace) {
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		left := 0
		for _, pid := range Pids(n) {
			if pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// janitor is a process that waits for our end: its standard input is a pipe that only we hold open. When we die, in
// whatever way, it reads the end of file and removes the namespaces; the kernel has killed their programs by then.
type janitor struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// janitorScript gets the record's path, the pins' directory and the namespaces as arguments. An orderly end writes a line first.
const janitorScript = `trap '' INT HUP TERM
if read -r word; then exit 0; fi
record=$1; pins=$2; shift 2
sleep 0.2
for ns; do [ -e "/run/netns/$ns" ] && ip netns del "$ns"; done
rm -rf "$pins"
rm -f "$record"`

func startJanitor(id string, namespaces []string) (*janitor, error) {
	r, w, err := os.Pipe() // close-on-exec: no child of ours keeps it open
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("sh", append([]string{"-c", janitorScript, "janitor", recordPath(id), pinDir(id)}, namespaces...)...)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C in a terminal is for us, not for it
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return &janitor{cmd: cmd, pipe: w}, nil
}

// stop sends the janitor home: all is removed already.
func (j *janitor) stop() error {
	_, err := j.pipe.WriteString("done\n")
	err = errors.Join(err, j.pipe.Close(), j.cmd.Wait())
	if err != nil {
		return fmt.Errorf("ending the janitor: %w", err)
	}
	return nil
}
