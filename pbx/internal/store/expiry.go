package store

import (
	"container/heap"
	"time"
)

// expiryHeap knows which binding expires first. Each id stands in it once. An index of memdb would do the same at many
// times the cost, and only the writer goroutine asks.
type expiryHeap struct {
	items []expiryItem
	at    map[string]int // place of an id in items
}

type expiryItem struct {
	id   string
	when time.Time
}

func newExpiryHeap() expiryHeap { return expiryHeap{at: map[string]int{}} }

// set adds an id or moves it.
func (h *expiryHeap) set(id string, when time.Time) {
	if i, ok := h.at[id]; ok {
		h.items[i].when = when
		heap.Fix(h, i)
		return
	}
	heap.Push(h, expiryItem{id, when})
}

// drop takes an id out, if it is in.
func (h *expiryHeap) drop(id string) {
	if i, ok := h.at[id]; ok {
		heap.Remove(h, i)
	}
}

// due returns up to most ids whose time has come, without taking them out.
func (h *expiryHeap) due(now time.Time, most int) []string {
	var ids []string
	// The heap's order makes each subtree of one that is not due not due: walk it from the top.
	for next := []int{0}; len(next) > 0 && len(ids) < most; {
		i := next[len(next)-1]
		next = next[:len(next)-1]
		if i >= len(h.items) || now.Before(h.items[i].when) {
			continue
		}
		ids = append(ids, h.items[i].id)
		next = append(next, 2*i+1, 2*i+2)
	}
	return ids
}

// The methods of heap.Interface.

func (h *expiryHeap) Len() int           { return len(h.items) }
func (h *expiryHeap) Less(i, j int) bool { return h.items[i].when.Before(h.items[j].when) }

func (h *expiryHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.at[h.items[i].id], h.at[h.items[j].id] = i, j
}

// Push implements heap.Interface.
func (h *expiryHeap) Push(x any) {
	item := x.(expiryItem) // only set calls it
	h.at[item.id] = len(h.items)
	h.items = append(h.items, item)
}

// Pop implements heap.Interface.
func (h *expiryHeap) Pop() any {
	last := len(h.items) - 1
	item := h.items[last]
	h.items[last] = expiryItem{}
	h.items = h.items[:last]
	delete(h.at, item.id)
	return item
}
