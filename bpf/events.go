package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// Event is a sample of what the filter dropped, or would have dropped.
type Event struct {
	At        time.Duration // on the clock Monotonic
	Interface int           // index
	Length    int           // of the frame, in bytes
	Family    Family
	Reason    Reason
	Action    Action     // ActionDrop or ActionMonitor
	Source    netip.Addr // invalid with FamilyOther
	Head      []byte     // the frame's first bytes, at most 128, in steps of 8
}

// Events reads samples.
type Events struct{ r *ringbuf.Reader }

// Events returns a reader of samples. One at a time: what one reader takes no other gets.
func (f *Filter) Events() (*Events, error) {
	r, err := ringbuf.NewReader(f.objs.Events)
	if err != nil {
		return nil, fmt.Errorf("reading the filter's events: %w", err)
	}
	return &Events{r}, nil
}

// Read waits for the next sample. os.ErrClosed tells that the reader was closed.
func (e *Events) Read() (Event, error) {
	rec, err := e.r.Read()
	if errors.Is(err, ringbuf.ErrClosed) {
		return Event{}, os.ErrClosed
	}
	if err != nil {
		return Event{}, fmt.Errorf("reading the filter's events: %w", err)
	}
	return decodeEvent(rec.RawSample)
}

// SetDeadline lets Read fail with os.ErrDeadlineExceeded at t; zero: never.
func (e *Events) SetDeadline(t time.Time) { e.r.SetDeadline(t) }

// Close ends a Read that waits.
func (e *Events) Close() error { return e.r.Close() }

func decodeEvent(b []byte) (Event, error) {
	var raw edgeEvent
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("event of %d bytes: %w", len(b), err)
	}
	ev := Event{
		At:        time.Duration(raw.Time),
		Interface: int(raw.Ifindex),
		Length:    int(raw.Length),
		Family:    Family(raw.Family),
		Reason:    Reason(raw.Reason),
		Action:    Action(raw.Action),
		Head:      bytes.Clone(raw.Head[:min(int(raw.Captured), len(raw.Head))]),
	}
	switch ev.Family {
	case FamilyIPv4:
		ev.Source = netip.AddrFrom4(unword(raw.Source[0]))
	case FamilyIPv6:
		ev.Source = netip.AddrFrom16(unwords(raw.Source))
	}
	return ev, nil
}
