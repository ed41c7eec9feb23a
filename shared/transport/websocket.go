package transport

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"brickhouse/shared/verdict"
)

// wsFramer cuts the byte stream of a WebSocket into messages and control frames (RFC 6455 §5), for SIP: one message of the
// WebSocket is one SIP message (RFC 7118 §4.2). It does no I/O and is used as framer is. What it refuses can't be cut any
// further: frames that are not masked, reserved bits, control frames that are long or cut, lengths that are longer than
// they must be, text that is no UTF-8.
type wsFramer struct {
	window
	max   int    // bytes of one message, all its fragments together
	msg   []byte // the fragments so far
	first byte   // opcode of the message that is arriving in fragments, else 0
	parts int    // its fragments
}

// wsHeader is the head of one frame.
type wsHeader struct {
	fin    bool
	op     byte
	length int
	mask   [4]byte
	size   int // bytes of the head itself; 0: not all of it is there
}

// Opcodes (RFC 6455 §11.8). From wsClose on they are control frames.
const (
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
	wsPong         = 0xA
)

// Status codes of a close frame (RFC 6455 §7.4.1).
const (
	wsNormal      = 1000
	wsGoingAway   = 1001
	wsProtocol    = 1002
	wsUnsupported = 1003
	wsBadData     = 1007
	wsPolicy      = 1008
	wsTooBig      = 1009
)

const (
	maxControl   = 125 // bytes of a control frame (RFC 6455 §5.5)
	maxFragments = 128 // of one message; empty ones would cost nothing else
)

func newWSFramer(maxMessage int) *wsFramer { return &wsFramer{max: maxMessage} }

// partial reports whether a message has begun to arrive.
func (f *wsFramer) partial() bool { return f.w > f.r || f.first != 0 }

// next takes the next frame of interest, as framer.next.
func (f *wsFramer) next() (kind frame, data []byte, fault verdict.Verdict) {
	for {
		have := f.buf[f.r:f.w]
		h, fault := f.head(have)
		if !fault.OK() {
			return frameFault, have, fault
		}
		if h.size == 0 || len(have)-h.size < h.length {
			return frameNone, nil, verdict.Passed
		}
		end := h.size + h.length
		data := have[h.size:end:end]
		unmask(data, h.mask)
		f.r += end
		if h.op >= wsClose {
			return control(h.op, data)
		}
		whole, fault := f.join(h, data)
		if !fault.OK() {
			return frameFault, data, fault
		}
		if whole == nil {
			continue
		}
		if kind, fault := f.judge(whole); kind != frameNone {
			return kind, whole, fault
		}
	}
}

// head reads the head of a frame, and refuses what must not follow it.
func (f *wsFramer) head(have []byte) (h wsHeader, fault verdict.Verdict) {
	bad := verdict.Dropped(verdict.BadFraming)
	if len(have) < 2 {
		return h, verdict.Passed
	}
	h.fin, h.op = have[0]&0x80 != 0, have[0]&0x0f
	if have[0]&0x70 != 0 || have[1]&0x80 == 0 {
		return h, bad // no extension was agreed on (RFC 6455 §5.2); every client masks (§5.1)
	}
	n, size, ok := wsLength(have)
	switch {
	case !ok:
		return h, bad
	case h.op >= wsClose && (!h.fin || n > maxControl || h.op > wsPong):
		return h, bad
	case h.op > wsBinary && h.op < wsClose:
		return h, bad
	case h.op == wsContinuation && (f.first == 0 || f.parts >= maxFragments), h.op != wsContinuation && h.op < wsClose && f.first != 0:
		return h, bad // RFC 6455 §5.4
	case h.op < wsClose && n > uint64(f.max-len(f.msg)):
		return h, verdict.Dropped(verdict.Oversize)
	case size == 0 || len(have) < size+4:
		return wsHeader{}, verdict.Passed
	}
	copy(h.mask[:], have[size:])
	h.length, h.size = int(n), size+4
	return h, verdict.Passed
}

// wsLength reads the payload's length, and where the mask begins: 0 if that is not there yet. It must be written in as few
// bytes as it can (RFC 6455 §5.2).
func wsLength(have []byte) (n uint64, size int, ok bool) {
	switch short := have[1] & 0x7f; short {
	case 126:
		if len(have) < 4 {
			return 0, 0, true
		}
		n = uint64(binary.BigEndian.Uint16(have[2:]))
		return n, 4, n > 125
	case 127:
		if len(have) < 10 {
			return 0, 0, true
		}
		n = binary.BigEndian.Uint64(have[2:])
		return n, 10, n > 0xffff
	default:
		return uint64(short), 2, true
	}
}

func unmask(b []byte, mask [4]byte) {
	for i := range b {
		b[i] ^= mask[i&3]
	}
}

// control says what a control frame is.
func control(op byte, data []byte) (frame, []byte, verdict.Verdict) {
	switch op {
	case wsPing:
		return frameWSPing, data, verdict.Passed
	case wsPong:
		return framePong, data, verdict.Passed
	}
	if len(data) == 1 || len(data) >= 2 && !closeCode(binary.BigEndian.Uint16(data)) {
		return frameFault, data, verdict.Dropped(verdict.BadFraming)
	}
	if len(data) > 2 && !utf8.Valid(data[2:]) {
		return frameFault, data, verdict.Dropped(verdict.BadUTF8)
	}
	return frameClose, data, verdict.Passed
}

// closeCode reports whether a code may stand in a close frame (RFC 6455 §7.4).
func closeCode(c uint16) bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// join adds a data frame to its message, and returns the message if that is whole.
func (f *wsFramer) join(h wsHeader, data []byte) ([]byte, verdict.Verdict) {
	op := h.op
	switch {
	case h.op == wsContinuation:
		op = f.first
		f.msg = append(f.msg, data...)
		f.parts++
	case !h.fin:
		f.first, f.parts = h.op, 1
		f.msg = append([]byte(nil), data...)
	}
	if !h.fin {
		return nil, verdict.Passed
	}
	if h.op == wsContinuation {
		data = f.msg
	}
	f.msg, f.first, f.parts = nil, 0, 0
	if op == wsText && !utf8.Valid(data) { // RFC 6455 §8.1
		return nil, verdict.Dropped(verdict.BadUTF8)
	}
	if data == nil {
		data = []byte{}
	}
	return data, verdict.Passed
}

// judge tells a SIP message from a keep-alive; frameNone: nothing to do.
func (f *wsFramer) judge(whole []byte) (frame, verdict.Verdict) {
	switch {
	case bytes.Equal(whole, headEnd):
		return framePing, verdict.Passed // some clients keep RFC 5626's habit here
	case len(bytes.Trim(whole, "\r\n")) == 0:
		return frameNone, verdict.Passed
	case !looksLikeSIP(whole):
		return frameFault, verdict.Dropped(verdict.NotSIP)
	}
	return frameMessage, verdict.Passed
}

// wsFrame makes a frame of ours: whole, and not masked (RFC 6455 §5.1).
func wsFrame(op byte, payload []byte) []byte {
	n := len(payload)
	out := make([]byte, 0, n+10)
	out = append(out, 0x80|op)
	switch {
	case n <= 125:
		out = append(out, byte(n))
	case n <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, 126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, 127), uint64(n))
	}
	return append(out, payload...)
}

// wsMessage frames one SIP message: as text, if it is (RFC 7118 §4.2).
func wsMessage(b []byte) []byte {
	if utf8.Valid(b) {
		return wsFrame(wsText, b)
	}
	return wsFrame(wsBinary, b)
}

// wsGoodbye is the close frame for a connection that we end.
func wsGoodbye(why verdict.Reason) []byte {
	code := uint16(wsPolicy)
	switch why {
	case verdict.Shutdown:
		code = wsGoingAway
	case verdict.BadFraming:
		code = wsProtocol
	case verdict.NotSIP:
		code = wsUnsupported
	case verdict.BadUTF8:
		code = wsBadData
	case verdict.Oversize:
		code = wsTooBig
	case verdict.None, verdict.TransportFailure, verdict.NormalClearing:
		code = wsNormal
	}
	return wsFrame(wsClose, binary.BigEndian.AppendUint16(nil, code))
}

// wsEcho answers a close frame with the code that it gives (RFC 6455 §5.5.1).
func wsEcho(data []byte) []byte { return wsFrame(wsClose, data[:min(2, len(data))]) }
