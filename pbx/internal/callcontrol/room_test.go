package callcontrol

import (
	"testing"

	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/shared/verdict"
)

// Two phones meet in a room; one is its moderator, who is known by its number, unless that is only shown by a carrier.
func TestRoom(t *testing.T) {
	r := newRig(t, nil)
	room := dialplan.Room{Number: "1800", Moderators: []string{"1001"}, Parties: 3, Chime: true}
	plan, err := dialplan.Compile(dialplan.File{
		Rooms: map[string]dialplan.Room{"board": room},
		Rules: append([]dialplan.Rule{{Number: "4930888", From: "carrier", Do: "room", Room: "board"}}, rules...),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.control.SetDialplan(plan)
	first, second := r.reaches("1001", "1800"), r.reaches("1002", "1800")
	r.set(func() { r.who = Caller{Number: "1001", Realm: "peer", Trunk: "carrier", Trace: "trace-1"} })
	r.inQueue("4930888")
	var parties []conference.PartyStatus
	eventually(t, func() string {
		if parties = r.control.Rooms()[0].Parties; len(parties) < 3 {
			return "somebody has not come"
		}
		return ""
	})
	for i, moderator := range []bool{true, false, false} {
		if parties[i].Moderator != moderator {
			t.Errorf("%+v", parties[i])
		}
	}
	if !r.control.CanWatch("1800") || !r.control.IsRoom("1800") || r.control.IsRoom("1001") {
		t.Error("the room is not known by its number")
	}
	if err := r.control.MuteParty("board", parties[1].Call, true); err != nil || !r.control.Rooms()[0].Parties[1].Muted {
		t.Errorf("%v, %+v", err, r.control.Rooms())
	}
	second.hangsUp()
	eventually(t, func() string {
		if parties = r.control.Rooms()[0].Parties; len(parties) > 2 {
			return "who hung up is there"
		}
		return ""
	})
	r.rowIs("4930888", "1001", "1800")
	if err := r.control.EndConference("board"); err != nil {
		t.Fatal(err)
	}
	hungUp(first.Party)
	hungUp(r.caller)
	for _, rec := range r.ended(2) {
		if rec.Callee != "1800" || rec.Reason != verdict.NormalClearing {
			t.Errorf("record %+v", rec)
		}
	}
	if err := r.control.LockRoom("board", true); err == nil {
		t.Error("an empty room is locked")
	}
}
