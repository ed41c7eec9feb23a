// Package pcap reads capture files (the classic libpcap form that tcpdump writes), takes the packets apart and says
// what a lab test wants to know of them: who sent what to whom, what a TCP stream carried, whether audio was in clear.
// It is pure: bytes in, values out. Foreign bytes are bounded everywhere; a packet that cannot be taken apart is kept
// as it is and marked, never dropped, so that no assertion of the kind "nowhere on the wire" can miss it.
package pcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// maxFrame bounds one captured frame; tcpdump's own limit is 256 KiB.
const maxFrame = 262144

// LinkType tells what a frame begins with (the LINKTYPE_ numbers of tcpdump.org).
type LinkType uint32

// The link types that Decode takes apart.
const (
	Ethernet LinkType = 1
	RawIP    LinkType = 101
	CookedV1 LinkType = 113 // tcpdump -i any, older form
	CookedV2 LinkType = 276 // tcpdump -i any
)

// Frame is one record of the file.
type Frame struct {
	Time time.Time
	Link LinkType
	Data []byte // what was captured
	Len  int    // how long it was on the wire; more than len(Data) if the capture cut it off
}

// ErrTruncated tells that the file ends within a record, as that of a capture that still runs may.
var ErrTruncated = errors.New("capture ends within a record")

// ReadFrames reads all records. With ErrTruncated the frames before the cut are returned too.
func ReadFrames(r io.Reader) ([]Frame, error) {
	var head [24]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("reading the capture's header: %w", ErrTruncated)
	}
	order, unit, err := byteOrder(head[:4])
	if err != nil {
		return nil, err
	}
	link := LinkType(order.Uint32(head[20:]) & 0x0fffffff) // the top bits tell of a frame check sequence
	var frames []Frame
	for {
		f, err := readFrame(r, order, unit)
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, fmt.Errorf("reading record %d: %w", len(frames)+1, err)
		}
		f.Link = link
		frames = append(frames, f)
	}
}

// byteOrder knows the four magic numbers: either order, micro- or nanoseconds.
func byteOrder(magic []byte) (binary.ByteOrder, time.Duration, error) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(magic) {
		case 0xa1b2c3d4:
			return order, time.Microsecond, nil
		case 0xa1b23c4d:
			return order, time.Nanosecond, nil
		}
	}
	return nil, 0, fmt.Errorf("not a capture file: it begins with %x", magic)
}

func readFrame(r io.Reader, order binary.ByteOrder, unit time.Duration) (Frame, error) {
	var h [16]byte
	if n, err := io.ReadFull(r, h[:]); err != nil {
		if n == 0 {
			return Frame{}, io.EOF
		}
		return Frame{}, ErrTruncated
	}
	n := order.Uint32(h[8:])
	if n > maxFrame {
		return Frame{}, fmt.Errorf("a frame of %d bytes is over the limit of %d", n, maxFrame)
	}
	f := Frame{
		Time: time.Unix(int64(order.Uint32(h[0:])), int64(order.Uint32(h[4:]))*int64(unit)),
		Data: make([]byte, n),
		Len:  int(order.Uint32(h[12:])),
	}
	if _, err := io.ReadFull(r, f.Data); err != nil {
		return Frame{}, ErrTruncated
	}
	return f, nil
}
