// Package cdr writes call detail records: exactly one for each call attempt, whatever happens to the process.
//
// A call is begun before anybody is called and ended before its last trace is let go. Both are lines in a journal: written when Begin returns, so
// that it outlives this process, and on disk (fsync, many calls at a time) when Answer or End returns, so that it outlives the machine. So nobody's
// phone rings later for a disk, and nobody talks, or is refused, without a record. From the journal each finished record goes, once,
// to the file of its day, `cdr-2026-11-21.jsonl`: one JSON object a line, mode 0600. What was begun and never ended is
// ended at the next start, with reason system-failure and the last moment at which the program is known to have lived.
//
//	Begin ─► journal ─► Answer ─► journal ─► End ─► journal ─► day's file ─► journal: done
//	                                                  │ crash here: the next start looks for the id in that file
//
// Times are wall-clock times with the zone UTC; durations come from the monotonic clock when the times do carry one
// (as time.Now gives them), so that a stepped clock makes no call longer.
package cdr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"brickhouse/shared/verdict"
)

// Direction is which way a call went, as the exchange sees it.
type Direction string

// The directions.
const (
	Internal Direction = "internal" // extension to extension, or to a service
	Inbound  Direction = "inbound"  // from a trunk
	Outbound Direction = "outbound" // to a trunk
)

// Disposition is how a call attempt ended.
type Disposition string

// The dispositions.
const (
	Answered  Disposition = "answered"  // a conversation took place
	Busy      Disposition = "busy"      // 486, 600
	NoAnswer  Disposition = "no-answer" // nobody answered in time
	Failed    Disposition = "failed"    // could not be completed
	Cancelled Disposition = "cancelled" // caller gave up
	Refused   Disposition = "refused"   // caller may not, or callee declined
)

// Record is one call attempt.
type Record struct {
	ID          string         // unique for ever, chosen by the caller of Begin; at most MaxID bytes
	Trace       string         // trace id over both programs
	Start       time.Time      // when the INVITE came
	Answer      time.Time      // when the 2xx went out; zero: never
	End         time.Time      // when it was over
	Caller      string         // number
	Callee      string         // number that was reached in the end
	Dialled     string         // number as it was dialled
	Direction   Direction      //
	Trunk       string         // name, if one was used
	Realm       string         // where the call came from: "access", "peer" or "inside"
	Disposition Disposition    //
	Code        int            // final SIP status code towards the caller
	Reason      verdict.Reason // why it ended

	// Of a call to a trunk, or one that was to be; all empty otherwise.
	Country   string // ISO 3166-1, or "home" where the exchange's country is not named; empty: none
	Kind      string // of number: "ordinary", "premium", "satellite" …
	Class     string // of service of who caused it
	Causer    string // extension whose rights it had, where that is not the caller
	Denied    string // rule or cap that denied it
	Emergency bool   // to emergency services

	// Of a call that a transfer made or joined; all empty otherwise.
	Transferor string // whose transfer it was: an extension, or "trunk NAME"
	Transferee string // number of the party that it put into this call
	TransferOf string // trace id of the call that this party came from, where it is another

	// Of a call that rang elsewhere than it was dialled; all empty otherwise.
	Forwarder string // extension or group that sent it on last
	Forward   string // why: "always", "busy", "no-answer", "unreachable"
	Group     string // number of the ring group
	Queue     string // number of the queue where the caller waited, or that called the agent
	Mailbox   string // extension whose mailbox took the call
}

// Bounds of a record. Text over MaxText is cut: it may come from a stranger.
const (
	MaxID   = 128 // bytes
	MaxText = 256 // bytes of any other text field
)

// Duration is the time from start to end.
func (r *Record) Duration() time.Duration {
	if r.End.IsZero() {
		return 0
	}
	return max(0, r.End.Sub(r.Start))
}

// Billable is the time from answer to end in whole seconds, a begun second counted. It is 0 for a call that was not
// answered.
func (r *Record) Billable() int {
	if r.Answer.IsZero() || r.End.IsZero() {
		return 0
	}
	return int(math.Ceil(max(0, r.End.Sub(r.Answer)).Seconds()))
}

var errRecord = errors.New("bad call record")

// check makes sure that the record can be written and found again.
func (r *Record) check() error {
	if r.ID == "" || len(r.ID) > MaxID {
		return fmt.Errorf("%w: id of %d bytes", errRecord, len(r.ID))
	}
	if r.Start.IsZero() {
		return fmt.Errorf("%w: %q has no start", errRecord, r.ID)
	}
	return nil
}

// Line is a Record as it stands in a file and as exports show it. Times are UTC, to the millisecond.
type Line struct {
	ID          string         `json:"id"`
	Trace       string         `json:"trace"`
	Start       string         `json:"start"`
	Answer      string         `json:"answer,omitempty"`
	End         string         `json:"end,omitempty"`
	Caller      string         `json:"caller"`
	Callee      string         `json:"callee"`
	Dialled     string         `json:"dialled"`
	Direction   Direction      `json:"direction"`
	Trunk       string         `json:"trunk"`
	Realm       string         `json:"realm"`
	Disposition Disposition    `json:"disposition,omitempty"`
	Code        int            `json:"code,omitempty"`
	Reason      verdict.Reason `json:"reason,omitempty"`
	Duration    float64        `json:"duration"` // seconds, three decimals
	Billable    int            `json:"billable"` // seconds
	Country     string         `json:"country,omitempty"`
	Kind        string         `json:"kind,omitempty"`
	Class       string         `json:"class,omitempty"`
	Causer      string         `json:"causer,omitempty"`
	Denied      string         `json:"denied,omitempty"`
	Emergency   bool           `json:"emergency,omitempty"`
	Transferor  string         `json:"transferor,omitempty"`
	Transferee  string         `json:"transferee,omitempty"`
	TransferOf  string         `json:"transfer_of,omitempty"`
	Forwarder   string         `json:"forwarder,omitempty"`
	Forward     string         `json:"forward,omitempty"`
	Group       string         `json:"group,omitempty"`
	Queue       string         `json:"queue,omitempty"`
	Mailbox     string         `json:"mailbox,omitempty"`
}

const stamp = "2006-01-02T15:04:05.000Z"

func format(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stamp)
}

func parse(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(stamp, s)
}

// MarshalJSON writes the record as it stands in a day's file.
func (r Record) MarshalJSON() ([]byte, error) {
	return json.Marshal(Line{
		ID: r.ID, Trace: cut(r.Trace),
		Start: format(r.Start), Answer: format(r.Answer), End: format(r.End),
		Caller: cut(r.Caller), Callee: cut(r.Callee), Dialled: cut(r.Dialled),
		Direction: r.Direction, Trunk: cut(r.Trunk), Realm: cut(r.Realm),
		Disposition: r.Disposition, Code: r.Code, Reason: r.Reason,
		Duration: float64(r.Duration().Milliseconds()) / 1000, Billable: r.Billable(),
		Country: r.Country, Kind: r.Kind, Class: cut(r.Class), Causer: cut(r.Causer), Denied: cut(r.Denied), Emergency: r.Emergency,
		Transferor: cut(r.Transferor), Transferee: cut(r.Transferee), TransferOf: cut(r.TransferOf),
		Forwarder: cut(r.Forwarder), Forward: cut(r.Forward), Group: cut(r.Group), Queue: cut(r.Queue), Mailbox: cut(r.Mailbox),
	})
}

// UnmarshalJSON reads what MarshalJSON wrote. Durations are those of the times: the monotonic clock is gone.
func (r *Record) UnmarshalJSON(b []byte) error {
	var l Line
	if err := json.Unmarshal(b, &l); err != nil {
		return fmt.Errorf("reading call record: %w", err)
	}
	*r = Record{
		ID: l.ID, Trace: l.Trace, Caller: l.Caller, Callee: l.Callee, Dialled: l.Dialled, Direction: l.Direction,
		Trunk: l.Trunk, Realm: l.Realm, Disposition: l.Disposition, Code: l.Code, Reason: l.Reason,
		Country: l.Country, Kind: l.Kind, Class: l.Class, Causer: l.Causer, Denied: l.Denied, Emergency: l.Emergency,
		Transferor: l.Transferor, Transferee: l.Transferee, TransferOf: l.TransferOf,
		Forwarder: l.Forwarder, Forward: l.Forward, Group: l.Group, Queue: l.Queue, Mailbox: l.Mailbox,
	}
	for _, f := range []struct {
		to *time.Time
		s  string
	}{{&r.Start, l.Start}, {&r.Answer, l.Answer}, {&r.End, l.End}} {
		var err error
		if *f.to, err = parse(f.s); err != nil {
			return fmt.Errorf("reading call record %q: %w", l.ID, err)
		}
	}
	return nil
}

func cut(s string) string {
	if len(s) > MaxText {
		return s[:MaxText]
	}
	return s
}
