package banlist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Options say how to read a list. What is zero has the default.
type Options struct {
	Format     Format // Auto
	Column     string // csv: name or number of the column; the first one that holds an address
	MaxEntries int    // DefaultEntries
	MaxBytes   int64  // DefaultBytes
	MaxGarbage int    // percent of the entries that may be no addresses: DefaultGarbage
}

// Defaults and bounds of Options.
const (
	DefaultEntries = 1_000_000
	MostEntries    = 4_000_000
	DefaultBytes   = 64 << 20
	MostBytes      = 1 << 30
	DefaultGarbage = 10
)

// maxLine bounds a line, a row and a JSON string, in bytes.
const maxLine = 64 << 10

func (o Options) filled() Options {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&o.MaxEntries, DefaultEntries)
	set(&o.MaxGarbage, DefaultGarbage)
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.Format == "" {
		o.Format = Auto
	}
	return o
}

// Parse reads a list. It is sorted, IPv4 before IPv6, and no network in it lies within another. The report is good after an
// error, too, as far as it came. An error is one of Err… or the reader's.
func Parse(r io.Reader, o Options) ([]netip.Prefix, Report, error) {
	o = o.filled()
	in := bufio.NewReaderSize(&bounded{r: r, left: o.MaxBytes}, maxLine)
	head, err := in.Peek(maxLine)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		return nil, Report{}, whole(err)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // a byte order mark
		in.Discard(3) //nolint:errcheck // it is in the buffer
		head = head[3:]
	}
	if first := bytes.TrimSpace(head); len(first) > 0 && first[0] == '<' {
		return nil, Report{}, fmt.Errorf("%w: it looks like a web page: %s", ErrGarbage, clean(firstLine(first)))
	}
	if o.Format == Auto {
		o.Format = detect(head)
	}
	c := NewCollector(o.MaxEntries)
	c.report.Format = o.Format
	if err := c.read(in, o); err != nil {
		return nil, c.report, whole(err)
	}
	if n := c.report.garbage(); n*100 > c.report.Read*o.MaxGarbage {
		s := c.report.worst()
		return nil, c.report, fmt.Errorf("%w: %d of %d entries are no addresses; line %d: %s (%s)", ErrGarbage, n, c.report.Read, s.Line, s.Text, s.Refusal)
	}
	return c.Finish()
}

func (c *Collector) read(in *bufio.Reader, o Options) error {
	switch o.Format {
	case Plain:
		return c.plain(in)
	case CSV:
		return c.csv(in, o.Column)
	case DropJSON, APIBAN:
		return c.json(in, o.Format)
	}
	return fmt.Errorf("%w: no such format: %q", ErrOptions, o.Format)
}

// whole says that a list ended before its end.
func whole(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return err
}

// worst is the sample that shows best that a list is none.
func (r Report) worst() Sample {
	for _, s := range r.Samples {
		if s.Refusal.garbage() {
			return s
		}
	}
	return Sample{Text: "not shown"}
}

// Import reads a list that somebody gives once. Other than Parse it takes no list without entries.
func Import(r io.Reader, o Options) ([]netip.Prefix, Report, error) {
	list, report, err := Parse(r, o)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: %s", ErrEmpty, report)
	}
	return list, report, err
}

// bounded is a reader that fails when there is more than there may be. An error stays: whoever peeks may lose it once.
type bounded struct {
	r    io.Reader
	left int64
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), ErrTooLarge
	}
	b.left -= int64(n)
	b.err = err
	return n, err
}
