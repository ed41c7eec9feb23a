package admin

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/conference"
	"brickhouse/pbx/internal/pin"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Rooms are conference rooms.
type Rooms interface {
	Rooms() []conference.Status
	LockRoom(name string, on bool) error
	MuteParty(name, call string, on bool) error
	EndConference(name string) error
	SetRoomPIN(ctx context.Context, name string, moderators bool, code string) error
}

// room is a conference room as commands show it.
type room struct {
	Name    string  `json:"name"`
	Number  string  `json:"number"`
	Locked  bool    `json:"locked"`
	Parties []party `json:"parties"`
}

// party is one in a room.
type party struct {
	Call      string    `json:"call"`
	Number    string    `json:"number"`
	Name      string    `json:"name,omitempty"`
	Since     time.Time `json:"since"`
	Moderator bool      `json:"moderator,omitempty"`
	Muted     bool      `json:"muted,omitempty"`
	Talks     bool      `json:"talks,omitempty"`
	Waiting   bool      `json:"waiting,omitempty" doc:"For a moderator."`
}

// roomPINRequest is the body of PUT …/pin.
type roomPINRequest struct {
	PIN        string `json:"pin" doc:"Digits; empty: none."`
	Moderators bool   `json:"moderators,omitempty" doc:"The PIN makes who knows it a moderator."`
}

func roomRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /rooms", control.Operation{
		ID: "listRooms", Summary: "List the conference rooms and who is in them", Area: areaRooms,
	}, func(*http.Request, control.None) ([]room, error) {
		out := []room{}
		for _, r := range x.Rooms() {
			shown := room{Name: r.Name, Number: r.Number, Locked: r.Locked, Parties: []party{}}
			for _, p := range r.Parties {
				shown.Parties = append(shown.Parties, party{p.Call, p.Number, p.Name, p.Since, p.Moderator, p.Muted, p.Talks, p.Waiting})
			}
			out = append(out, shown)
		}
		return out, nil
	})
	in := func(op control.Operation, pattern string, do func(r *http.Request, name string, on bool) error) {
		op.Area = areaRooms
		control.Route(s, pattern, op, func(r *http.Request, req switchRequest) (done, error) {
			return done{}, roomFault(do(r, r.PathValue("name"), req.On))
		})
	}
	in(control.Operation{ID: "lockRoom", Summary: "Let nobody into a room but moderators, or everybody again"}, "PUT /rooms/{name}/locked",
		func(_ *http.Request, name string, on bool) error { return x.LockRoom(name, on) })
	in(control.Operation{ID: "muteParty", Summary: "Have one in a room be heard no more, or again"}, "PUT /rooms/{name}/parties/{call}/muted",
		func(r *http.Request, name string, on bool) error { return x.MuteParty(name, r.PathValue("call"), on) })
	control.Route(s, "DELETE /rooms/{name}/parties", control.Operation{ID: "endConference", Summary: "Send all in a room away", Area: areaRooms},
		func(r *http.Request, _ control.None) (done, error) {
			return done{}, roomFault(x.EndConference(r.PathValue("name")))
		})
	control.Route(s, "PUT /rooms/{name}/pin", control.Operation{ID: "setRoomPIN", Summary: "Give a room a PIN, or take it away", Area: areaRooms},
		func(r *http.Request, req roomPINRequest) (done, error) {
			return done{}, roomFault(x.SetRoomPIN(r.Context(), r.PathValue("name"), req.Moderators, req.PIN))
		})
}

// roomFault makes what a person got wrong its fault.
func roomFault(err error) error {
	switch {
	case errors.Is(err, conference.ErrNoRoom), errors.Is(err, conference.ErrNobody):
		return control.Errorf(http.StatusNotFound, "%s; pbx room list shows who is where", err)
	case errors.Is(err, pin.ErrWeak):
		return control.Errorf(http.StatusBadRequest, "%s", err)
	}
	return unfit(err)
}

func roomCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{roomList(a), roomShow(a), roomLock(a), roomMute(a), roomEnd(a), roomPIN(a)}
}

func roomPath(name string, more ...string) string { return below("/rooms/", name, more) }

func rooms(c *cobra.Command, a *command.Admin) ([]room, error) {
	var list []room
	err := a.Do(c.Context(), "GET", "/rooms", nil, &list)
	return list, err
}

func roomList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the conference rooms", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := rooms(c, a)
			if err != nil {
				return err
			}
			return a.Print(c, list, func() *control.Table {
				t := &control.Table{Columns: []string{"ROOM", "NUMBER", "PARTIES", "LOCKED"}, Empty: "no conference rooms"}
				for _, r := range list {
					t.Add(r.Name, r.Number, len(r.Parties), r.Locked)
				}
				return t
			})
		},
	}
}

func roomShow(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "show ROOM", Short: "Show who is in a room", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := rooms(c, a)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.Name == args[0] {
					return a.Print(c, r, func() *control.Table { return parties(r.Parties) })
				}
			}
			return command.Badf("no room %q in the dialplan; pbx room list shows those there are", args[0])
		},
	}
}

func parties(list []party) *control.Table {
	t := &control.Table{Columns: []string{"CALL", "NUMBER", "NAME", "FOR", "STATE"}, Empty: "nobody is there"}
	for _, p := range list {
		var state []string
		for _, s := range []struct {
			on   bool
			text string
		}{{p.Moderator, "moderator"}, {p.Waiting, "waits"}, {p.Muted, "muted"}, {p.Talks, "talks"}} {
			if s.on {
				state = append(state, s.text)
			}
		}
		t.Add(p.Call, p.Number, p.Name, time.Since(p.Since).Round(time.Second), strings.Join(state, ", "))
	}
	return t
}

func roomLock(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "lock ROOM on|off", Short: "Let nobody in but moderators", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			on, err := onOff(args[1])
			if err != nil {
				return err
			}
			if err := a.Do(c.Context(), "PUT", roomPath(args[0], "locked"), switchRequest{on}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]any{"room": args[0], "locked": on}, "room %s: lock is %s", args[0], args[1])
		},
	}
}

func roomMute(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "mute ROOM CALL on|off", Short: "Have one in a room be heard no more, or again", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			on, err := onOff(args[2])
			if err != nil {
				return err
			}
			if err := a.Do(c.Context(), "PUT", roomPath(args[0], "parties", args[1], "muted"), switchRequest{on}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]any{"room": args[0], "call": args[1], "muted": on}, "room %s, call %s: mute is %s", args[0], args[1], args[2])
		},
	}
}

func roomEnd(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "end ROOM", Short: "End a conference: all are sent away (pbx call kill ends one call)", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", roomPath(args[0], "parties"), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"room": args[0]}, "the conference in room %s is over", args[0])
		},
	}
}

func roomPIN(a *command.Admin) *cobra.Command {
	var moderators, off bool
	c := &cobra.Command{Use: "pin ROOM", Short: "Give a room a PIN, read from standard input", Args: cobra.ExactArgs(1)}
	c.Flags().BoolVar(&moderators, "moderators", false, "the PIN makes who knows it a moderator")
	c.Flags().BoolVar(&off, "off", false, "take the PIN away")
	c.RunE = func(c *cobra.Command, args []string) error {
		line := ""
		if !off {
			var err error
			line, err = bufio.NewReader(c.InOrStdin()).ReadString('\n')
			if line = strings.TrimRight(line, "\r\n"); line == "" {
				return command.Badf("standard input holds no PIN: %v", err)
			}
		}
		if err := a.Do(c.Context(), "PUT", roomPath(args[0], "pin"), roomPINRequest{line, moderators}, nil); err != nil {
			return err
		}
		return a.Say(c, map[string]any{"room": args[0], "moderators": moderators, "pin": !off}, map[bool]string{true: "room %s has no such PIN any more", false: "room %s has its PIN"}[off], args[0])
	}
	return c
}
