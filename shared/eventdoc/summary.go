package eventdoc

import (
	"strconv"
	"strings"
)

// maxSummary bounds a message summary that is read, in bytes.
const maxSummary = 1024

// Summary is how many messages wait for somebody (RFC 3842).
type Summary struct {
	User     string
	New, Old int
}

// Bytes is the document for readers in domain.
func (s Summary) Bytes(domain string) []byte {
	waiting := "no"
	if s.New > 0 {
		waiting = "yes"
	}
	return []byte("Messages-Waiting: " + waiting + "\r\nMessage-Account: sip:" + s.User + "@" + domain +
		"\r\nVoice-Message: " + strconv.Itoa(s.New) + "/" + strconv.Itoa(s.Old) + "\r\n")
}

// ParseSummary reads a document, and of it what Summary holds.
func ParseSummary(data []byte) (Summary, error) {
	var s Summary
	waiting := false
	if len(data) > maxSummary {
		return s, bad("too large")
	}
	for l := range strings.Lines(string(data)) {
		l = strings.TrimRight(l, "\r\n")
		name, value, ok := strings.Cut(l, ":")
		if value = strings.TrimSpace(value); !ok && l != "" {
			return s, bad("line")
		}
		var err error
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "messages-waiting":
			waiting = true
		case "message-account":
			s.User, err = userOf(value)
		case "voice-message":
			s.New, s.Old, err = counts(value)
		}
		if err != nil {
			return s, err
		}
	}
	if !waiting {
		return s, bad("no Messages-Waiting") // RFC 3842 §5.2
	}
	return s, nil
}

// counts reads new/old, and what stands behind it for urgent ones.
func counts(v string) (fresh, old int, err error) {
	v, _, _ = strings.Cut(v, "(")
	a, b, ok := strings.Cut(strings.TrimSpace(v), "/")
	n, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 31)
	o, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, bad("count")
	}
	return int(n), int(o), nil
}
