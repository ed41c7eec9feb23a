package sanitize

import "bytes"

// description reports whether a session description stays within the limits. It counts before anything is built of it; what
// its lines mean is for media/anchor to say.
func (l *Limits) description(b []byte) bool {
	lines, media, attributes := 0, 0, 0
	for line := range bytes.Lines(b) {
		lines++
		switch {
		case bytes.HasPrefix(line, []byte("m=")):
			media++
		case bytes.HasPrefix(line, []byte("a=")):
			attributes++
		}
		if lines > l.SDPLines || media > l.SDPMedia || attributes > l.Attributes {
			return false
		}
	}
	return true
}
