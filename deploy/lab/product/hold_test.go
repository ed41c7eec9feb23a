package product

import "testing"

// TestMusicOnHoldWithPrograms has phones of two makes hold each other, outside and inside: who is held hears the exchange's music, also from
// a phone that would play its own.
func TestMusicOnHoldWithPrograms(t *testing.T) {
	const music = 1320
	c := assemble(t, Options{Music: music})
	for _, x := range []struct{ from, to phone }{{c.outB, c.inL}, {c.inB, c.outL}} {
		talk(t, x.from, x.to)
		for _, by := range []phone{x.from, x.to} {
			other := x.to
			if by == x.to {
				other = x.from
			}
			by.Hold()
			other.hears(t, music)
			by.Resume()
			bothHear(t, by, other)
		}
		hangup(x.from, x.to)
	}
	c.nothingLeaks(t)
}
