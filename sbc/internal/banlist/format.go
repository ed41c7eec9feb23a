package banlist

import "bytes"

// Format is how a list is written.
type Format string

// The formats; the package documentation describes them.
const (
	Auto     Format = "auto"
	Plain    Format = "plain"
	CSV      Format = "csv"
	DropJSON Format = "drop-json"
	APIBAN   Format = "apiban"
)

// Formats are all of them, for whoever offers a choice.
func Formats() []Format { return []Format{Auto, Plain, CSV, DropJSON, APIBAN} }

// csvHeader is the header line of the CSV that Write writes.
const csvHeader = "prefix"

// detect tells the format by the first bytes.
func detect(head []byte) Format {
	switch first := bytes.TrimLeft(head, " \t\r\n"); {
	case len(first) == 0:
		return Plain
	case first[0] == '{' || first[0] == '[':
		if bytes.Contains(first, []byte(`"ipaddress"`)) || bytes.Contains(first, []byte(`"ips"`)) {
			return APIBAN
		}
		return DropJSON
	}
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '"' || bytes.ContainsAny(uncomment(line), ",\t") || string(line) == csvHeader {
			return CSV
		}
		return Plain
	}
	return Plain
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSpace(line)
}

// uncomment cuts a comment off, and the space around the rest.
func uncomment(line []byte) []byte {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	return bytes.TrimSpace(line)
}
