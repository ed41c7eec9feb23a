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

	"brickhouse/bpf/table"
)

// How much of a packet an event carries, as xdp/maps.h has it.
const (
	eventHead = 128
	eventFull = 1536
)

// Event is a sample: of what was dropped or would have been, and of any packet.
type Event struct {
	At        time.Duration // on the clock Monotonic
	Interface int           // index
	Length    int           // of the frame, in bytes
	Family    Family
	Reason    Reason
	Action    Action
	List      table.List // of the ban; None: no ban
	Weight    int        // how many packets this one stands for; 0: it is one more drop than was to be sampled
	Source    netip.Addr // invalid with FamilyOther
	Head      []byte     // the frame's first bytes: at most 128, or 1536 while Settings.Full holds
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

// headerSize is the size of an event without its head.
const headerSize = 48

func decodeEvent(b []byte) (Event, error) {
	if len(b) < headerSize {
		return Event{}, fmt.Errorf("event of %d bytes", len(b))
	}
	le := binary.LittleEndian
	ev := Event{
		At:        time.Duration(le.Uint64(b)),
		Interface: int(le.Uint32(b[8:])),
		Length:    int(le.Uint32(b[12:])),
		Reason:    Reason(b[16]),
		Family:    Family(b[17]),
		Action:    Action(b[18]),
		List:      table.List(b[19]),
		Weight:    int(le.Uint32(b[20:])),
	}
	captured := min(int(le.Uint32(b[40:])), len(b)-headerSize)
	ev.Head = bytes.Clone(b[headerSize : headerSize+captured])
	switch ev.Family {
	case FamilyIPv4:
		ev.Source = netip.AddrFrom4([4]byte(b[24:28]))
	case FamilyIPv6:
		ev.Source = netip.AddrFrom16([16]byte(b[24:40]))
	}
	return ev, nil
}
