package score

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// Record is an offence with all that is needed to score it again later.
type Record struct {
	V          int            `json:"v"`
	At         time.Time      `json:"at"` // when it was scored
	Source     netip.AddrPort `json:"source"`
	Verified   bool           `json:"verified,omitempty"`
	Reason     verdict.Reason `json:"reason"`
	AOR        string         `json:"aor,omitempty"`
	Detail     string         `json:"detail,omitempty"`
	Interface  string         `json:"interface,omitempty"`
	Known      int            `json:"known,omitempty"`       // good registrations that lived behind the source
	KnownTotal int            `json:"known_total,omitempty"` // sources behind which any lived
}

const recordVersion = 1

// maxRecord is how long a line of a recording may be. The longest that is written takes less than 1 KiB.
const maxRecord = 4 << 10

// ErrBadRecord is yielded for a line that is no record; the next line may be one.
var ErrBadRecord = errors.New("line is no recorded offence")

// NewRecord is o, in its normal form, as it was scored at the time now.
func NewRecord(o Offence, now time.Time, known, knownTotal int) Record {
	return Record{
		V: recordVersion, At: now, Source: o.Source, Verified: o.Verified, Reason: o.Reason, AOR: o.AOR, Detail: o.Detail,
		Interface: o.Interface, Known: known, KnownTotal: knownTotal,
	}
}

// Offence is what was recorded.
func (r Record) Offence() Offence {
	return Offence{Source: r.Source, Verified: r.Verified, Reason: r.Reason, AOR: r.AOR, Detail: r.Detail, Interface: r.Interface, At: r.At}
}

// Append adds r to lines, as a line of JSON.
func (r Record) Append(lines []byte) ([]byte, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return lines, fmt.Errorf("recording an offence: %w", err)
	}
	if len(line) >= maxRecord {
		return lines, fmt.Errorf("recording an offence: %d bytes", len(line))
	}
	return append(append(lines, line...), '\n'), nil
}

// Records reads a recording, a line at a time. It takes whatever a crash or a stranger may have left: a line that is no record is
// yielded as ErrBadRecord. Another error is the reader's, and the last.
func Records(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		in := bufio.NewReaderSize(r, maxRecord)
		for {
			line, err := in.ReadSlice('\n')
			long := false
			for errors.Is(err, bufio.ErrBufferFull) {
				long = true
				line, err = in.ReadSlice('\n')
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Record{}, fmt.Errorf("reading recorded offences: %w", err))
				return
			}
			if len(line) > 1 || long {
				rec, ok := parse(line)
				if long || !ok {
					rec, ok = Record{}, false
				}
				if !ok && !yield(rec, ErrBadRecord) || ok && !yield(rec, nil) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// The years that a record may be from: time is counted in nanoseconds.
const (
	firstYear = 2000
	lastYear  = 2199
)

// parse reads a line, and brings what it says into the form in which offences are scored.
func parse(line []byte) (Record, bool) {
	var r Record
	if json.Unmarshal(line, &r) != nil || r.V != recordVersion || r.Reason == "" || r.Known < 0 || r.KnownTotal < 0 {
		return r, false
	}
	if y := r.At.UTC().Year(); y < firstYear || y > lastYear {
		return r, false
	}
	o, ok := r.Offence().Normal(r.At)
	if !ok || len(r.Reason) > 64 {
		return r, false
	}
	return NewRecord(o, r.At, r.Known, r.KnownTotal), true
}
