package transport

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"brickhouse/shared/verdict"
)

// cut feeds stream to a framer in pieces of the given size and returns what it finds.
func cut(stream []byte, piece, limit int) (found []string, fault verdict.Verdict) {
	f := newFramer(limit)
	for len(stream) > 0 {
		n := min(piece, len(stream))
		n = copy(f.space(), stream[:n])
		f.fed(n)
		stream = stream[n:]
		for more := true; more; {
			kind, data, v := f.next()
			switch kind {
			case frameNone:
				more = false
			case framePing:
				found = append(found, "PING")
			case frameMessage:
				found = append(found, string(data))
			case frameFault:
				return found, v
			}
		}
	}
	return found, verdict.Passed
}

const options = "OPTIONS sip:a@example.com SIP/2.0\r\nCall-ID: 1\r\n"

func TestFramerCuts(t *testing.T) {
	body := options + "Content-Length: 5\r\n\r\nhello"
	none := options + "l: 0\r\n\r\n"
	big := options + fmt.Sprintf("Content-Length: %d\r\n\r\n", 20000) + strings.Repeat("x", 20000)
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"one", body, []string{body}},
		{"two in a row", body + none, []string{body, none}},
		{"compact, blanks, other case", options + "L \t: \t 2 \r\n\r\nab", []string{options + "L \t: \t 2 \r\n\r\nab"}},
		{"folded", options + "Content-Length:\r\n 2\r\n\r\nab", []string{options + "Content-Length:\r\n 2\r\n\r\nab"}},
		{"twice the same", options + "Content-Length: 1\r\nl: 1\r\n\r\na" + none,
			[]string{options + "Content-Length: 1\r\nl: 1\r\n\r\na", none}},
		{"in a folded value it is no header", options + "Subject: x\r\n Content-Length: 9\r\nl: 0\r\n\r\n" + none,
			[]string{options + "Subject: x\r\n Content-Length: 9\r\nl: 0\r\n\r\n", none}},
		{"response", "SIP/2.0 200 OK\r\nl: 0\r\n\r\n", []string{"SIP/2.0 200 OK\r\nl: 0\r\n\r\n"}},
		{"larger than the first buffer", big + none, []string{big, none}},
		{"line end before the start line", "\r\n" + none, []string{none}},
		{"ping", "\r\n\r\n", []string{"PING"}},
		{"ping, then a message", "\r\n\r\n" + none + "\r\n\r\n", []string{"PING", none, "PING"}},
		{"two pings", "\r\n\r\n\r\n\r\n", []string{"PING", "PING"}},
		{"pong alone", "\r\n", nil},
		{"empty line in the body is body", options + "l: 7\r\n\r\na\r\n\r\nbc" + none,
			[]string{options + "l: 7\r\n\r\na\r\n\r\nbc", none}},
		{"not complete", body[:len(body)-1], nil},
	} {
		for _, piece := range []int{1, 2, 3, 7, 1000, 1 << 20} {
			got, v := cut([]byte(tt.in), piece, 64<<10)
			if !v.OK() || len(got) != len(tt.want) {
				t.Fatalf("%s, pieces of %d: got %q, %v; want %q", tt.name, piece, got, v, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("%s, pieces of %d: frame %d is %q, want %q", tt.name, piece, i, got[i], tt.want[i])
				}
			}
		}
	}
}

func TestFramerFaults(t *testing.T) {
	const limit = 4096
	for _, tt := range []struct {
		name, in string
		want     verdict.Verdict
	}{
		{"no Content-Length", options + "\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"two that differ", options + "l: 1\r\nContent-Length: 2\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"negative", options + "l: -1\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"plus", options + "l: +1\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"empty", options + "l:\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"list", options + "l: 1, 1\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"hex", options + "l: 0x1\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"beyond 2^31", options + "l: 4294967296\r\n\r\n", verdict.Rejected(400, verdict.BadFraming)},
		{"body over the limit", options + "l: 4096\r\n\r\n", verdict.Rejected(513, verdict.Oversize)},
		{"head over the limit", options + "a: " + strings.Repeat("x", limit), verdict.Rejected(513, verdict.Oversize)},
		{"TLS hello", "\x16\x03\x01\x02\x00", verdict.Dropped(verdict.NotSIP)},
		{"HTTP", "GET / HTTP/1.1\r\n", verdict.Dropped(verdict.NotSIP)},
		{"endless start line", strings.Repeat("A", limit+1), verdict.Dropped(verdict.NotSIP)},
		{"lone CR", "\rOPTIONS", verdict.Dropped(verdict.NotSIP)},
		{"lone LF", "\nOPTIONS", verdict.Dropped(verdict.NotSIP)},
		{"NUL", "\x00", verdict.Dropped(verdict.NotSIP)},
	} {
		for _, piece := range []int{1, 5, 1 << 20} {
			if got, v := cut([]byte(tt.in), piece, limit); v != tt.want || len(got) != 0 {
				t.Errorf("%s, pieces of %d: got %q, %v; want %v", tt.name, piece, got, v, tt.want)
			}
		}
	}
}

// A Content-Length alone must not make us reserve memory, and a large message must not keep its buffer.
func TestFramerMemory(t *testing.T) {
	f := newFramer(256 << 10)
	f.fed(copy(f.space(), options+"l: 200000\r\n\r\n"))
	if kind, _, _ := f.next(); kind != frameNone || len(f.space()) > 8<<10 {
		t.Errorf("head with a large Content-Length: frame %d, buffer of %d", kind, len(f.buf))
	}
	for sent := 0; sent < 200000; {
		n := min(len(f.space()), 200000-sent)
		f.fed(n)
		sent += n
	}
	if kind, _, _ := f.next(); kind != frameMessage {
		t.Fatalf("frame %d after the whole body, want a message", kind)
	}
	if n := len(f.space()); n > firstBuffer {
		t.Errorf("buffer of %d bytes stays after a large message", n)
	}
}

// FuzzFramer checks that however a stream arrives, it is cut in the same way, that every message holds what its head tells,
// and that the limit holds.
func FuzzFramer(f *testing.F) {
	f.Add([]byte(options+"Content-Length: 5\r\n\r\nhello\r\n\r\n"+options+"l:0\r\n\r\n"), 3)
	f.Add([]byte("\r\n\r\n\r\nSIP/2.0 200 OK\r\nContent-Length:\r\n\t1\r\n\r\nx"), 1)
	f.Add([]byte(options+"l: 1\r\nl: 2\r\n\r\n"), 2)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 5)
	f.Add([]byte{0x16, 3, 1}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		const limit = 2048
		piece = max(1, piece%(len(stream)+1))
		whole, v1 := cut(stream, 1<<20, limit)
		parts, v2 := cut(stream, piece, limit)
		if v1 != v2 && !(v1.Reason == verdict.NotSIP || v2.Reason == verdict.NotSIP ||
			v1.Reason == verdict.Oversize || v2.Reason == verdict.Oversize) {
			t.Fatalf("whole: %v, pieces of %d: %v", v1, piece, v2)
		}
		if len(whole) != len(parts) {
			t.Fatalf("whole: %d frames, pieces of %d: %d", len(whole), piece, len(parts))
		}
		for i, m := range whole {
			if m != parts[i] {
				t.Fatalf("frame %d differs: %q and %q", i, m, parts[i])
			}
			if m == "PING" {
				continue
			}
			head, body, ok := bytes.Cut([]byte(m), headEnd)
			n, v := contentLength(append(head, headEnd...))
			if !ok || !v.OK() || n != len(body) || len(m) > limit {
				t.Fatalf("frame %d of %d bytes, body %d, told %d", i, len(m), len(body), n)
			}
		}
	})
}

func BenchmarkFramer(b *testing.B) {
	msg := []byte(options + "Content-Length: 500\r\n\r\n" + strings.Repeat("x", 500))
	f := newFramer(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		f.fed(copy(f.space(), msg))
		if kind, _, _ := f.next(); kind != frameMessage {
			b.Fatal("no message")
		}
	}
}
