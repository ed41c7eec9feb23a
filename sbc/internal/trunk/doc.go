// Package trunk knows how the carriers are: which of their gateways answer, which are disabled, who they have shown to be.
//
// A trunk has gateways, a gateway has hops: the addresses that its name leads to (package route). Each hop is up until it
// fails several times in a row, and then left out until it answers again:
//
//	          fails in a row = down
//	up ────────────────────────────────► down
//	 ▲                                     │
//	 └──────── answers in a row = up ──────┘
//
// What counts is what probes find (OPTIONS, probe.go) and what calls find (Report): silence and broken transport. The
// package sends nothing itself; how to probe is an argument.
package trunk
