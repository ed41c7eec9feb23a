package product

import "testing"

// TestParkAndPickUpWithPrograms parks a call from outside by a desk phone's transfer: who waits hears the music, and a second desk phone
// fetches it by the slot's number. Then it takes a call that rings at the first one.
func TestParkAndPickUpWithPrograms(t *testing.T) {
	const music = 1320
	c := assemble(t, Options{Music: music})
	talk(t, c.outL, c.inB)
	c.inB.Transfer("sip:*68@" + Domain)
	c.told(t, c.inB, "REFER", "202 Accepted")
	c.inB.WaitClosed()
	c.outL.hears(t, music)
	c.inL.Call("*681")
	c.inL.WaitEstablished()
	bothHear(t, c.outL, c.inL)
	c.outL.Hangup()
	c.inL.WaitClosed()

	c.outB.Call(c.inB.number)
	c.inB.WaitIncoming()
	c.inL.Call("*8")
	c.inL.WaitEstablished()
	c.inB.WaitClosed()
	bothHear(t, c.outB, c.inL)
	c.inL.Hangup()
	c.outB.WaitClosed()
	c.nothingLeaks(t)
}
