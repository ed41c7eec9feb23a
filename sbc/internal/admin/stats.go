package admin

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/guard"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
	"brickhouse/shared/verdict"
)

// statsAnswer is the answer to GET /bans/stats.
type statsAnswer struct {
	guard.Stats
	Followed []follow.Status `json:"followed,omitempty"`
}

func banStats(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Show where bans are enforced and what was dropped", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var s statsAnswer
			if err := a.Do(c.Context(), "GET", "/bans/stats", nil, &s); err != nil {
				return err
			}
			if a.JSON {
				return a.Print(c, s, nil)
			}
			return writeStats(c.OutOrStdout(), s)
		},
	}
}

// writeStats writes the guard's numbers for a person: a few lines, then tables.
func writeStats(w io.Writer, s statsAnswer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "mode %s", s.Mode)
	if s.Why != "" {
		fmt.Fprintf(&b, ": %s", control.Clean(s.Why))
	}
	fmt.Fprintf(&b, "\nbans %d, limited %d, holds %d, never banned %d\n", s.Bans, s.LimitedNow, s.Holds, s.Allowed)
	if s.MediaInKernel+s.MediaWaiting > 0 {
		fmt.Fprintf(&b, "media streams sent on in the kernel %d, waiting for a next hop %d\n", s.MediaInKernel, s.MediaWaiting)
	}
	if s.Unguarded != "" {
		fmt.Fprintln(&b, control.Clean(s.Unguarded))
	}
	if s.Breaker.Open {
		fmt.Fprintf(&b, "circuit breaker open until %s: %s\n", s.Breaker.Until.Format(time.TimeOnly), control.Clean(s.Breaker.Cause))
	}
	for _, l := range s.Followed {
		if l.Error != "" {
			fmt.Fprintf(&b, "list %s: %s; %d failures in a row, next try %s\n", l.Name, control.Clean(l.Error), l.Failures, l.Next.Format(time.DateTime))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	for _, t := range []*control.Table{packetTable(s.Stats), listTable(s.Stats)} {
		if t == nil {
			continue
		}
		if err := t.Write(w); err != nil {
			return err
		}
	}
	return nil
}

func packetTable(s guard.Stats) *control.Table {
	t := &control.Table{Columns: []string{"WHERE", "FAMILY", "REASON", "ACTION", "PACKETS", "BYTES"}, Empty: "nothing was counted"}
	for _, n := range s.Counts {
		reason := n.Reason
		if reason == verdict.None {
			reason = "-"
		}
		t.Add(n.Where, n.Family, reason, n.Action, n.Packets, n.Bytes)
	}
	return t
}

// listTable tells what the rules and lists have ended; nil if there is nothing to tell.
func listTable(s guard.Stats) *control.Table {
	t := &control.Table{Columns: []string{"BY", "DOES", "ENTRIES", "DROPPED", "MONITORED"}}
	seen := map[string]bool{}
	counts := map[string]guard.ListCount{}
	for _, c := range s.Lists {
		counts[c.Name] = c
	}
	for _, f := range s.Feeds {
		name := "list " + f.Name
		seen[name] = true
		t.Add(name, f.Does, f.Entries, counts[name].Dropped, counts[name].Monitored)
	}
	for _, c := range s.Lists {
		if !seen[c.Name] {
			t.Add(c.Name, "", "", c.Dropped, c.Monitored)
		}
	}
	if len(s.Feeds)+len(s.Lists) == 0 {
		return nil
	}
	return t
}
