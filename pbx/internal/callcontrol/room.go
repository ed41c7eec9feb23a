package callcontrol

import (
	"context"
	"io"
	"slices"

	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

// RoomPINs are the PINs of conference rooms, and those of their moderators.
type RoomPINs struct{ Party, Leader conference.PINs }

// meet leads the caller into a conference room.
func (a *attempt) meet(name string) (b2bua.Turn, verdict.Verdict) {
	conf, ok := a.plan.Room(name)
	if !ok {
		return b2bua.Turn{}, notHere
	}
	a.at, a.hunt = "", nil
	a.place(conf.Number)
	p := &conference.Party{
		Call: a.id, Number: a.caller.Number, Name: a.caller.Name,
		Moderator: a.caller.isOwner() && slices.Contains(conf.Moderators, a.caller.Number),
	}
	s := &conference.Script{
		Room: conf, Name: name, Rooms: a.c.rooms, Party: a.c.cfg.RoomPINs.Party, Leader: a.c.cfg.RoomPINs.Leader,
		Prompts: a.c.cfg.Prompts, Music: func() io.Reader { return a.c.cfg.Music.Play() }, Log: a.c.cfg.Log,
	}
	return b2bua.Turn{Local: a.script(func(ctx context.Context, d *media.Dialogue) { s.Run(ctx, d, p) })}, verdict.Passed
}

// Rooms returns what is going on in all conference rooms.
func (c *Control) Rooms() []conference.Status {
	plan := c.plan.Load()
	var out []conference.Status
	for _, name := range plan.Rooms() {
		conf, _ := plan.Room(name)
		out = append(out, c.rooms.Status(name, &conf))
	}
	return out
}

// Room returns a conference room of the dialplan.
func (c *Control) Room(name string) (dialplan.Room, bool) { return c.plan.Load().Room(name) }

// IsRoom reports whether a number is that of a conference room.
func (c *Control) IsRoom(number string) bool {
	plan := c.plan.Load()
	return slices.ContainsFunc(plan.Rooms(), func(name string) bool {
		conf, _ := plan.Room(name)
		return conf.Number == number
	})
}

// LockRoom locks a conference room, or opens it. Errors: conference.ErrNoRoom.
func (c *Control) LockRoom(name string, on bool) error { return c.rooms.Lock(name, on) }

// MuteParty has one in a room be heard no more, or again. Errors: conference.ErrNoRoom, conference.ErrNobody.
func (c *Control) MuteParty(name, call string, on bool) error { return c.rooms.Mute(name, call, on) }

// EndConference sends all in a room away. Errors: conference.ErrNoRoom.
func (c *Control) EndConference(name string) error { return c.rooms.End(name) }
