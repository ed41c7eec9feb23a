package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is an error that a handler gives an HTTP status; any other error is answered with 500. The text reaches the caller.
type Error struct {
	Status  int
	Message string
}

func (e *Error) Error() string { return e.Message }

// BadInput reports whether the caller is at fault: its command ends with status 2.
func (e *Error) BadInput() bool { return e.Status >= 400 && e.Status < 500 }

// Errorf returns an Error with a formatted message.
func Errorf(status int, format string, args ...any) error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// problemType is the media type of a Problem.
const problemType = "application/problem+json"

// Problem is what the answer to a request holds that failed (RFC 9457 §3.1). Its type is about:blank, which the document need not say: the
// status tells programs what it is, the detail tells people.
type Problem struct {
	Title  string `json:"title" doc:"The status in words."`
	Status int    `json:"status" doc:"The HTTP status."`
	Detail string `json:"detail" doc:"What is wrong with this request, and what to do about it."`
}

var errInternal = errors.New("internal error; see the program's log")

// fail answers with a Problem.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var e *Error
	if errors.As(err, &e) && e.Status >= 400 {
		status = e.Status
	}
	body, merr := json.Marshal(Problem{http.StatusText(status), status, s.public(r, err)})
	if merr != nil { // two texts and a number always marshal
		body = []byte(`{"status":500}`)
	}
	write(w, status, problemType, body)
}

// public is the text of err for the caller; what the caller did not cause is logged.
func (s *Server) public(r *http.Request, err error) string {
	var e *Error
	if !errors.As(err, &e) {
		s.log.Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	return err.Error()
}

// answerError is the error in an answer.
func answerError(status int, body []byte) error {
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		p.Detail = fmt.Sprintf("the program answered with status %d", status)
	}
	return &Error{Status: status, Message: p.Detail}
}
