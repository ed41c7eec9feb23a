package banapi

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// problem is why a request was refused, as the caller reads it: a problem document (RFC 9457). Message repeats the detail where
// clients of CrowdSec look for it.
type problem struct {
	Type      string    `json:"type"` // "about:blank": the status says what kind it is (RFC 9457 §4.2.1)
	Title     string    `json:"title"`
	Status    int       `json:"status"`
	Detail    string    `json:"detail"`
	Message   string    `json:"message"`
	Decisions []outcome `json:"decisions,omitempty"` // what became of each decision, in the order of the request

	reason string // the word for log and metrics
}

func (p *problem) Error() string { return p.Detail }

// refuse makes a problem. reason is one word of ours.
func refuse(status int, reason, format string, args ...any) *problem {
	detail := fmt.Sprintf(format, args...)
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Message: detail, reason: reason}
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="brickhouse"`)
	case http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON answers with one value.
func writeJSON(w http.ResponseWriter, status int, kind string, v any) {
	body, err := json.Marshal(v)
	if err != nil { // our own types always marshal
		status, body = http.StatusInternalServerError, []byte(`{}`)
	}
	header(w, kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the caller may be gone; there is nobody else to tell
}

// header sets what all answers have.
func header(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}
