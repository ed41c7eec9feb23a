package transport

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"brickhouse/shared/verdict"
)

// wsClientFrame is a frame as a client sends it. first is the whole first byte.
func wsClientFrame(first byte, payload []byte) []byte {
	out := wsFrame(0, payload)
	out[0], out[1] = first, out[1]|0x80
	mask := [4]byte{0xa1, 0, 0x37, 0xff}
	masked := bytes.Clone(payload)
	unmask(masked, mask)
	head := out[:len(out)-len(payload)]
	return append(append(head, mask[:]...), masked...)
}

// wsCut feeds a stream in pieces and writes down what comes out.
func wsCut(stream []byte, piece, limit int) (found []string, fault verdict.Verdict) {
	f := newWSFramer(limit)
	names := map[frame]string{frameMessage: "message ", framePing: "crlf ", frameWSPing: "ping ", framePong: "pong ", frameClose: "close "}
	for len(stream) > 0 {
		n := copy(f.space(), stream[:min(piece, len(stream))])
		f.fed(n)
		stream = stream[n:]
		for more := true; more; {
			kind, data, v := f.next()
			switch kind {
			case frameNone:
				more = false
			case frameFault:
				return found, v
			default:
				found = append(found, names[kind]+string(data))
			}
		}
	}
	if f.partial() {
		found = append(found, "partial")
	}
	return found, verdict.Passed
}

const wsOPTIONS = "OPTIONS sip:a SIP/2.0\r\n\r\n"

func TestWebSocketCuts(t *testing.T) {
	long := "INVITE sip:a SIP/2.0\r\n" + strings.Repeat("x", 70_000)
	frames := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	whole := wsClientFrame(0x81, []byte(wsOPTIONS))
	for name, c := range map[string]struct {
		stream []byte
		want   []string
	}{
		"text":            {whole, []string{"message " + wsOPTIONS}},
		"binary":          {wsClientFrame(0x82, []byte("SIP/2.0 200 \xff")), []string{"message SIP/2.0 200 \xff"}},
		"two":             {frames(whole, whole), []string{"message " + wsOPTIONS, "message " + wsOPTIONS}},
		"16-bit length":   {wsClientFrame(0x81, []byte(long[:300])), []string{"message " + long[:300]}},
		"64-bit length":   {wsClientFrame(0x81, []byte(long)), []string{"message " + long}},
		"fragments":       {frames(wsClientFrame(0x01, []byte("OPT")), wsClientFrame(0x00, nil), wsClientFrame(0x80, []byte("IONS"))), []string{"message OPTIONS"}},
		"ping in between": {frames(wsClientFrame(0x01, []byte("OPT")), wsClientFrame(0x89, []byte("p")), wsClientFrame(0x80, []byte("IONS"))), []string{"ping p", "message OPTIONS"}},
		"pong":            {wsClientFrame(0x8a, []byte("p")), []string{"pong p"}},
		"close":           {wsClientFrame(0x88, []byte("\x03\xe8bye")), []string{"close \x03\xe8bye"}},
		"bare close":      {wsClientFrame(0x88, nil), []string{"close "}},
		"keep-alive":      {frames(wsClientFrame(0x81, []byte("\r\n\r\n")), wsClientFrame(0x82, []byte("\r\n")), wsClientFrame(0x81, nil)), []string{"crlf \r\n\r\n"}},
		"half":            {whole[:len(whole)-1], []string{"partial"}},
		"unfinished":      {wsClientFrame(0x01, []byte("OPT")), []string{"partial"}},
		"UTF-8 in halves": {frames(wsClientFrame(0x01, []byte("OPT \xc3")), wsClientFrame(0x80, []byte("\xa9"))), []string{"message OPT \u00e9"}},
	} {
		for _, piece := range []int{1, 3, 1000, 1 << 20} {
			got, v := wsCut(c.stream, piece, 1<<17)
			if !v.OK() || strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("%s, %d bytes at a time: %.100q, %s", name, piece, got, v)
			}
		}
	}
}

func TestWebSocketFaults(t *testing.T) {
	frames := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	sized := func(first, second byte, rest ...byte) []byte { return append([]byte{first, second}, rest...) }
	many := wsClientFrame(0x01, []byte("O"))
	for range maxFragments {
		many = append(many, wsClientFrame(0x00, nil)...)
	}
	for name, c := range map[string]struct {
		stream []byte
		want   verdict.Reason
	}{
		"not masked":            {wsFrame(wsText, []byte(wsOPTIONS)), verdict.BadFraming},
		"reserved bit":          {wsClientFrame(0xc1, []byte(wsOPTIONS)), verdict.BadFraming},
		"reserved opcode":       {wsClientFrame(0x83, nil), verdict.BadFraming},
		"reserved control":      {wsClientFrame(0x8b, nil), verdict.BadFraming},
		"long ping":             {wsClientFrame(0x89, make([]byte, 126)), verdict.BadFraming},
		"ping in fragments":     {wsClientFrame(0x09, nil), verdict.BadFraming},
		"continues nothing":     {wsClientFrame(0x80, []byte("x")), verdict.BadFraming},
		"begins inside":         {frames(wsClientFrame(0x01, []byte("O")), wsClientFrame(0x81, []byte("O"))), verdict.BadFraming},
		"length of 125 in 16":   {sized(0x81, 0xfe, 0, 125), verdict.BadFraming},
		"length of 16 in 64":    {sized(0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff), verdict.BadFraming},
		"length of 2^63":        {sized(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0), verdict.Oversize},
		"large":                 {wsClientFrame(0x81, make([]byte, 1001)), verdict.Oversize},
		"large in fragments":    {frames(wsClientFrame(0x01, make([]byte, 600)), wsClientFrame(0x00, make([]byte, 401))), verdict.Oversize},
		"endless fragments":     {many, verdict.BadFraming},
		"no text":               {wsClientFrame(0x81, []byte("O\xff")), verdict.BadUTF8},
		"no SIP":                {wsClientFrame(0x81, []byte("{}")), verdict.NotSIP},
		"close of one byte":     {wsClientFrame(0x88, []byte("\x03")), verdict.BadFraming},
		"close code 1005":       {wsClientFrame(0x88, []byte("\x03\xed")), verdict.BadFraming},
		"close code 2000":       {wsClientFrame(0x88, []byte("\x07\xd0")), verdict.BadFraming},
		"close that is no text": {wsClientFrame(0x88, []byte("\x03\xe8\xff")), verdict.BadUTF8},
	} {
		for _, piece := range []int{1, 1 << 20} {
			if got, v := wsCut(c.stream, piece, 1000); v.Reason != c.want {
				t.Errorf("%s, %d bytes at a time: %q, %s, want %s", name, piece, got, v, c.want)
			}
		}
	}
}

// TestWebSocketMemory: a length alone reserves nothing.
func TestWebSocketMemory(t *testing.T) {
	f := newWSFramer(1 << 20)
	head := wsClientFrame(0x81, make([]byte, 1<<19))[:20]
	f.fed(copy(f.space(), head))
	if kind, _, _ := f.next(); kind != frameNone {
		t.Fatal(kind)
	}
	if got := len(f.space()) + f.w; got > 2*firstBuffer {
		t.Errorf("%d bytes for 20", got)
	}
}

func TestCloseFrames(t *testing.T) {
	for why, want := range map[verdict.Reason]uint16{
		verdict.Shutdown: 1001, verdict.BadFraming: 1002, verdict.NotSIP: 1003, verdict.BadUTF8: 1007, verdict.Oversize: 1009,
		verdict.IdleTimeout: 1008, verdict.HostBanned: 1008, verdict.TransportFailure: 1000,
	} {
		if b := wsGoodbye(why); len(b) != 4 || b[0] != 0x88 || binary.BigEndian.Uint16(b[2:]) != want {
			t.Errorf("%s: %x, want %d", why, b, want)
		}
	}
	for in, want := range map[string]string{"": "\x88\x00", "\x03\xe8bye": "\x88\x02\x03\xe8"} {
		if got := wsEcho([]byte(in)); string(got) != want {
			t.Errorf("%q is answered by %q", in, got)
		}
	}
}

func TestOurFrames(t *testing.T) {
	for _, n := range []int{0, 125, 126, 0xffff, 0x10000} {
		b := wsMessage(bytes.Repeat([]byte("x"), n))
		b[1] |= 0x80
		size := len(b) - n
		b = append(append(bytes.Clone(b[:size]), 0, 0, 0, 0), b[size:]...)
		h, v := newWSFramer(1 << 20).head(b)
		if !v.OK() || h.length != n || h.op != wsText || !h.fin {
			t.Errorf("%d bytes: %+v, %s", n, h, v)
		}
	}
	if b := wsMessage([]byte{0xff}); b[0] != 0x80|wsBinary {
		t.Errorf("no text, and sent as opcode %x", b[0])
	}
}

// FuzzWebSocket: nothing panics, nothing grows over its bound, and how the bytes are cut on the way changes nothing.
func FuzzWebSocket(f *testing.F) {
	f.Add(wsClientFrame(0x81, []byte(wsOPTIONS)), uint64(1))
	f.Add(wsClientFrame(0x01, []byte("OPT")), uint64(2))
	f.Add(wsClientFrame(0x89, []byte("p")), uint64(3))
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, uint64(4))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		const limit = 4096
		whole, fault := wsCut(stream, 1<<20, limit)
		rnd := rand.New(rand.NewPCG(seed, 0))
		parts, fault2 := wsCut(stream, 1+rnd.IntN(64), limit)
		if fault != fault2 || fault.OK() && strings.Join(whole, "|") != strings.Join(parts, "|") {
			t.Errorf("at once %q %s, in parts %q %s", whole, fault, parts, fault2)
		}
		for _, s := range whole {
			if len(s) > limit+8 {
				t.Errorf("a message of %d bytes", len(s))
			}
		}
	})
}
