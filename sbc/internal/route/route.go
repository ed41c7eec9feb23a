// Package route finds the next hop of a call to a trunk: which gateways, in which order, at which addresses (RFC 3263).
//
// A Gateway is what the configuration names; a Hop is an address and a transport to try. gateway.go reads gateways,
// order.go shuffles them by weight, locate.go turns one into hops, records.go keeps what name servers said for as long as
// they allow, and dns.go asks them.
package route

import (
	"cmp"
	"slices"
)

// Weighted is what is chosen by priority, the lowest first, and among equals by weight.
type Weighted struct {
	Priority int // 0 to 65535
	Weight   int // 0 to 65535; 0 is chosen now and then, too
}

// Order sorts list by priority and, within one priority, at random in proportion to weight (RFC 2782 "Weight"). random
// returns a number from 0 up to and without n. list is not changed.
func Order[T any](list []T, of func(T) Weighted, random func(n int) int) []T {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(of(a).Priority, of(b).Priority) })
	for from := 0; from < len(out); {
		to := from + 1
		for to < len(out) && of(out[to]).Priority == of(out[from]).Priority {
			to++
		}
		shuffle(out[from:to], of, random)
		from = to
	}
	return out
}

// shuffle draws one after the other. RFC 2782 gives those of weight 0 "a very small chance"; each weight is scaled so that
// they have one.
func shuffle[T any](list []T, of func(T) Weighted, random func(n int) int) {
	const scale = 100
	share := func(t T) int { return max(of(t).Weight, 0)*scale + 1 }
	for i := range list {
		rest := list[i:]
		sum := 0
		for _, t := range rest {
			sum += share(t)
		}
		if len(rest) < 2 {
			return
		}
		n := random(sum)
		for j, t := range rest {
			if n -= share(t); n < 0 {
				copy(rest[1:j+1], rest[:j]) // the others keep their order
				rest[0] = t
				break
			}
		}
	}
}
