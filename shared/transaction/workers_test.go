package transaction

import (
	"sync/atomic"
	"testing"
)

func TestWorkers(t *testing.T) {
	w := NewWorkers(2, nil)
	hold, none := make(chan struct{}), func() { t.Error("failed is called") }
	var done atomic.Int32
	for range 2 {
		if !w.Go(func() { <-hold; done.Add(1) }, none) {
			t.Fatal("no room")
		}
	}
	if w.Go(func() { t.Error("it runs") }, none) {
		t.Error("three of two run")
	}
	close(hold)
	w.Wait()
	if done.Load() != 2 {
		t.Errorf("%d of 2 ran", done.Load())
	}
	var failed atomic.Int32
	if !w.Go(func() { panic("a fault of ours") }, func() { failed.Add(1) }) {
		t.Error("no room afterwards")
	}
	w.Wait()
	if failed.Load() != 1 {
		t.Error("a panic is not told")
	}
}
