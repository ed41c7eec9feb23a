package product

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestVoicemailWithPrograms lets phones of two makes leave messages by key presses (RFC 4733), through the border, for a desk phone that does
// not want to be disturbed; it hears both in turn, and empties its mailbox.
func TestVoicemailWithPrograms(t *testing.T) {
	c := assemble(t, Options{})
	owner := c.inB
	c.Command("pbx", "", "extension", "voicemail", owner.number, "on")
	c.Command("pbx", "", "extension", "dnd", owner.number, "on")
	callers := []phone{c.outL, c.outB}
	for i, p := range callers {
		p.Call(owner.number)
		p.WaitEstablished()
		time.Sleep(time.Second) // of the greeting
		p.Press("1")            // enough of it
		until(t, waits, "the recording to begin", func() string {
			if begun, _ := filepath.Glob(filepath.Join(c.Dir, "*", "voicemail", owner.number, "*.part")); len(begun) == 0 {
				return "no file"
			}
			return ""
		})
		time.Sleep(4 * time.Second)
		p.Hangup()
		c.holds(t, owner.number, i+1)
	}
	owner.Call("*97")
	owner.WaitEstablished()
	time.Sleep(time.Second)
	owner.Press("1")
	for i, p := range callers {
		owner.Hears(p.sings)
		owner.Press("7")
		c.holds(t, owner.number, len(callers)-1-i)
	}
	owner.Hangup()
	c.nothingLeaks(t)
}

// holds waits until a mailbox has so many messages.
func (p *Product) holds(t *testing.T, mailbox string, n int) {
	t.Helper()
	until(t, waits, fmt.Sprint(n, " messages"), func() string {
		var list []struct{ Folder string }
		if err := json.Unmarshal([]byte(p.Command("pbx", "", "mailbox", "list", mailbox, "--json")), &list); err != nil || len(list) != n {
			return fmt.Sprint(list, err)
		}
		return ""
	})
}
