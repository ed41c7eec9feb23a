package admin

import (
	"context"
	"strings"
	"testing"
	"time"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/pin"
)

// meeting is the part of the fake exchange that has conference rooms.
type meeting struct {
	rooms []conference.Status
	did   []string
}

func (f *meeting) Rooms() []conference.Status { return f.rooms }

func (f *meeting) do(name string, what ...string) error {
	f.did = append(f.did, strings.Join(append([]string{name}, what...), " "))
	if name != "board" {
		return conference.ErrNoRoom
	}
	return nil
}

func (f *meeting) LockRoom(name string, on bool) error {
	return f.do(name, map[bool]string{true: "locked", false: "open"}[on])
}

func (f *meeting) MuteParty(name, call string, on bool) error {
	return f.do(name, call, map[bool]string{true: "muted", false: "heard"}[on])
}

func (f *meeting) EndConference(name string) error { return f.do(name, "end") }

func (f *meeting) SetRoomPIN(_ context.Context, name string, moderators bool, code string) error {
	if code == "1111" {
		return pin.ErrWeak
	}
	if name != "board" {
		return callcontrol.Unfit("there is no room " + name)
	}
	return f.do(name, "pin", code, map[bool]string{true: "of moderators", false: "of all"}[moderators])
}

func TestRooms(t *testing.T) {
	r := newRig(t)
	if out := r.do("room", "list"); !strings.Contains(out, "no conference rooms") {
		t.Error(out)
	}
	r.x.rooms = []conference.Status{{Name: "board", Number: "1800", Locked: true, Parties: []conference.PartyStatus{
		{Call: "c1", Number: "1001", Name: "Alice", Since: time.Now().Add(-time.Minute), Moderator: true, Talks: true}, {Call: "c2", Number: "1002", Muted: true},
	}}}
	if out := r.do("room", "list"); !strings.Contains(out, "board") || !strings.Contains(out, "1800") || !strings.Contains(out, "2") {
		t.Error(out)
	}
	out := r.do("room", "show", "board")
	for _, want := range []string{"c1", "Alice", "1m", "moderator, talks", "muted"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, args := range []string{"lock board on", "mute board c2 on", "mute board c2 off", "end board", "pin board --off"} {
		r.do(append([]string{"room"}, strings.Fields(args)...)...)
	}
	if out, err := r.stdin("2580\n", "room", "pin", "board", "--moderators"); err != nil || !strings.Contains(out, "has its PIN") {
		t.Errorf("%s, %v", out, err)
	}
	want := "board locked,board c2 muted,board c2 heard,board end,board pin  of all,board pin 2580 of moderators"
	if got := strings.Join(r.x.did, ","); got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	for args, want := range map[string]string{
		"show none": "no room", "lock none on": "pbx room list", "mute none c on": "pbx room list", "end none": "pbx room list", "pin none --off": "no room",
		"lock board maybe": "neither on nor off",
	} {
		if status, _, errs := r.run(append([]string{"room"}, strings.Fields(args)...)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, status, errs)
		}
	}
	for input, want := range map[string]string{"1111\n": "4 to 10 digits", "": "no PIN"} {
		if _, err := r.stdin(input, "room", "pin", "board"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PIN %q: %v", input, err)
		}
	}
}
