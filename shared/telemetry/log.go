// Package telemetry is what a program says about itself: structured logs that no stranger can flood or write into, and
// Prometheus metrics whose drops are counted by verdict.Reason.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"brickhouse/shared/conffile"
)

// LogConfig is the log section of a program's file.
type LogConfig struct {
	Format string        `yaml:"format" doc:"How a line is written." oneof:"json|text"`
	Level  slog.Level    `yaml:"level" doc:"The least level that is written: debug, info, warn or error. What strangers sent is shown at debug only."`
	Burst  int           `yaml:"burst" doc:"How many lines with the same message are written per window; the rest is counted and the number written later. 0 writes all."`
	Window time.Duration `yaml:"window" doc:"The length of that window."`
}

// DefaultLog returns the defaults: JSON from info on, at most 20 like lines in 10 seconds.
func DefaultLog() LogConfig {
	return LogConfig{Format: "json", Level: slog.LevelInfo, Burst: 20, Window: 10 * time.Second}
}

// Validate reports what is out of range.
func (c LogConfig) Validate() []conffile.Fault {
	var out []conffile.Fault
	if c.Burst < 0 {
		out = append(out, conffile.Badf("burst", "write 0 or more", "%d lines", c.Burst))
	}
	if c.Burst > 0 && c.Window < time.Second {
		out = append(out, conffile.Badf("window", "write 1s or more", "%v is too short", c.Window))
	}
	return out
}

// NewLogger returns the program's logger, which writes to w, and its Sampler, whose Flush is called when the program
// stops (nil if nothing is sampled). now is the clock.
func NewLogger(w io.Writer, c LogConfig, now func() time.Time) (*slog.Logger, *Sampler) {
	opts := &slog.HandlerOptions{Level: c.Level, ReplaceAttr: plain}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if c.Format == "text" {
		h = slog.NewTextHandler(w, opts)
	}
	h = guard{h}
	if c.Burst <= 0 {
		return slog.New(h), nil
	}
	s := newSampler(h, c.Burst, c.Window, now)
	return slog.New(s), s
}

// plain writes durations as 1.5s instead of nanoseconds, also in JSON.
func plain(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// maxForeign bounds, in bytes, what is logged of a stranger's data.
const maxForeign = 512

// foreign is data that a stranger wrote.
type foreign []byte

// Foreign is an attribute for what a stranger wrote: quoted and cut at debug level, only its length at any other. data is
// read while the line is written and not kept.
func Foreign(key string, data []byte) slog.Attr { return slog.Any(key, foreign(data)) }

// Quote is data as it may stand in a debug log: quoted, in ASCII, at most 512 bytes of it.
func Quote(data []byte) string {
	if len(data) > maxForeign {
		return strconv.QuoteToASCII(string(data[:maxForeign])) + fmt.Sprintf("... (%d bytes)", len(data))
	}
	return strconv.QuoteToASCII(string(data))
}

// guard is a handler that shows a stranger's data at debug level only.
type guard struct{ slog.Handler }

func (g guard) Handle(ctx context.Context, r slog.Record) error {
	found := false
	r.Attrs(func(a slog.Attr) bool { found = hasForeign(a.Value); return !found })
	if !found {
		return g.Handler.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool { out.AddAttrs(show(a, r.Level <= slog.LevelDebug)); return true })
	return g.Handler.Handle(ctx, out)
}

// WithAttrs hides a stranger's data whatever the level will be.
func (g guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = show(a, false)
	}
	return guard{g.Handler.WithAttrs(out)}
}

func (g guard) WithGroup(name string) slog.Handler { return guard{g.Handler.WithGroup(name)} }

func hasForeign(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindAny:
		_, ok := v.Any().(foreign)
		return ok
	case slog.KindGroup:
		return slices.ContainsFunc(v.Group(), func(a slog.Attr) bool { return hasForeign(a.Value) })
	}
	return false
}

// show replaces a stranger's data by its text or by its length.
func show(a slog.Attr, open bool) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindAny:
		f, ok := a.Value.Any().(foreign)
		switch {
		case !ok:
		case open:
			a.Value = slog.StringValue(Quote(f))
		default:
			a.Value = slog.StringValue(fmt.Sprintf("(%d bytes)", len(f)))
		}
	case slog.KindGroup:
		group := slices.Clone(a.Value.Group())
		for i := range group {
			group[i] = show(group[i], open)
		}
		a.Value = slog.GroupValue(group...)
	}
	return a
}
