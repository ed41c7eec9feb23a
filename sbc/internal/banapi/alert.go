package banapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds of what a caller may post.
const (
	maxBody      = 1 << 20 // bytes
	maxDecisions = 1000
	maxAlerts    = 1000
	maxDepth     = 16
	maxValue     = 64  // bytes of an address, a network, a duration, a scope or a type
	maxNote      = 512 // bytes of a scenario
)

// wish is one decision as it is posted: all of it a stranger's text yet.
type wish struct {
	Alert     int // place of its alert in the request
	Duration  string
	Scope     string
	Value     string
	Type      string
	Scenario  string
	Simulated bool
}

// readAlerts reads a list of alerts and returns their number and the decisions in them, in order. What it does not know it
// skips, since agents send much more than is needed here; what it knows must have the right type. A key that stands
// twice in one object is an error wherever it is: two readers could take it for two different things.
func readAlerts(data []byte) (alerts int, wishes []wish, err error) {
	if !utf8.Valid(data) {
		return 0, nil, errors.New("it is not UTF-8")
	}
	r := &reader{dec: json.NewDecoder(bytes.NewReader(data))}
	err = r.list(0, func() error {
		if alerts++; alerts > maxAlerts {
			return fmt.Errorf("it has more than %d alerts", maxAlerts)
		}
		found, err := r.alert(alerts - 1)
		wishes = append(wishes, found...)
		if len(wishes) > maxDecisions {
			return fmt.Errorf("it has more than %d decisions", maxDecisions)
		}
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return 0, nil, errors.New("something follows the list of alerts")
	}
	return alerts, wishes, nil
}

// reader walks through JSON, token by token.
type reader struct{ dec *json.Decoder }

func (r *reader) alert(n int) ([]wish, error) {
	var wishes []wish
	var scenario string
	simulated := false
	err := r.object(1, func(key string) (bool, error) {
		switch key {
		case "scenario":
			return true, r.text(&scenario, key, maxNote)
		case "simulated":
			return true, r.flag(&simulated, key)
		case "decisions":
			return true, r.listOrNull(2, func() error {
				if len(wishes) > maxDecisions {
					return fmt.Errorf("it has more than %d decisions", maxDecisions)
				}
				w, err := r.wish()
				w.Alert = n
				wishes = append(wishes, w)
				return err
			})
		}
		return false, nil
	})
	for i := range wishes {
		wishes[i].Simulated = wishes[i].Simulated || simulated
		if wishes[i].Scenario == "" {
			wishes[i].Scenario = scenario
		}
	}
	return wishes, err
}

func (r *reader) wish() (w wish, err error) {
	err = r.object(3, func(key string) (bool, error) {
		switch key {
		case "duration":
			return true, r.text(&w.Duration, key, maxValue)
		case "scope":
			return true, r.text(&w.Scope, key, maxValue)
		case "value":
			return true, r.text(&w.Value, key, maxNote) // a user's name may be long; it is refused by its scope
		case "type":
			return true, r.text(&w.Type, key, maxValue)
		case "scenario":
			return true, r.text(&w.Scenario, key, maxNote)
		case "simulated":
			return true, r.flag(&w.Simulated, key)
		}
		return false, nil
	})
	return w, err
}

// object reads an object; known reads the value of a key that it knows, and says so.
func (r *reader) object(depth int, known func(key string) (bool, error)) error {
	if err := r.open('{', "an object"); err != nil {
		return err
	}
	return r.members(depth, known)
}

// members reads an object whose brace has been read.
func (r *reader) members(depth int, known func(key string) (bool, error)) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	seen := map[string]bool{}
	for r.dec.More() {
		t, err := r.next()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return errors.New("it is no JSON")
		}
		if seen[key] {
			return fmt.Errorf("key %.40q stands twice", key)
		}
		seen[key] = true
		ok, err = known(key)
		if !ok && err == nil {
			err = r.skip(depth + 1)
		}
		if err != nil {
			return err
		}
	}
	_, err := r.next()
	return err
}

func (r *reader) list(depth int, item func() error) error {
	if err := r.open('[', "a list"); err != nil {
		return err
	}
	return r.items(depth, item)
}

func (r *reader) listOrNull(depth int, item func() error) error {
	t, err := r.next()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("decisions are no list")
	}
	return r.items(depth, item)
}

// items reads a list whose bracket has been read.
func (r *reader) items(depth int, item func() error) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	for r.dec.More() {
		if err := item(); err != nil {
			return err
		}
	}
	_, err := r.next()
	return err
}

func (r *reader) open(d json.Delim, what string) error {
	t, err := r.next()
	if err == nil && t != d {
		err = fmt.Errorf("%s is missing", what)
	}
	return err
}

func (r *reader) text(into *string, key string, limit int) error {
	t, err := r.next()
	if err != nil {
		return err
	}
	s, ok := t.(string)
	if !ok && t != nil {
		return fmt.Errorf("%s is no string", key)
	}
	if len(s) > limit {
		return fmt.Errorf("%s has more than %d bytes", key, limit)
	}
	*into = s
	return nil
}

func (r *reader) flag(into *bool, key string) error {
	t, err := r.next()
	if err != nil {
		return err
	}
	b, ok := t.(bool)
	if !ok && t != nil {
		return fmt.Errorf("%s is neither true nor false", key)
	}
	*into = b
	return nil
}

// skip reads a value of any kind and forgets it.
func (r *reader) skip(depth int) error {
	t, err := r.next()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		return r.members(depth, func(string) (bool, error) { return false, nil })
	case json.Delim('['):
		return r.items(depth, func() error { return r.skip(depth + 1) })
	}
	return nil
}

func (r *reader) next() (json.Token, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, errors.New("it is no JSON, or not all of it")
	}
	return t, nil
}
