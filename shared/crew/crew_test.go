package crew

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestEachFunctionRunsOnce(t *testing.T) {
	c := New(4)
	defer c.Close()
	var ran atomic.Int64
	var done sync.WaitGroup
	const n = 10_000
	done.Add(n)
	for range 4 {
		go func() {
			for range n / 4 {
				c.Go(func() { ran.Add(1); done.Done() })
			}
		}()
	}
	done.Wait()
	if got := ran.Load(); got != n {
		t.Errorf("%d functions ran, want %d", got, n)
	}
}

func TestOneWhoWaitsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(1)
		release, ran := make(chan struct{}), 0
		c.Go(func() { <-release })
		c.Go(func() { ran++ })
		synctest.Wait()
		if ran != 1 {
			t.Error("a function waits for another one")
		}
		close(release)
		synctest.Wait()
		if got := len(c.idle); got != 1 {
			t.Errorf("%d goroutines wait, want 1", got)
		}
		c.Close()
	})
}

// A bubble that ends with goroutines left in it fails.
func TestCloseSendsAllHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(8)
		release, ran := make(chan struct{}), 0
		for range 4 {
			c.Go(func() { <-release })
		}
		c.Go(func() {})
		synctest.Wait()
		c.Close()
		close(release)
		c.Go(func() { ran++ })
		synctest.Wait()
		if ran != 1 {
			t.Error("nothing runs after Close")
		}
	})
}

func BenchmarkGo(b *testing.B) {
	c := New(4)
	defer c.Close()
	done := make(chan struct{})
	fn := func() { deep(40); done <- struct{}{} }
	b.ReportAllocs()
	for b.Loop() {
		c.Go(fn)
		<-done
	}
}

func BenchmarkPlain(b *testing.B) {
	done := make(chan struct{})
	fn := func() { deep(40); done <- struct{}{} }
	b.ReportAllocs()
	for b.Loop() {
		go fn()
		<-done
	}
}

// deep goes as far down as the handling of a message does.
func deep(n int) byte {
	var frame [256]byte
	if n > 0 {
		frame[n] = deep(n - 1)
	}
	return frame[n] + byte(n)
}
