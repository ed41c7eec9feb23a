//go:build race

package relay

// allocsAllowed is for a packet: instrumented, one closure of pion's escapes.
const allocsAllowed = 1
