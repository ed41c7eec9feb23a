// Package conference is where several callers meet: who may enter a room, who is there, and the script of one party.
package conference

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/media"
)

// Rooms are all rooms. It is safe for concurrent use.
type Rooms struct {
	now func() time.Time

	mu   sync.Mutex
	open map[string]*room // those with somebody in them, by name
}

// NewRooms returns rooms without parties.
func NewRooms(now func() time.Time) *Rooms { return &Rooms{now: now, open: map[string]*room{}} }

// room is one with somebody in it.
type room struct {
	name    string
	sound   *media.Room
	locked  bool
	parties []*Party
	changed chan struct{} // closed when it may have begun, or have to wait again
}

// Party is one in a room.
type Party struct {
	Call      string
	Number    string
	Name      string
	Moderator bool

	rooms   *Rooms
	room    *room
	seat    *media.Seat // nil: it waits
	since   time.Time
	muted   bool
	dismiss context.CancelFunc
}

// Errors of enter, and of what people do.
var (
	ErrFull   = errors.New("the room is full")
	ErrLocked = errors.New("the room is locked")
	ErrNobody = errors.New("there is no such party")
	ErrNoRoom = errors.New("nobody is in that room")
)

// enter brings a party into a room. ctx of the party ends when it is sent away.
func (rs *Rooms) enter(ctx context.Context, name string, conf *dialplan.Room, p *Party) (context.Context, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.open[name]
	if r == nil {
		r = &room{name: name, sound: media.NewRoom(), changed: make(chan struct{})}
	}
	switch {
	case len(r.parties) >= conf.Parties:
		return nil, ErrFull
	case r.locked && !p.Moderator:
		return nil, ErrLocked
	}
	rs.open[name] = r
	ctx, p.dismiss = context.WithCancel(ctx)
	p.rooms, p.room, p.since = rs, r, rs.now()
	r.parties = append(r.parties, p)
	r.change()
	return ctx, nil
}

// change tells those who wait that somebody came or left.
func (r *room) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *room) moderated() bool {
	return slices.ContainsFunc(r.parties, func(p *Party) bool { return p.Moderator })
}

// leave takes a party out of its room. The last one turns off the light; with ends, the last moderator sends all others away.
func (p *Party) leave(conf *dialplan.Room) {
	rs := p.rooms
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := p.room
	r.parties = slices.DeleteFunc(r.parties, func(o *Party) bool { return o == p })
	p.dismiss()
	p.standLocked()
	if len(r.parties) == 0 {
		delete(rs.open, r.name)
		return
	}
	if conf.Chime {
		r.sound.Chime(leaveTone)
	}
	if conf.Ends && p.Moderator && !r.moderated() {
		for _, o := range r.parties {
			o.dismiss()
		}
	}
	r.change()
}

func (p *Party) standLocked() {
	if p.seat != nil {
		p.seat.Stand()
		p.seat = nil
	}
}

// Tones of who comes and leaves, in Hz.
const (
	comeTone  = 880
	leaveTone = 440
)

// sit gives a party its seat, if it may speak now. Otherwise it returns what tells of a change.
func (p *Party) sit(conf *dialplan.Room) (seat *media.Seat, others int, changed <-chan struct{}) {
	p.rooms.mu.Lock()
	defer p.rooms.mu.Unlock()
	r := p.room
	if conf.Wait && !r.moderated() {
		p.standLocked()
		return nil, 0, r.changed
	}
	if p.seat == nil {
		if conf.Chime && len(r.parties) > 1 {
			r.sound.Chime(comeTone)
		}
		p.seat = r.sound.Sit()
		p.seat.Mute(p.muted)
	}
	return p.seat, len(r.parties) - 1, r.changed
}

// mute has a party be heard no more, or again.
func (p *Party) muteLocked(on bool) {
	p.muted = on
	if p.seat != nil {
		p.seat.Mute(on)
	}
}

// toggle mutes a party, or has it be heard again, and returns which.
func (p *Party) toggle() bool {
	p.rooms.mu.Lock()
	defer p.rooms.mu.Unlock()
	p.muteLocked(!p.muted)
	return p.muted
}

// muteOthers has nobody but the moderators be heard.
func (p *Party) muteOthers() {
	p.rooms.mu.Lock()
	defer p.rooms.mu.Unlock()
	for _, o := range p.room.parties {
		if !o.Moderator {
			o.muteLocked(true)
		}
	}
}

// toggleLock locks the room of a party, or opens it, and returns which.
func (p *Party) toggleLock() bool {
	p.rooms.mu.Lock()
	defer p.rooms.mu.Unlock()
	p.room.locked = !p.room.locked
	return p.room.locked
}

// end sends everybody in the room away.
func (p *Party) end() { _ = p.rooms.End(p.room.name) }

// count is how many are in the room.
func (p *Party) count() int {
	p.rooms.mu.Lock()
	defer p.rooms.mu.Unlock()
	return len(p.room.parties)
}

// Lock locks a room, or opens it. An empty one is open.
func (rs *Rooms) Lock(name string, on bool) error {
	return rs.with(name, func(r *room) error { r.locked = on; return nil })
}

// Mute has a party be heard no more, or again.
func (rs *Rooms) Mute(name, call string, on bool) error {
	return rs.with(name, func(r *room) error {
		i := slices.IndexFunc(r.parties, func(p *Party) bool { return p.Call == call })
		if i < 0 {
			return ErrNobody
		}
		r.parties[i].muteLocked(on)
		return nil
	})
}

// End sends everybody in a room away.
func (rs *Rooms) End(name string) error {
	return rs.with(name, func(r *room) error {
		for _, p := range r.parties {
			p.dismiss()
		}
		return nil
	})
}

func (rs *Rooms) with(name string, do func(*room) error) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.open[name]
	if r == nil {
		return ErrNoRoom
	}
	return do(r)
}

// Status is a room as people see it.
type Status struct {
	Name    string
	Number  string
	Locked  bool
	Parties []PartyStatus
}

// PartyStatus is one in a room.
type PartyStatus struct {
	Call, Number, Name               string
	Since                            time.Time
	Moderator, Muted, Talks, Waiting bool
}

// Status returns what is going on in a room.
func (rs *Rooms) Status(name string, conf *dialplan.Room) Status {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	s := Status{Name: name, Number: conf.Number}
	r := rs.open[name]
	if r == nil {
		return s
	}
	s.Locked = r.locked
	for _, p := range r.parties {
		s.Parties = append(s.Parties, PartyStatus{
			Call: p.Call, Number: p.Number, Name: p.Name, Since: p.since, Moderator: p.Moderator, Muted: p.muted,
			Talks: p.seat != nil && p.seat.Talks(), Waiting: p.seat == nil,
		})
	}
	return s
}
