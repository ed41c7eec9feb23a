package banlist

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lines reads lines of at most maxLine bytes.
type lines struct {
	in     *bufio.Reader
	number int
}

// next returns a line without its end, good until the next call. Of one that is too long it returns what fits, with long set. At
// the end of the input the error is io.EOF.
func (l *lines) next() (line []byte, long bool, err error) {
	line, err = l.in.ReadSlice('\n')
	l.number++
	if errors.Is(err, bufio.ErrBufferFull) {
		head := bytes.Clone(line[:maxText+1])
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.in.ReadSlice('\n')
		}
		line, long = head, true
	}
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		return nil, false, err
	}
	return bytes.TrimRight(line, "\r\n"), long, nil
}

func (c *Collector) plain(in *bufio.Reader) error {
	for l := (lines{in: in}); !c.full; {
		line, long, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case long:
			c.bad(TooLong, l.number, line)
			continue
		}
		if line = uncomment(line); len(line) > 0 {
			c.add(line, l.number)
		}
	}
	return nil
}

// bad counts an entry that could not even be read.
func (c *Collector) bad(why Refusal, line int, text []byte) {
	c.report.Read++
	c.report.refuse(why, line, text)
}
