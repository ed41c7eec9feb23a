package b2bua

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"brickhouse/shared/sdp"
	"brickhouse/shared/transport"
)

// described is a party's description: its port, direction, and codecs.
func described(port, version int, direction string, formats ...string) string {
	if len(formats) == 0 {
		formats = []string{"0", "8"}
	}
	return fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\na=%s\r\n", version, port, strings.Join(formats, " "), direction)
}

// playing is a call in which who is held hears a service of ours.
type playing struct {
	*rig
	music *echo
	held  string // how the holder is answered
	made  int
}

func (r *rig) playing() *playing {
	r.t.Helper()
	p := &playing{rig: r, music: &echo{t: r.t}}
	change := r.change
	r.change = func(plan *Plan) {
		if change != nil {
			change(plan)
		}
		plan.Media, plan.Account = nil, "1001"
		plan.Hold = func(*transport.Flow) Local { p.made++; return p.music }
	}
	r.groups = func() [][]int { return [][]int{{0}} }
	r.a.invite(described(4000, 1, "sendrecv"))
	r.b[0].answer("INVITE", 200, described(5000, 1, "sendrecv"))
	r.b[0].want("INVITE ("+described(4000, 1, "sendrecv")+")", "ACK")
	r.a.want("200 INVITE (" + described(5000, 1, "sendrecv") + ")")
	r.a.ack("")
	answer, ok := inactive([]byte(described(4000, 2, "sendonly")), []byte(described(5000, 1, "sendrecv")))
	if !ok {
		r.t.Fatal("the hold is none")
	}
	p.held = string(answer)
	return p
}

// holds has A hold, up to the music.
func (p *playing) holds() {
	p.t.Helper()
	p.a.reinvite(described(4000, 2, "sendonly"))
	p.b[0].want("INVITE (tone)")
	p.b[0].answer("INVITE", 200, "b hears")
	p.b[0].want("ACK")
	p.a.want("200 INVITE (" + p.held + ")")
	p.a.ack("")
}

// played wants what the service was asked, and how often it was closed.
func (p *playing) played(closed int, log ...string) {
	p.t.Helper()
	if got := strings.Join(p.music.log, ", "); got != strings.Join(log, ", ") || p.music.closed != closed {
		p.t.Errorf("the service was asked %q, and closed %d times", got, p.music.closed)
	}
}

func TestMusicOnHold(t *testing.T) {
	both(t, 1, func(r *rig) {
		p := r.playing()
		p.holds()
		r.a.reinvite(described(4000, 3, "sendonly")) // again
		r.a.want("200 INVITE (" + p.held + ")")
		r.a.ack("")
		r.b[0].want()
		r.b[0].callee("INVITE", 1, "b moves")
		r.b[0].want("200 INVITE (echo b moves)")
		r.b[0].ack("")
		r.a.want()
		p.played(0, "offers", "accepts b hears", "b moves")
		r.a.reinvite(described(4000, 4, "sendrecv"))
		r.b[0].want("INVITE (" + described(4000, 4, "sendrecv") + ")")
		r.b[0].answer("INVITE", 488, "") // not yet: the music plays on
		r.b[0].want("ACK")
		r.a.want("488 INVITE")
		p.played(0, "offers", "accepts b hears", "b moves")
		r.a.reinvite(described(4000, 5, "sendrecv"))
		r.b[0].answer("INVITE", 200, described(5000, 2, "sendrecv"))
		r.b[0].want("INVITE ("+described(4000, 5, "sendrecv")+")", "ACK")
		r.a.want("200 INVITE (" + described(5000, 2, "sendrecv") + ")")
		r.a.ack("")
		p.played(1, "offers", "accepts b hears", "b moves")
		r.a.request("BYE")
		r.a.want("200 BYE")
		r.b[0].want("BYE")
		r.b[0].answer("BYE", 200, "")
		if p.made != 1 || p.music.closed != 1 {
			t.Errorf("made %d times, closed %d times", p.made, p.music.closed)
		}
	})
	both(t, 1, func(r *rig) { // the callee holds, and hangs up
		p := r.playing()
		answer, _ := inactive([]byte(described(5000, 2, "inactive")), []byte(described(4000, 1, "sendrecv")))
		r.b[0].callee("INVITE", 1, described(5000, 2, "inactive"))
		r.a.want("INVITE (tone)")
		r.a.answer("INVITE", 200, "a hears")
		r.a.want("ACK")
		r.b[0].want("200 INVITE (" + string(answer) + ")")
		r.b[0].ack("")
		r.b[0].callee("BYE", 2, "")
		r.b[0].want("200 BYE")
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		p.played(1, "offers", "accepts a hears")
	})
}

// holdsAcross has A's hold go to B as it came.
func (r *rig) holdsAcross(before ...string) {
	r.t.Helper()
	r.b[0].want(append(before, "INVITE ("+described(4000, 2, "sendonly")+")")...)
	r.b[0].answer("INVITE", 200, described(5000, 2, "recvonly"))
	r.b[0].want("ACK")
	r.a.want("200 INVITE (" + described(5000, 2, "recvonly") + ")")
	r.a.ack("")
}

// Where music can't be played the hold goes across as it came.
func TestHoldWithoutMusic(t *testing.T) {
	both(t, 1, func(r *rig) { // there is none
		p := r.playing()
		p.music.fail = errors.New("no ports")
		r.a.reinvite(described(4000, 2, "sendonly"))
		r.holdsAcross()
		p.played(1, "offers")
	})
	both(t, 1, func(r *rig) { // who is held does not want it
		p := r.playing()
		r.a.reinvite(described(4000, 2, "sendonly"))
		r.b[0].want("INVITE (tone)")
		r.b[0].answer("INVITE", 488, "")
		r.holdsAcross("ACK")
		p.played(1, "offers")
	})
	both(t, 1, func(r *rig) { // who holds hangs up meanwhile
		p := r.playing()
		r.a.reinvite(described(4000, 2, "sendonly"))
		r.b[0].want("INVITE (tone)")
		r.a.request("BYE")
		r.b[0].answer("INVITE", 200, "b hears")
		r.b[0].want("BYE", "ACK")
		r.b[0].answer("BYE", 200, "")
		r.pass(0)
		if p.music.closed != 1 {
			t.Errorf("closed %d times", p.music.closed)
		}
		r.a.want("200 BYE", "487 INVITE")
	})
	both(t, 1, func(r *rig) { // the one who is held holds, too: the service knows
		p := r.playing()
		p.holds()
		r.b[0].callee("INVITE", 1, described(5000, 3, "sendonly"))
		r.b[0].want("200 INVITE (echo " + described(5000, 3, "sendonly") + ")")
		r.b[0].ack("")
		p.played(0, "offers", "accepts b hears", described(5000, 3, "sendonly"))
	})
}

// A party that hears music is put through: the call it comes into does not play it.
func TestMusicEndsWithTransfer(t *testing.T) {
	both(t, 2, func(r *rig) {
		r.transfers(nil)
		p := r.playing()
		p.holds()
		a2 := r.second()
		r.a.referToCall(a2)
		r.a.want("202 REFER", "NOTIFY (SIP/2.0 100 Trying\r\n)")
		r.a.answer("NOTIFY", 200, "")
		r.b[1].want("INVITE")
		r.b[1].answer("INVITE", 200, "w1")
		r.b[0].want("INVITE (w1)")
		p.played(0, "offers", "accepts b hears")
		r.b[0].answer("INVITE", 200, "x1")
		r.b[0].want("ACK")
		r.b[1].want("ACK (x1)")
		p.played(1, "offers", "accepts b hears")
		a2.want("BYE")
		a2.answer("BYE", 200, "")
		r.a.told(200)
		r.a.want("BYE")
		r.a.answer("BYE", 200, "")
		p.played(1, "offers", "accepts b hears")
	})
}

func TestInactive(t *testing.T) {
	video := "m=video 6000 RTP/AVP 96\r\n"
	for name, c := range map[string]struct {
		offer, base, want string // want: direction and formats; empty: no hold
	}{
		"sendonly":       {described(1, 1, "sendonly"), described(2, 7, "sendrecv"), "inactive 0 8"},
		"inactive":       {described(1, 1, "inactive"), described(2, 7, "sendrecv", "8", "0"), "inactive 8 0"},
		"0.0.0.0":        {strings.Replace(described(1, 1, "sendrecv"), "c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0", 1), described(2, 7, "sendrecv"), "inactive 0 8"},
		"fewer codecs":   {described(1, 1, "sendonly", "8"), described(2, 7, "sendrecv"), "inactive 8"},
		"other codecs":   {described(1, 1, "sendonly", "9"), described(2, 7, "sendrecv"), ""},
		"no hold":        {described(1, 1, "sendrecv"), described(2, 7, "sendrecv"), ""},
		"deaf":           {described(1, 1, "recvonly"), described(2, 7, "sendrecv"), ""},
		"another medium": {described(1, 1, "sendonly") + video, described(2, 7, "sendrecv"), ""},
		"nothing":        {described(0, 1, "sendonly"), described(2, 7, "sendrecv"), ""},
		"none there":     {described(1, 1, "sendonly"), described(0, 7, "sendrecv"), ""},
		"no offer":       {"", described(2, 7, "sendrecv"), ""},
		"no base":        {described(1, 1, "sendonly"), "", ""},
	} {
		out, ok := inactive([]byte(c.offer), []byte(c.base))
		if ok != (c.want != "") {
			t.Errorf("%s: %v", name, ok)
			continue
		}
		if !ok {
			continue
		}
		d, err := sdp.Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Media[0].Direction, " ", strings.Join(d.Media[0].Formats, " ")); got != c.want || d.Media[0].Port != 2 || d.Origin.Version != 8 {
			t.Errorf("%s: %s\n%s", name, got, out)
		}
	}
}
