// Package crew keeps goroutines whose stacks have grown. What handles a message goes deep, and a new goroutine begins with a small stack
// that is then copied several times as it grows: that costs more than the goroutine itself. So those who are done wait for more.
package crew

import "sync"

// Crew runs functions on goroutines that it keeps. The zero value keeps none; New makes one that does. It is safe for concurrent use.
type Crew struct {
	most int // that wait for work

	mu     sync.Mutex // guards all below
	idle   []worker   // the last one to finish is the first to go: its stack is in the cache
	closed bool
}

// worker is where a waiting goroutine gets its next function; closed to send it home.
type worker chan func()

// New returns a crew of which at most that many goroutines wait for work. How many work at a time is not bounded.
func New(most int) *Crew { return &Crew{most: most} }

// Go runs fn on a goroutine of the crew. A panic of fn ends the program, as everywhere.
func (c *Crew) Go(fn func()) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		w := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		w <- fn // has room: w was idle
		return
	}
	c.mu.Unlock()
	go c.work(fn)
}

func (c *Crew) work(fn func()) {
	var w worker
	for {
		fn()
		if w == nil {
			w = make(worker, 1)
		}
		if !c.wait(w) {
			return
		}
		var ok bool
		if fn, ok = <-w; !ok {
			return
		}
	}
}

// wait puts w in line for more work. It reports false if there are enough in it.
func (c *Crew) wait(w worker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= c.most {
		return false
	}
	c.idle = append(c.idle, w)
	return true
}

// Close sends home who waits, and later each one who is done. Go may still be called.
func (c *Crew) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, w := range c.idle {
		close(w)
	}
	c.idle = nil
}
