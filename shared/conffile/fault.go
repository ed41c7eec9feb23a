package conffile

import (
	"fmt"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	File    string // path of the file; filled in by Load
	Line    int    // 1 is the first line; 0 if the fault belongs to no line
	Key     string // path of the key, as realms.access.interfaces[0].listen; a Validator gives it relative to itself
	Problem string // what is wrong
	Remedy  string // what to do about it
}

// String is file:line: key: problem; remedy, without the parts that are empty, always on one line.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(f.Line))
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key)
		b.WriteString(": ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; ")
		b.WriteString(f.Remedy)
	}
	return oneLine(b.String())
}

// oneLine replaces what would break a line or move a terminal's cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// Bad returns the fault of key with a remedy: a shorthand for Validate methods.
func Bad(key, problem, remedy string) Fault { return Fault{Key: key, Problem: problem, Remedy: remedy} }

// Badf is Bad with a formatted problem.
func Badf(key, remedy, format string, args ...any) Fault {
	return Fault{Key: key, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Faults is every fault of one file, in the order of its lines. It is the error that Load returns.
type Faults []Fault

// Error is one line for each fault.
func (fs Faults) Error() string { return strings.Join(fs.Lines(), "\n") }

// Lines returns one line for each fault.
func (fs Faults) Lines() []string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return lines
}

// BadInput says that the operator's input is at fault: programs end with status 2.
func (fs Faults) BadInput() bool { return true }

// Validator is a Config that knows what its values mean. Validate is called on each value in the tree that has it, after
// the values below it; the keys of its faults are relative to that value ("" for the value itself).
type Validator interface {
	Validate() []Fault
}

// Defaulter sets the defaults of a value that is created while a file is read: an element of a list or a map, or what a
// nil pointer will point to.
type Defaulter interface {
	SetDefaults()
}
