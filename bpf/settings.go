package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time on the clock that bans are measured by, CLOCK_MONOTONIC: since boot, without sleep.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("reading the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Rate is a limit: packets per second, and how many may come at once. No rate: no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// coarse is the longest step of the clock that rates are measured by (CONFIG_HZ=100).
const coarse = 10 * time.Millisecond

func (r Rate) raw() edgeRate {
	if r.PerSecond <= 0 {
		return edgeRate{}
	}
	gap := max(1, uint64(float64(time.Second)/r.PerSecond))
	slack := gap * uint64(max(1, r.Burst)-1)
	return edgeRate{Gap: gap, Slack: max(slack, uint64(coarse))} // within a step of the clock all packets come at once
}

// Fragments says what becomes of fragments after the first, which show no port.
type Fragments uint32

// The policies.
const (
	FragmentsRate Fragments = iota // they count as SIP datagrams of their source
	FragmentsDrop
	FragmentsPass
)

// Settings may be changed while the filter runs.
type Settings struct {
	// Monitored are reasons for which nothing is dropped, only counted. With ReasonBadPacket or ReasonTooManyTags among them, a banned
	// source passes where its header can't be read; sources that nobody can send from are in no table.
	Monitored   map[Reason]bool
	Samples     int  // most events per second and CPU
	Interval    int  // one packet in so many is sampled, dropped or not; 0: none
	Full        bool // events of dropped packets carry up to 1536 bytes instead of 128
	Fragments   Fragments
	Source      Rate // SIP datagrams of one stranger
	Known       Rate // SIP datagrams or new TCP connections of a source behind which a good registration lives
	Limited     Rate // SIP datagrams or new TCP connections of a limited source
	Strangers   Rate // SIP datagrams of all strangers together
	Connections Rate // new TCP connections of one stranger
}

// Set changes the settings.
func (f *Filter) Set(s Settings) error {
	if s.Samples < 0 || s.Interval < 0 {
		return errors.New("changing the filter's settings: a number of samples is below 0")
	}
	return f.mem.change(func(raw *edgeSettings) {
		raw.MonitoredReasons = 0
		for r, on := range s.Monitored {
			if on {
				raw.MonitoredReasons |= 1 << r
			}
		}
		raw.Samples, raw.Interval, raw.Snap = uint32(s.Samples), uint32(s.Interval), eventHead
		if s.Full {
			raw.Snap = eventFull
		}
		raw.Fragments = uint32(s.Fragments)
		raw.Source, raw.Known, raw.Limited = s.Source.raw(), s.Known.raw(), s.Limited.raw()
		raw.All, raw.Connections = s.Strangers.raw(), s.Connections.raw()
		if raw.Seed == 0 {
			raw.Seed = rand.Uint64() | 1
		}
	})
}
