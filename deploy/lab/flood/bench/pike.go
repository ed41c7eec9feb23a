package bench

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"brickhouse/deploy/lab/netns"
)

// Kamailio with pike and nothing else: it answers nobody.
//
//go:embed pike.cfg
var pikeConfig string

const pikeReady = 20 * time.Second

// pike starts Kamailio on the receiving CPU.
func pike(w *wire, _ int) (_ running, err error) {
	dir, err := os.MkdirTemp("", "bh-pike-")
	if err != nil {
		return running{}, fmt.Errorf("making a directory for Kamailio: %w", err)
	}
	l := netns.NewLauncher()
	cmd := exec.Command("kamailio", "-f", filepath.Join(dir, "pike.cfg"), "-DD", "-E", "-m", "128", "-M", "16", "-Y", dir, "-P", filepath.Join(dir, "pid"))
	stop := func() error {
		if cmd.Process != nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			late := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // how it ends says nothing
			late.Stop()
		}
		l.Close()
		return os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	if err := os.WriteFile(filepath.Join(dir, "pike.cfg"), []byte(strings.ReplaceAll(pikeConfig, "LISTEN", target4.String())), 0o600); err != nil {
		return running{}, fmt.Errorf("writing Kamailio's configuration: %w", err)
	}
	if err := l.Start(w.bed.to, cmd); err != nil {
		return running{}, err
	}
	if err := w.taken(target4.Port()); err != nil {
		return running{}, err
	}
	threads := threadsOf(cmd.Process.Pid)
	for _, t := range threads {
		if err := settle(t, w.bed.recvCPU); err != nil {
			return running{}, err
		}
	}
	return running{threads: threads, stop: stop}, nil
}

// taken waits until somebody has the UDP port on the receiving end.
func (w *wire) taken(port uint16) error {
	for end := time.Now().Add(pikeReady); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err := w.bed.to.Do(func() error {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(target4))
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if errors.Is(err, unix.EADDRINUSE) {
			time.Sleep(time.Second) // until its processes are all there
			return nil
		}
		if err != nil {
			return fmt.Errorf("waiting for Kamailio: %w", err)
		}
	}
	return fmt.Errorf("nobody listens on port %d after %s", port, pikeReady)
}
