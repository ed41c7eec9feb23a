package conffile

import (
	"strconv"
	"strings"
)

// A key path is made of names joined by "." and of indexes in brackets: trunks.carrier.gateways[0].address. A name with
// other characters than letters, digits, "_" and "-" stands in brackets and quotes: trunks["a.b"].

// joinName appends a map key or a field's name to a path.
func joinName(path, name string) string {
	if !plainName(name) {
		return path + "[" + strconv.Quote(clip(name)) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// joinIndex appends a list index to a path.
func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// joinPath appends a relative path, as a Validator gives it.
func joinPath(path, rel string) string {
	if path == "" || rel == "" || rel[0] == '[' {
		return path + rel
	}
	return path + "." + rel
}

// parentPath cuts the last name or index off; the path of the whole file is "".
func parentPath(path string) string {
	if strings.HasSuffix(path, "\"]") {
		if i := strings.LastIndex(path, "[\""); i >= 0 {
			return path[:i]
		}
	}
	if strings.HasSuffix(path, "]") {
		if i := strings.LastIndexByte(path, '['); i >= 0 {
			return path[:i]
		}
	}
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

func plainName(s string) bool {
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
		if !ok {
			return false
		}
	}
	return s != ""
}

// maxQuoted bounds, in bytes, what an error repeats of a file.
const maxQuoted = 64

func clip(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "..."
	}
	return s
}

func quote(s string) string { return strconv.Quote(clip(s)) }
