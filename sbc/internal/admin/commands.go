package admin

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/b2bua/calladmin"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

// socketVar is the environment variable that names the socket.
const socketVar = "BRICKHOUSE_SBC_SOCKET"

// Commands are the commands to a running border. socket is where it listens unless a flag says otherwise.
func Commands(socket string) []*cobra.Command {
	bans, regs, trunks := &command.Admin{}, &command.Admin{}, &command.Admin{}
	return []*cobra.Command{
		bans.Group("ban", "Who is banned, and why", socketVar, socket,
			banList(bans), banAdd(bans), banDel(bans), banImport(bans), banExport(bans), banWhy(bans), banWatch(bans), banTop(bans), banTest(bans),
			banCapture(bans), banReplay(bans), banStats(bans), banToken(bans)),
		regs.Group("registration", "Phones outside", socketVar, socket, registrationList(regs)),
		trunks.Group("trunk", "Trunks and their gateways", socketVar, socket, trunkCommands(trunks)...),
		calladmin.Command(socketVar, socket), calladmin.DrainCommand(socketVar, socket), command.Reload(socketVar, socket),
	}
}

func banList(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the bans in force", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var bans []guard.Ban
			if err := a.Do(c.Context(), "GET", "/bans", nil, &bans); err != nil {
				return err
			}
			return a.Print(c, bans, func() *control.Table {
				t := &control.Table{Columns: []string{"SOURCE", "REASON", "BY", "RULE", "SINCE", "LEFT", "NOTE"}, Empty: "nobody is banned"}
				for _, b := range bans {
					t.Add(b.Prefix, b.Reason, b.By, b.Rule, b.From.Format(time.DateTime), left(b), b.Note)
				}
				return t
			})
		},
	}
}

// left is how long a ban lasts, for a person.
func left(b guard.Ban) string {
	d := b.Left(time.Now())
	if d == guard.Forever {
		return "until lifted"
	}
	return d.Round(time.Second).String()
}

func banAdd(a *command.Admin) *cobra.Command {
	var length, note string
	c := &cobra.Command{
		Use: "add ADDRESS|NETWORK", Short: "Ban a source", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "POST", "/bans", banRequest{Prefix: args[0], For: length, Note: note}, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"banned": args[0]}, "%s is banned", args[0])
		},
	}
	c.Flags().StringVar(&length, "for", defaultBan.String(), "`LENGTH` as 30m, 24h or forever")
	c.Flags().StringVar(&note, "note", "", "`WHY`, for whoever asks later")
	return c
}

func banDel(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "del ADDRESS|NETWORK", Short: "Lift a ban", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Do(c.Context(), "DELETE", "/bans?prefix="+url.QueryEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return a.Say(c, map[string]string{"lifted": args[0]}, "the ban of %s is lifted", args[0])
		},
	}
}

func banWhy(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "why ADDRESS", Short: "Tell what is known about an address", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var e guard.Explanation
			if err := a.Do(c.Context(), "GET", "/bans/why?addr="+url.QueryEscape(args[0]), nil, &e); err != nil {
				return err
			}
			if a.JSON {
				return a.Print(c, e, nil)
			}
			_, err := fmt.Fprint(c.OutOrStdout(), explain(e))
			return err
		},
	}
}

// explain writes what the guard knows, for a person.
func explain(e guard.Explanation) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(control.Clean(strings.TrimRight(fmt.Sprintf(format, args...), " ")) + "\n")
	}
	line("%s: %s", e.Addr, e.Outcome)
	if e.Allowed != "" {
		line("  never banned: %s", e.Allowed)
	}
	if e.Noted != "" {
		line("  %s would ban it, and only counts", e.Noted)
	}
	if !e.Limited.IsZero() {
		line("  held to a strict rate for %s instead of a ban, since the circuit breaker was open; sbc ban del lifts it", time.Until(e.Limited).Round(time.Second))
	}
	if e.Listed != "" {
		line("  banned by %s", e.Listed)
	}
	for _, ban := range e.Bans {
		line("  banned since %s: %s, %s", ban.From.Format(time.DateTime), ban.Reason, who(ban))
		line("  time left: %s", left(ban))
	}
	for _, h := range e.Held {
		line("  on hold: %s until %s, %s", h.Source, h.Until.Format(time.TimeOnly), h.Reason)
	}
	for _, s := range e.Scores {
		line("  rule %s: %d of %d within %s", s.Rule, s.Sum, s.Threshold, s.Window)
	}
	if e.Known > 0 {
		line("  good registrations behind it: %d", e.Known)
	}
	if e.Repeat > 0 {
		line("  earlier bans that make the next one longer: %d", e.Repeat)
	}
	for _, ev := range evidence(e) {
		line("  %s  %s from %s on %s %s %s", ev.At.Format(time.DateTime), ev.Reason, ev.Source, ev.Interface, ev.AOR, ev.Detail)
	}
	for _, p := range e.History {
		line("  earlier: %s to %s, %s, ended by %s", p.From.Format(time.DateTime), p.Ended.Format(time.DateTime), p.Reason, p.EndedBy)
	}
	return b.String()
}

// evidence are the offences that tell the story, oldest first. A ban keeps its own: the guard's memory of an address ends with the
// process.
func evidence(e guard.Explanation) []guard.Evidence {
	all := slices.Clone(e.Evidence)
	for _, ban := range e.Bans {
		all = append(all, ban.Evidence...)
	}
	slices.SortStableFunc(all, func(a, b guard.Evidence) int { return a.At.Compare(b.At) })
	return slices.CompactFunc(all, func(a, b guard.Evidence) bool {
		return a.At.Equal(b.At) && a.Source == b.Source && a.Reason == b.Reason
	})
}

// who made a ban, for a person.
func who(b guard.Ban) string {
	if b.By == guard.ByRule {
		return "by rule " + b.Rule
	}
	if b.Note != "" {
		return "by " + b.By + ": " + b.Note
	}
	return "by " + b.By
}

func banWatch(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show bans and samples of drops as they happen", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.Watch(c, "/bans/watch", func(line json.RawMessage) (string, error) {
				var ev guard.Event
				if err := json.Unmarshal(line, &ev); err != nil {
					return "", fmt.Errorf("reading an event: %w", err)
				}
				return tell(ev), nil
			})
		},
	}
}

// tell writes an event on one line.
func tell(ev guard.Event) string {
	at := ev.At.Format(time.TimeOnly)
	switch {
	case ev.Ban != nil && ev.Kind == guard.EventBan:
		return fmt.Sprintf("%s ban     %s %s %s for %s", at, ev.Ban.Prefix, ev.Ban.Reason, who(*ev.Ban), left(*ev.Ban))
	case ev.Ban != nil && ev.Kind == guard.EventMonitor:
		return fmt.Sprintf("%s monitor %s %s: rule %s would have acted", at, ev.Ban.Prefix, ev.Ban.Reason, ev.Ban.Rule)
	case ev.Breaker != nil && ev.Breaker.Open:
		return fmt.Sprintf("%s breaker opens until %s: %s", at, ev.Breaker.Until.Format(time.TimeOnly), ev.Breaker.Cause)
	case ev.Breaker != nil:
		return fmt.Sprintf("%s breaker closes: rules ban again", at)
	case ev.Ban != nil:
		return fmt.Sprintf("%s %-7s %s %s", at, ev.Kind, ev.Ban.Prefix, ev.By)
	case ev.Held != nil:
		return fmt.Sprintf("%s hold    %s %s", at, ev.Held.Source, ev.Held.Reason)
	case ev.Drop != nil:
		what := "drop"
		if ev.Drop.Monitored {
			what = "would drop"
		}
		return strings.TrimRight(fmt.Sprintf("%s %-7s %s %s in the %s %s", at, what, ev.Drop.Source, ev.Drop.Reason, ev.Drop.Where, ev.Drop.List), " ")
	}
	return fmt.Sprintf("%s %s", at, ev.Kind)
}
