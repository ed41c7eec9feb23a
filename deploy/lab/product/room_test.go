package product

import (
	"strings"
	"testing"
	"time"
)

// TestRoomWithPrograms has phones of two makes, outside and inside, meet in a room with a PIN: each hears the two others, and not who
// mutes itself.
func TestRoomWithPrograms(t *testing.T) {
	c := assemble(t, Options{})
	c.Command("pbx", "2580\n", "room", "pin", "board")
	all := []phone{c.outL, c.outB, c.inB}
	for i, p := range all {
		p.Call("1800")
		p.WaitEstablished()
		for _, k := range "2580#" {
			press(p, string(k))
		}
		until(t, waits, "somebody to enter", func() string {
			if n := strings.Count(c.Command("pbx", "", "room", "show", "board"), "\n") - 1; n != i+1 {
				return "not yet"
			}
			return ""
		})
	}
	for _, p := range all[1:] { // one at a time is heard alone
		press(p, "*")
		press(p, "6")
	}
	for _, p := range all[1:] {
		p.hears(t, all[0].sings)
	}
	for _, p := range all {
		p.Hangup()
	}
	c.nothingLeaks(t)
}

// press presses a key, and leaves the time that a finger takes.
func press(p phone, key string) {
	p.Press(key)
	time.Sleep(300 * time.Millisecond)
}
