package conffile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written in a file as 4096, 64KiB, 10MB.
type Size int64

// The binary units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var units = []struct {
	name string
	size int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// UnmarshalText reads a size; it is an error if it is negative or does not fit.
func (s *Size) UnmarshalText(text []byte) error {
	str, factor := string(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(str, u.name); ok {
			str, factor = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(str, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%s is not a size; write it as 4096, 64KiB or 10MB", quote(string(text)))
	}
	if n > math.MaxInt64/factor {
		return fmt.Errorf("%s is too large a size; write a smaller one", quote(string(text)))
	}
	*s = Size(n * factor)
	return nil
}

// MarshalText writes the size in the largest binary unit that divides it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String is the size as a file has it.
func (s Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
