package conffile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"syscall"
)

// File is a file that was read: it knows which line each key stands in.
type File struct {
	Path  string
	lines map[string]int
}

// Load reads the file at path into the struct that into points to, on top of the defaults that stand in it. An error is
// always Faults. When it fails, what into holds is not to be used.
func Load(path string, into any) error {
	_, err := Read(path, into)
	return err
}

// Read is Load that also returns the File, for faults that show only later: a port that is taken, a certificate that
// does not load.
func Read(path string, into any) (*File, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, Faults{readFault(path, err)}
	}
	return Parse(path, data, into)
}

// Parse is Read of bytes in hand; path is the name that faults carry.
func Parse(path string, data []byte, into any) (*File, error) {
	f := &File{Path: path, lines: map[string]int{}}
	root, faults := grow(data)
	if root != nil {
		d := &decoder{lines: f.lines, faults: faults, bad: map[string]bool{}}
		for _, fault := range faults {
			d.markBad(fault.Key)
		}
		d.file(root, into)
		faults = d.faults
	}
	if len(faults) == 0 {
		return f, nil
	}
	for i := range faults {
		faults[i].File = path
	}
	sort.SliceStable(faults, func(i, j int) bool { return faults[i].Line < faults[j].Line })
	return f, faults
}

// Fault returns an error for the value of key, with the file's name and the key's line.
func (f *File) Fault(key, problem, remedy string) error {
	return Faults{{File: f.Path, Line: f.Line(key), Key: key, Problem: problem, Remedy: remedy}}
}

// Line returns the line of key, or of the nearest key above it that the file has; 0 if it has none.
func (f *File) Line(key string) int { return lineFor(f.lines, key) }

func lineFor(lines map[string]int, key string) int {
	for key != "" {
		if n, ok := lines[key]; ok {
			return n
		}
		key = parentPath(key)
	}
	return 0
}

// readFile reads a regular file of at most MaxSize bytes. A named pipe is read too; it does not block when nobody writes.
func readFile(path string) ([]byte, error) {
	// Without O_NONBLOCK opening a pipe that nobody writes to would hang the program.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if st.IsDir() {
		return nil, syscall.EISDIR
	}
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

func readFault(path string, err error) Fault {
	f := Fault{File: path, Problem: "can't be read", Remedy: "check the path"}
	switch {
	case path == "":
		f.Problem, f.Remedy = "no file is named", "name one with -c FILE"
	case errors.Is(err, fs.ErrNotExist):
		f.Problem, f.Remedy = "no such file", "check the path, or write a new file with quickstart or describe"
	case errors.Is(err, fs.ErrPermission):
		f.Problem, f.Remedy = "no permission to read it", "run as its owner, or as root"
	case errors.Is(err, syscall.EISDIR):
		f.Problem, f.Remedy = "is a directory", "name the file in it"
	default:
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		f.Problem = fmt.Sprintf("can't be read: %v", err)
	}
	return f
}
