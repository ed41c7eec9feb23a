package calladmin

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/command"
	"brickhouse/shared/control"
)

func show(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "show ID|TRACE", Short: "Show what passed in a call, in hand or one of the last ones, on both legs", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var records []b2bua.Record
			if err := a.Do(c.Context(), "GET", "/calls/"+url.PathEscape(args[0]), nil, &records); err != nil {
				return err
			}
			if a.JSON {
				return a.Print(c, records, nil)
			}
			for _, r := range records {
				if err := ladder(c.OutOrStdout(), r); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// ladder draws a call: the side that called us on the left, the side that we called on the right, arrows from sender to receiver.
func ladder(w io.Writer, r b2bua.Record) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(control.Clean(strings.TrimRight(fmt.Sprintf(format, args...), " ")) + "\n")
	}
	line("call %s, trace %s", r.ID, r.Trace)
	line("%s -> %s, from %s to %s, started %s", r.Caller, r.Callee, r.From, r.To, r.Started.Format("2006-01-02 15:04:05.000"))
	switch {
	case r.Ended.IsZero():
		line("%s", r.State)
	case r.Answered.IsZero():
		line("ended %d %s after %s", r.Code, r.Reason, r.Ended.Sub(r.Started).Round(time.Millisecond))
	default:
		line("ended %s after %s of talk", r.Reason, r.Ended.Sub(r.Answered).Round(time.Millisecond))
	}
	line("%9s  %-28s | %-28s |", "SECONDS", "A", "B")
	for _, s := range r.Steps {
		left, right := "", ""
		what, far := message(s), s.Remote.String()
		if s.Leg != "" {
			far = s.Leg + " " + far
		}
		switch {
		case s.Side == "a" && s.Sent:
			left = "<-- " + what
		case s.Side == "a":
			left = "--> " + what
		case s.Sent:
			right = "--> " + what
		default:
			right = "<-- " + what
		}
		line("%9.3f  %-28s | %-28s | %s", s.At.Sub(r.Started).Seconds(), left, right, far)
	}
	if r.Skipped > 0 {
		line("and %d more", r.Skipped)
	}
	for _, m := range r.Media {
		medium(line, m)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// medium writes what one side sent, got and heard.
func medium(line func(string, ...any), m b2bua.MediaSide) {
	crypto := m.Crypto
	if crypto == "" {
		crypto = "RTP"
	}
	far := "nobody"
	if m.Remote.IsValid() {
		far = m.Remote.String()
	}
	line("media %s: %s with %s, %d packets in (%d in kernel), %d out", strings.ToUpper(m.Side), crypto, far, m.PacketsIn, m.InKernel, m.PacketsOut)
	if m.Reports > 0 {
		trip := "unknown"
		if m.RoundTripMS > 0 {
			trip = fmt.Sprintf("%.1f ms", m.RoundTripMS)
		}
		line("         hears %.1f %% loss, %.1f ms jitter, round trip %s, MOS %.1f by %d reports", 100*m.Loss, m.JitterMS, trip, m.MOS, m.Reports)
	}
	for _, why := range slices.Sorted(maps.Keys(m.Dropped)) {
		line("         dropped %d: %s", m.Dropped[why], why)
	}
}

// message names a message in a few letters.
func message(s b2bua.Step) string {
	out := fmt.Sprintf("%s %d", s.Method, s.CSeq)
	if s.Code > 0 {
		out = fmt.Sprintf("%d %s", s.Code, out)
	}
	if s.SDP {
		out += " sdp"
	}
	return out
}
