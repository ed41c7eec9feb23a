package memlog

import "sync"

// caller runs functions in order on one goroutine, and takes more without ever blocking. After close it runs them on
// goroutines of their own.
type caller struct {
	mu     sync.Mutex
	more   *sync.Cond
	queue  []func()
	closed bool
	done   chan struct{}
}

func newCaller() *caller {
	c := &caller{done: make(chan struct{})}
	c.more = sync.NewCond(&c.mu)
	go c.run()
	return c
}

func (c *caller) add(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		go f()
		return
	}
	c.queue = append(c.queue, f)
	c.more.Signal()
}

func (c *caller) run() {
	defer close(c.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.queue) == 0 {
			if c.closed {
				return
			}
			c.more.Wait()
		}
		batch := c.queue
		c.queue = nil
		c.mu.Unlock()
		for _, f := range batch {
			f()
		}
		c.mu.Lock()
	}
}

// close waits until all that was added before has run.
func (c *caller) close() {
	c.mu.Lock()
	c.closed = true
	c.more.Signal()
	c.mu.Unlock()
	<-c.done
}
