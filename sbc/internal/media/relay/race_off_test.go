//go:build !race

package relay

// allocsAllowed is for a packet.
const allocsAllowed = 0
