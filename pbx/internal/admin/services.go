package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// Services is what an extension may set for the calls to it, and how the office is switched.
type Services interface {
	SetForward(ctx context.Context, extension string, when store.Condition, to string, after int) error
	SetDND(ctx context.Context, extension string, on bool) error
	SetCallWaiting(ctx context.Context, extension string, on bool) error
	SetBlock(ctx context.Context, extension, caller string, on bool) error
	Night() dialplan.Night
	SetNight(ctx context.Context, night dialplan.Night, by string) error
}

// forwardRequest is the body of PUT …/forwards/CONDITION.
type forwardRequest struct {
	To    string `json:"to" doc:"Empty: nowhere."`
	After int    `json:"after,omitempty" doc:"Seconds of ringing, of no-answer."`
}

// switchRequest is the body of what is turned on or off.
type switchRequest struct {
	On bool `json:"on"`
}

// blockRequest is the body of PUT …/callers.
type blockRequest struct {
	Caller string `json:"caller" doc:"Number; empty: callers without one."`
	On     bool   `json:"on"`
}

// nightRequest is the body of PUT /night, and the answer of GET.
type nightRequest struct {
	Night string `json:"night"`
}

func serviceRoutes(s *control.Server, x Exchange) {
	onOff := func(pattern, id, summary string, set func(context.Context, string, bool) error) {
		control.Route(s, pattern, control.Operation{ID: id, Summary: summary, Area: areaExtensions, Shows: shows(x)},
			ofExtension(x, func(r *http.Request, number string, req switchRequest) (done, error) {
				return done{}, set(r.Context(), number, req.On)
			}))
	}
	control.Route(s, "PUT /extensions/{number}/forwards/{when}", control.Operation{
		ID: "setForward", Summary: "Forward the calls to an extension: always, busy, no-answer or unreachable", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req forwardRequest) (done, error) {
		return done{}, x.SetForward(r.Context(), number, store.Condition(r.PathValue("when")), req.To, req.After)
	}))
	onOff("PUT /extensions/{number}/dnd", "setDND", "Let no call to an extension ring, or all again", x.SetDND)
	onOff("PUT /extensions/{number}/waiting", "setCallWaiting", "Offer a busy extension further calls, or don't", x.SetCallWaiting)
	onOff("PUT /extensions/{number}/voicemail", "setVoicemail", "Give an extension a mailbox, or take it away", x.SetVoicemail)
	control.Route(s, "PUT /extensions/{number}/callers", control.Operation{
		ID: "setBlock", Summary: "Take no calls of a caller to an extension, or take them again", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req blockRequest) (done, error) {
		return done{}, x.SetBlock(r.Context(), number, req.Caller, req.On)
	}))
	control.Route(s, "GET /night", control.Operation{ID: "getNight", Summary: "Show how the office is switched", Area: areaDialplan},
		func(*http.Request, control.None) (nightRequest, error) { return nightRequest{string(x.Night())}, nil })
	control.Route(s, "PUT /night", control.Operation{
		ID: "setNight", Summary: "Switch the office to night or day, or have it follow the clock", Area: areaDialplan, Shows: func(*http.Request) any { return nightRequest{string(x.Night())} },
	}, func(r *http.Request, req nightRequest) (done, error) {
		return done{}, unfit(x.SetNight(r.Context(), dialplan.Night(req.Night), ""))
	})
}

// unfit makes a wrong wish the caller's fault.
func unfit(err error) error {
	if u := callcontrol.Unfit(""); errors.As(err, &u) {
		return control.Errorf(http.StatusBadRequest, "%s", u)
	}
	return err
}

// serviceCommands are the commands of services among those of extensions.
func serviceCommands(a *command.Admin) []*cobra.Command {
	return []*cobra.Command{
		extensionForward(a), extensionBlock(a),
		extensionSwitch(a, "dnd", "Let no call ring: callers hear busy"), extensionSwitch(a, "waiting", "Let a second call ring while the extension is in one"),
		extensionAgent(a), extensionEmail(a),
		extensionSwitch(a, "voicemail", "Let a mailbox take the calls that nobody answers and no forward takes"),
	}
}

func extensionForward(a *command.Admin) *cobra.Command {
	var after time.Duration
	c := &cobra.Command{
		Use: "forward NUMBER always|busy|no-answer|unreachable TARGET|off", Short: "Forward an extension's calls to a number, as its phones would dial it",
		Args: cobra.ExactArgs(3),
	}
	c.Flags().DurationVar(&after, "after", 0, "how long it rings before no-answer; 0: as the dialplan says")
	c.RunE = func(c *cobra.Command, args []string) error {
		to := args[2]
		if to == "off" {
			to = ""
		}
		if after%time.Second != 0 || after != 0 && args[1] != string(store.NoAnswer) {
			return command.Badf("--after is a number of seconds, for no-answer")
		}
		path := "/extensions/" + url.PathEscape(args[0]) + "/forwards/" + url.PathEscape(args[1])
		if err := a.Do(c.Context(), "PUT", path, forwardRequest{to, int(after / time.Second)}, nil); err != nil {
			return err
		}
		said := map[string]string{"number": args[0], "when": args[1], "to": to}
		if to == "" {
			return a.Say(c, said, "extension %s does not forward %s", args[0], args[1])
		}
		return a.Say(c, said, "extension %s forwards %s to %s", args[0], args[1], to)
	}
	return c
}

// onOff reads on or off.
func onOff(text string) (bool, error) {
	if text != "on" && text != "off" {
		return false, command.Badf("%q is neither on nor off", text)
	}
	return text == "on", nil
}

func extensionSwitch(a *command.Admin, name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name + " NUMBER on|off", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			on, err := onOff(args[1])
			if err != nil {
				return err
			}
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/"+name, switchRequest{on}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]any{"number": args[0], name: on}, "extension %s: %s is %s", args[0], name, args[1])
		},
	}
}

func extensionBlock(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "block NUMBER CALLER|anonymous on|off", Short: "Take no calls of a caller: the number as the phones show it, or anonymous", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			on, err := onOff(args[2])
			if err != nil {
				return err
			}
			caller := args[1]
			if caller == "anonymous" {
				caller = ""
			}
			if err := a.Do(c.Context(), "PUT", "/extensions/"+url.PathEscape(args[0])+"/callers", blockRequest{caller, on}, nil); err != nil {
				return err
			}
			does := "takes calls of"
			if on {
				does = "takes no calls of"
			}
			return a.Say(c, map[string]any{"number": args[0], "caller": caller, "blocked": on}, "extension %s %s %s", args[0], does, args[1])
		},
	}
}

func dialplanNight(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "night [on|off|auto]", Short: "Close the office by hand, open it, or leave it to the clock; say how it is", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var night nightRequest
			if len(args) == 1 {
				night.Night = args[0]
				if err := a.Do(c.Context(), "PUT", "/night", night, nil); err != nil {
					return err
				}
			} else if err := a.Do(c.Context(), "GET", "/night", nil, &night); err != nil {
				return err
			}
			return a.Say(c, night, "night is %s", night.Night)
		},
	}
}

// addServices shows what an extension has set for the calls to it.
func addServices(t *control.Table, s *store.Services) {
	if s == nil {
		return
	}
	for _, when := range store.Conditions() {
		to := s.Forward(when)
		if to == "" {
			continue
		}
		if when == store.NoAnswer && s.After > 0 {
			to += " after " + strconv.Itoa(s.After) + "s"
		}
		t.Add("forwards "+string(when), to)
	}
	if s.DND {
		t.Add("do not disturb", "on")
	}
	if s.NoWaiting {
		t.Add("call waiting", "off")
	}
	if s.Voicemail {
		t.Add("voicemail", "on")
	}
	if s.Email != "" {
		t.Add("messages are mailed to", s.Email)
	}
	if s.Agent != "" {
		t.Add("agent", s.Agent)
	}
	callers := s.Blocked
	if s.BlockAnonymous {
		callers = append([]string{"anonymous"}, callers...)
	}
	if len(callers) > 0 {
		t.Add("takes no calls of", fmt.Sprint(strings.Join(callers, " ")))
	}
}
