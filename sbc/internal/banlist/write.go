package banlist

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
)

// Write writes a list so that Parse reads the same again: Plain, CSV with a header line, or DropJSON. An error is ErrOptions for
// another format, or the writer's.
func Write(w io.Writer, list []netip.Prefix, format Format) error {
	out := bufio.NewWriterSize(w, maxLine)
	var before, after string
	switch format {
	case Plain:
	case CSV:
		fmt.Fprint(out, csvHeader+"\n")
	case DropJSON:
		before, after = `{"cidr":"`, `"}`
	default:
		return fmt.Errorf("%w: a list is written as %s, %s or %s, not as %q", ErrOptions, Plain, CSV, DropJSON, format)
	}
	var line []byte
	for _, p := range list {
		line = append(line[:0], before...)
		if p.IsSingleIP() && format == Plain {
			line = p.Addr().AppendTo(line)
		} else {
			line = p.AppendTo(line)
		}
		line = append(append(line, after...), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if format == DropJSON {
		fmt.Fprintf(out, `{"type":"metadata","records":%d}`+"\n", len(list))
	}
	return out.Flush()
}
