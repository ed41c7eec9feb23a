//go:build race

package keying

// allocsAllowed is for a packet: instrumented, one closure of pion's escapes.
const allocsAllowed = 1
