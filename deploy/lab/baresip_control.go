package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// baresipEvent is what baresip's ctrl_tcp module tells.
type baresipEvent struct {
	Event    bool   `json:"event"`
	Response bool   `json:"response"`
	Type     string `json:"type"`
	PeerURI  string `json:"peeruri"`
	Param    string `json:"param"`
	OK       bool   `json:"ok"`
	Data     string `json:"data"`
	Token    string `json:"token"`
}

// baresipControl speaks with it: JSON in netstrings over TCP, both ways.
type baresipControl struct {
	conn net.Conn

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when anything below changes
	events   []baresipEvent
	next     int                     // the first event that wait has not consumed
	answers  map[string]baresipEvent // by token
	asked    int
	lastward error // why reading ended
}

func dialBaresip(p *Process, at netip.AddrPort) *baresipControl {
	p.t.Helper()
	conn, err := p.host.Dial("tcp", at)
	if err != nil {
		p.t.Fatalf("lab: %s: its control port: %v", p, err)
	}
	p.t.Cleanup(func() { conn.Close() })
	c := &baresipControl{conn: conn, changed: make(chan struct{}), answers: map[string]baresipEvent{}}
	go c.read()
	return c
}

func (c *baresipControl) read() {
	r := bufio.NewReader(c.conn)
	for {
		b, err := readNetstring(r)
		var ev baresipEvent
		if err == nil {
			err = json.Unmarshal(b, &ev)
		}
		c.mu.Lock()
		switch {
		case err != nil:
			c.lastward = err
		case ev.Response:
			c.answers[ev.Token] = ev
		default:
			c.events = append(c.events, ev)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// maxNetstring bounds one message of baresip.
const maxNetstring = 1 << 20

// readNetstring reads "5:hello,".
func readNetstring(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, ":"))
	if err != nil || n < 0 || n > maxNetstring {
		return nil, fmt.Errorf("netstring of length %q", head)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if b[n] != ',' {
		return nil, errors.New("netstring without its comma")
	}
	return b[:n], nil
}

// ask gives a command and waits for the answer.
func (c *baresipControl) ask(cmd, params string) (data string, ok bool, err error) {
	c.mu.Lock()
	c.asked++
	token := strconv.Itoa(c.asked)
	c.mu.Unlock()
	b, err := json.Marshal(map[string]string{"command": cmd, "params": params, "token": token})
	if err != nil {
		return "", false, err
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return "", false, err
	}
	if _, err := fmt.Fprintf(c.conn, "%d:%s,", len(b), b); err != nil {
		return "", false, err
	}
	var ev baresipEvent
	err = c.until(func() bool { ev, ok = c.answers[token]; return ok })
	return ev.Data, ev.OK, err
}

// wait waits for the next event of one of the types; what comes before it is passed over.
func (c *baresipControl) wait(types ...string) (baresipEvent, error) {
	var ev baresipEvent
	err := c.until(func() bool {
		for i := c.next; i < len(c.events); i++ {
			if slices.Contains(types, c.events[i].Type) {
				ev, c.next = c.events[i], i+1
				return true
			}
		}
		return false
	})
	return ev, err
}

// until waits for a condition, which it asks with the lock held.
func (c *baresipControl) until(cond func() bool) error {
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		ok, changed, err := cond(), c.changed, c.lastward
		c.mu.Unlock()
		switch {
		case ok:
			return nil
		case err != nil:
			return fmt.Errorf("control connection: %w", err)
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("nothing within %s", patience)
		}
	}
}
