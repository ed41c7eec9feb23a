package product

import (
	"testing"
	"time"
)

// TestMenuWithPrograms has phones of two makes, outside and inside, choose in a menu: by a key, by an extension's number, and by the letters
// of a name that two extensions have.
func TestMenuWithPrograms(t *testing.T) {
	c := assemble(t, Options{})
	for _, x := range []struct {
		by, to phone
		keys   string
	}{{c.outB, c.inL, "1"}, {c.inB, c.outL, c.outL.number}, {c.outL, c.inB, "97462"}} {
		x.by.Call("1600")
		x.by.WaitEstablished()
		time.Sleep(time.Second) // of the prompt
		for _, k := range x.keys {
			press(x.by, string(k))
		}
		x.to.Answer()
		bothHear(t, x.by, x.to)
		hangup(x.by, x.to)
	}
	c.nothingLeaks(t)
}
