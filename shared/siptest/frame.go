package siptest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxFrame bounds one message on a stream, in bytes.
const maxFrame = 256 << 10

var errFrame = errors.New("malformed stream")

// readFrame reads the next message from a stream. A keep-alive of CRLFs is reported as an empty frame (RFC 5626 §3.5.1).
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head bytes.Buffer
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && head.Len()+len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading message: %w", err)
		}
		if !bytes.HasSuffix(line, []byte("\r\n")) {
			return nil, fmt.Errorf("%w: line without CR", errFrame)
		}
		if head.Len() == 0 && len(line) == 2 {
			return nil, nil
		}
		if head.Write(line); head.Len() > maxFrame {
			return nil, fmt.Errorf("%w: more than %d bytes of header", errFrame, maxFrame)
		}
		if len(line) == 2 {
			break
		}
		if n, ok := contentLength(line); ok {
			length = n
		}
	}
	if length < 0 || length > maxFrame { // RFC 3261 §18.3: obligatory on streams
		return nil, fmt.Errorf("%w: no usable Content-Length", errFrame)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	return append(head.Bytes(), body...), nil
}

// contentLength is the value of a Content-Length line.
func contentLength(line []byte) (int, bool) {
	name, value, ok := strings.Cut(string(line), ":")
	name = strings.ToLower(strings.TrimSpace(name))
	if !ok || (name != "content-length" && name != "l") {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return -1, true
	}
	return n, true
}
