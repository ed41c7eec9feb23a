package lifecycle

import (
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier tells the service manager what the program does: the protocol of sd_notify(3), datagrams to a Unix socket.
// A nil Notifier tells nobody.
type Notifier struct{ addr string }

// NewNotifier returns a Notifier for the socket that the service manager names in the environment variable
// NOTIFY_SOCKET, or nil if getenv does not know it.
func NewNotifier(getenv func(string) string) *Notifier {
	addr := getenv("NOTIFY_SOCKET")
	if addr == "" || addr[0] != '/' && addr[0] != '@' {
		return nil
	}
	return &Notifier{addr: addr} // net writes the "@" of an abstract socket as NUL
}

// Ready says that the program serves, at start and after a reload.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Stopping says that the program stops.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1") }

// Reloading says that the program reads its configuration again; Ready ends it. The time is what systemd's
// Type=notify-reload asks for, in microseconds of CLOCK_MONOTONIC.
func (n *Notifier) Reloading() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("reading the clock: %w", err)
	}
	return n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(ts.Nano()/1000, 10))
}

// Status says in words what the program does; the service manager shows it.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + text) }

func (n *Notifier) send(state string) error {
	if n == nil {
		return nil
	}
	conn, err := net.DialTimeout("unixgram", n.addr, time.Second)
	if err != nil {
		return fmt.Errorf("opening %s: %w", n.addr, err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("setting a deadline on %s: %w", n.addr, err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("writing to %s: %w", n.addr, err)
	}
	return nil
}
