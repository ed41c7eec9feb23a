//go:build !race

package keying

// allocsAllowed is for a packet.
const allocsAllowed = 0
