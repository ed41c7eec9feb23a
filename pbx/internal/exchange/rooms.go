package exchange

import (
	"context"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/pin"
)

// Where the PINs of conference rooms are in the secret store, before the room's number.
const (
	roomSecrets   = "room/"
	leaderSecrets = "room-moderator/"
)

// roomPINs are those of conference rooms: of who comes, and of moderators.
func (x *Exchange) roomPINs() (party, leader *pin.Keeper) {
	keeper := func(path string) *pin.Keeper {
		return &pin.Keeper{Secrets: x.secrets, Path: path, Log: x.log, Now: x.now, Owner: func(number string) bool { return x.calls.IsRoom(number) }}
	}
	return keeper(roomSecrets), keeper(leaderSecrets)
}

// Rooms returns what is going on in all conference rooms (package admin).
func (x *Exchange) Rooms() []conference.Status { return x.calls.Rooms() }

// LockRoom locks a conference room, or opens it.
func (x *Exchange) LockRoom(name string, on bool) error { return x.calls.LockRoom(name, on) }

// MuteParty has one in a room be heard no more, or again.
func (x *Exchange) MuteParty(name, call string, on bool) error {
	return x.calls.MuteParty(name, call, on)
}

// EndConference sends all in a room away.
func (x *Exchange) EndConference(name string) error { return x.calls.EndConference(name) }

// SetRoomPIN gives a room a PIN, or its moderators; the empty one takes it away.
func (x *Exchange) SetRoomPIN(ctx context.Context, name string, moderators bool, code string) error {
	room, ok := x.calls.Room(name)
	if !ok {
		return callcontrol.Unfit("there is no room " + name + " in the dialplan")
	}
	keeper := x.partyPINs
	if moderators {
		keeper = x.leaderPINs
	}
	if code == "" {
		return keeper.Delete(ctx, room.Number)
	}
	return keeper.Set(ctx, room.Number, code)
}
