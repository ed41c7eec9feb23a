package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	strict "github.com/go-json-experiment/json"
)

// Operation tells who writes programs against a route what it does. The OpenAPI document says the same.
type Operation struct {
	ID      string // as "setExtensionPassword"
	Summary string // one line
	// Area is what a key must be allowed to do: AREA:read for GET, AREA:write for everything else. Empty: any key may ask.
	Area    string
	Local   bool    // only for people on the machine: no key is enough
	Queries []Query // what may stand after the question mark
	// Shows returns the thing that a change is of, for the audit: it is asked before and after. nil: what changes is not to be shown.
	Shows func(r *http.Request) any
}

// Query is a parameter after the question mark.
type Query struct {
	Name, Doc string
	Required  bool
}

// None is the body of a request or an answer that has none.
type None struct{}

// Change is a request that changed something.
type Change struct {
	At        time.Time       `json:"at"`
	Who       string          `json:"who" doc:"The user of the machine, or the name of the key."`
	From      string          `json:"from" doc:"Where the request came from: \"socket\", \"file\", or an address."`
	Operation string          `json:"operation" doc:"ID of the operation in this document."`
	Target    string          `json:"target" doc:"Path of the request."`
	Before    json.RawMessage `json:"before,omitempty" doc:"The thing as it was."`
	After     json.RawMessage `json:"after,omitempty" doc:"The thing as it is."`
}

// Audit has every change noted before its request is answered. It is called once, before there are requests.
func (s *Server) Audit(note func(context.Context, Change) error) {
	s.described.Lock()
	defer s.described.Unlock()
	s.note = note
}

// Route adds a route whose requests and answers are described: In is the body that a request must have, Out the body of the answer. What is
// not as described is refused before h hears of it.
func Route[In, Out any](s *Server, pattern string, op Operation, h func(r *http.Request, in In) (Out, error)) {
	method, _, _ := strings.Cut(pattern, " ")
	body := s.describe(pattern, op, reflect.TypeFor[In](), reflect.TypeFor[Out]())
	s.Handle(pattern, func(r *http.Request) (any, error) {
		var in In
		if err := checkQuery(r.URL.RawQuery, op.Queries); err != nil {
			return nil, err
		}
		if err := s.read(r, body, &in); err != nil {
			return nil, err
		}
		if method == http.MethodGet {
			return answer(h(r, in))
		}
		before, err := show(r, op)
		if err != nil {
			return nil, err
		}
		out, err := h(r, in)
		if err != nil {
			return nil, err
		}
		return answer(out, s.audit(r, op, before))
	})
}

// answer is nil for what has no body.
func answer[Out any](out Out, err error) (any, error) {
	if _, none := any(out).(None); none {
		return nil, err
	}
	return out, err
}

// show returns the thing that a change is of.
func show(r *http.Request, op Operation) (json.RawMessage, error) {
	if op.Shows == nil {
		return nil, nil
	}
	v := op.Shows(r)
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// audit notes a change that was made.
func (s *Server) audit(r *http.Request, op Operation, before json.RawMessage) error {
	s.described.RLock()
	note := s.note
	s.described.RUnlock()
	if note == nil {
		return nil
	}
	after, err := show(r, op)
	if err != nil {
		return err
	}
	c := Change{At: time.Now(), Who: Caller(r.Context()), From: Origin(r.Context()), Operation: op.ID, Target: r.URL.Path, Before: before, After: after}
	if err := note(r.Context(), c); err != nil {
		return fmt.Errorf("it is done, but could not be noted in the audit: %w", err)
	}
	return nil
}

// read reads a request's body into in: strictly as the schema says. A request without a schema has no body.
func (s *Server) read(r *http.Request, schema *huma.Schema, in any) error {
	if schema == nil {
		if n, _ := io.CopyN(io.Discard, r.Body, 1); n > 0 {
			return Errorf(http.StatusBadRequest, "this request has no body")
		}
		return nil
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	var v any
	if err := strict.Unmarshal(body, &v); err != nil {
		return notAsExpected(err)
	}
	if err := s.validate(schema, v); err != nil {
		return err
	}
	if err := strict.Unmarshal(body, in, strict.RejectUnknownMembers(true)); err != nil {
		return notAsExpected(err)
	}
	return nil
}

// validate says what about v is not as the schema wants it. It does not repeat the values: they may be secret.
func (s *Server) validate(schema *huma.Schema, v any) error {
	var res huma.ValidateResult
	s.described.RLock()
	huma.Validate(s.doc.Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, v, &res)
	s.described.RUnlock()
	var wrong []string
	for _, err := range res.Errors {
		var d *huma.ErrorDetail
		switch {
		case !errors.As(err, &d):
			wrong = append(wrong, err.Error())
		case d.Location == "":
			wrong = append(wrong, d.Message)
		default:
			wrong = append(wrong, fmt.Sprintf("%s: %s", Clean(d.Location), d.Message))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return Errorf(http.StatusBadRequest, "the request is not as expected: %s", strings.Join(wrong, "; "))
}

// checkQuery refuses parameters that a route does not know, that stand twice, or that are missing.
func checkQuery(raw string, known []Query) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return Errorf(http.StatusBadRequest, "what stands after the question mark can't be read")
	}
	for _, k := range known {
		values := q[k.Name]
		switch {
		case len(values) > 1:
			return Errorf(http.StatusBadRequest, "the parameter %s stands more than once", k.Name)
		case len(values) == 0 && k.Required:
			return Errorf(http.StatusBadRequest, "the parameter %s is missing", k.Name)
		}
		delete(q, k.Name)
	}
	for name := range q {
		return Errorf(http.StatusBadRequest, "there is no parameter %q here", Clean(name))
	}
	return nil
}

// Decode reads the JSON body of a request strictly: unknown and repeated keys, a second value and more than MaxBody are errors of
// status 400 or 413.
func Decode(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if err := strict.Unmarshal(body, into, strict.RejectUnknownMembers(true)); err != nil {
		return notAsExpected(err)
	}
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, Errorf(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", MaxBody)
	case err != nil:
		return nil, Errorf(http.StatusBadRequest, "the request ended early")
	case len(body) == 0:
		return nil, Errorf(http.StatusBadRequest, "the request has no body")
	}
	return body, nil
}

// notAsExpected leaves out the names of Go types.
func notAsExpected(err error) error {
	var wrong *strict.SemanticError
	if errors.As(err, &wrong) && wrong.Err != nil {
		err = fmt.Errorf("%s: %w", Clean(string(wrong.JSONPointer)), wrong.Err)
	}
	return Errorf(http.StatusBadRequest, "the request is not as expected: %v", err)
}
