package ladder

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"
)

// Column is one participant in the drawing, from left to right.
type Column struct {
	Name string
	// Addrs are the addresses by which others know the participant, as "host:port" or "host" for any port.
	Addrs []string
	// Messages is what the participant saw; empty for one that only others saw.
	Messages []Message
}

// Options say how to draw. The zero value draws plain ASCII, 100 characters wide.
type Options struct {
	Width   int       // greatest line length in characters; 0 means 100
	Unicode bool      // draw with box-drawing characters
	Start   time.Time // what the times count from; zero means the first message
}

// defaultWidth is the line length without a wish.
const defaultWidth = 100

// timeWidth is the room for "123456.7 " on the left of the first column.
const timeWidth = 10

// minGap is the least distance of two columns in characters.
const minGap = 12

// style is the set of characters that a ladder is drawn with.
type style struct {
	line, shaft, cross, right, left, cut string
}

var (
	asciiStyle   = style{line: "|", shaft: "-", cross: "+", right: ">", left: "<", cut: "~"}
	unicodeStyle = style{line: "│", shaft: "─", cross: "┼", right: "▶", left: "◀", cut: "…"}
)

// arrow is one message in the drawing.
type arrow struct {
	at       time.Time
	from, to int // columns
	label    string
}

// Print draws the messages of all columns as one ladder. Addresses that belong to no column get columns of their own at the
// right end. It fails if so many columns don't fit, or if the writer fails.
func Print(w io.Writer, columns []Column, o Options) error {
	width := o.Width
	if width <= 0 {
		width = defaultWidth
	}
	columns = withStrangers(columns)
	arrows := collect(columns)
	d, err := newDrawing(columns, width, o)
	if err != nil {
		return err
	}
	start := o.Start
	if start.IsZero() && len(arrows) > 0 {
		start = arrows[0].at
	}
	out := bufio.NewWriter(w)
	d.head(out)
	for _, a := range arrows {
		d.arrow(out, a, a.at.Sub(start))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("printing ladder: %w", err)
	}
	return nil
}

// withStrangers adds a column for each address that no column claims.
func withStrangers(columns []Column) []Column {
	out := slices.Clone(columns)
	for i := range columns {
		for _, m := range columns[i].Messages {
			if find(out, m.Remote) < 0 {
				name := m.Remote.String()
				out = append(out, Column{Name: name, Addrs: []string{name}})
			}
		}
	}
	return out
}

// find is the column of an address, or -1. An exact address wins over a host; a participant's own socket counts as its
// address too.
func find(columns []Column, addr netip.AddrPort) int {
	whole, host := addr.String(), addr.Addr().String()
	for i, c := range columns {
		if slices.Contains(c.Addrs, whole) {
			return i
		}
	}
	for i, c := range columns {
		if slices.ContainsFunc(c.Messages, func(m Message) bool { return m.Local == addr }) {
			return i
		}
	}
	for i, c := range columns {
		if slices.Contains(c.Addrs, host) {
			return i
		}
	}
	return -1
}

// collect turns the messages of all columns into arrows in order of time, each message once.
func collect(columns []Column) []arrow {
	type sighting struct {
		key  string
		sent bool
		msg  Message
		col  int
	}
	var all []sighting
	for i, c := range columns {
		for _, m := range c.Messages {
			all = append(all, sighting{key: identity(m), sent: m.Sent, msg: m, col: i})
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].msg.Time.Before(all[j].msg.Time) })
	sent := make(map[string]int) // messages of that identity drawn as sent and not yet seen to arrive
	for _, s := range all {
		if s.sent {
			sent[s.key]++
		}
	}
	var arrows []arrow
	for _, s := range all {
		if !s.sent && sent[s.key] > 0 {
			sent[s.key]-- // its sender draws it
			continue
		}
		a := arrow{at: s.msg.Time, from: s.col, to: find(columns, s.msg.Remote), label: label(s.msg)}
		if !s.sent {
			a.from, a.to = a.to, a.from
		}
		arrows = append(arrows, a)
	}
	return arrows
}

// identity is equal for both sightings of one message, at its sender and at its receiver.
func identity(m Message) string {
	return strings.Join([]string{m.From().String(), m.To().String(), m.FirstLine, m.Header("Via"), m.Header("Call-ID"),
		m.Header("CSeq")}, "\n")
}

// label is what stands on the arrow.
func label(m Message) string {
	body := ""
	if strings.EqualFold(m.Header("Content-Type"), "application/sdp") {
		body = " (SDP)"
	}
	if rest, ok := strings.CutPrefix(m.FirstLine, "SIP/2.0 "); ok {
		_, method, _ := strings.Cut(m.Header("CSeq"), " ")
		if method = strings.TrimSpace(method); method != "" && method != "INVITE" {
			body = " (" + method + ")"
		}
		return printable(rest) + body
	}
	method, _, _ := strings.Cut(m.FirstLine, " ")
	return printable(method) + body
}

// printable replaces what could disturb a terminal: a ladder also shows what strangers wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}

// drawing knows where each column stands.
type drawing struct {
	style
	at    []int // character position of each column's line
	names []string
	width int
}

func newDrawing(columns []Column, width int, o Options) (*drawing, error) {
	d := &drawing{style: asciiStyle, width: width}
	if o.Unicode {
		d.style = unicodeStyle
	}
	n := len(columns)
	if n == 0 {
		return nil, fmt.Errorf("printing ladder: no columns")
	}
	gap := (width - timeWidth) / n
	if gap < minGap {
		return nil, fmt.Errorf("printing ladder: %d columns do not fit into %d characters", n, width)
	}
	for i, c := range columns {
		d.at = append(d.at, timeWidth+gap/2+i*gap)
		d.names = append(d.names, cutTo(printable(c.Name), gap-1, d.cut))
	}
	return d, nil
}

// head draws the names and one row of bare lines.
func (d *drawing) head(w *bufio.Writer) {
	row := d.blank(" ")
	for i, name := range d.names {
		put(row, d.at[i]-utf8.RuneCountInString(name)/2, name)
	}
	put(row, 2, "time ms")
	emit(w, row)
	row = d.blank(" ")
	for _, x := range d.at {
		row[x] = d.line
	}
	emit(w, row)
}

// arrow draws one message.
func (d *drawing) arrow(w *bufio.Writer, a arrow, since time.Duration) {
	row := d.blank(" ")
	for _, x := range d.at {
		row[x] = d.line
	}
	put(row, 0, fmt.Sprintf("%9.1f", float64(since.Microseconds())/1000))
	if a.from < 0 || a.to < 0 {
		emit(w, row)
		return
	}
	if a.from == a.to {
		put(row, d.at[a.from]+1, " "+cutTo(a.label, d.width-d.at[a.from]-2, d.cut))
		emit(w, row)
		return
	}
	lo, hi := d.at[min(a.from, a.to)], d.at[max(a.from, a.to)]
	for x := lo + 1; x < hi; x++ {
		if row[x] == d.line {
			row[x] = d.cross
		} else {
			row[x] = d.shaft
		}
	}
	if a.to > a.from {
		row[hi-1] = d.right
	} else {
		row[lo+1] = d.left
	}
	// The label stands in the middle of the first gap, so that it hides no line that the arrow crosses.
	room := d.at[1] - d.at[0] - 4 // one shaft on each side and the head
	text := " " + cutTo(a.label, room-2, d.cut) + " "
	left := lo
	if a.to < a.from {
		left = d.at[a.from-1]
	}
	put(row, left+2+(room-utf8.RuneCountInString(text))/2, text)
	emit(w, row)
}

func (d *drawing) blank(with string) []string {
	row := make([]string, d.width)
	for i := range row {
		row[i] = with
	}
	return row
}

// put writes text over the row, as far as it fits.
func put(row []string, at int, text string) {
	for _, r := range text {
		if at >= 0 && at < len(row) {
			row[at] = string(r)
		}
		at++
	}
}

func emit(w *bufio.Writer, row []string) {
	w.WriteString(strings.TrimRight(strings.Join(row, ""), " "))
	w.WriteByte('\n')
}

// cutTo shortens s to n characters and marks the cut.
func cutTo(s string, n int, mark string) string {
	if n < 1 {
		return ""
	}
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + mark
}
