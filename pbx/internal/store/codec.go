package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"brickhouse/shared/state"
)

// version is the format of values that we write, and the newest that we read. A newer program may add fields without
// raising it: we keep what we don't know.
const version = 1

type raw = json.RawMessage

// versionField stands in each value beside the row's own fields.
const versionField = "v"

// encode writes a row as it stands in the log: its fields, its version, and the fields that we did not know when we
// read it.
func encode[T any](r *T, m *row) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	if len(m.extra) == 0 {
		return append([]byte(`{"v":1,`), b[1:]...), nil // b is never the empty object: its key has no omitempty
	}
	all := map[string]raw{}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	for name, v := range m.extra {
		if _, ours := all[name]; !ours {
			all[name] = v
		}
	}
	all[versionField] = raw("1")
	return json.Marshal(all)
}

// decode reads a row.
func decode[T any, P rowPtr[T]](c state.Change) (P, error) {
	all := map[string]raw{}
	if err := json.Unmarshal(c.Val, &all); err != nil {
		return nil, fmt.Errorf("%w: value of %s: %w", state.ErrCorrupt, c.Key, err)
	}
	var v int
	if err := json.Unmarshal(all[versionField], &v); err != nil || v < 1 {
		return nil, fmt.Errorf("%w: value of %s has no version", state.ErrCorrupt, c.Key)
	}
	if v > version {
		return nil, fmt.Errorf("value of %s has format %d, newer than format %d of this program: update it", c.Key, v, version)
	}
	r := P(new(T))
	if err := json.Unmarshal(c.Val, r); err != nil {
		return nil, fmt.Errorf("%w: value of %s: %w", state.ErrCorrupt, c.Key, err)
	}
	if r.key() != c.ID {
		return nil, fmt.Errorf("%w: value of %s is that of %.40q", state.ErrCorrupt, c.Key, r.key())
	}
	delete(all, versionField)
	for name := range knownFields(reflect.TypeFor[T]()) {
		delete(all, name)
	}
	m := r.meta()
	m.ver = c.Ver
	if len(all) > 0 {
		m.extra = all
	}
	return r, nil
}

// knownFields yields the JSON names of a row's fields.
func knownFields(t reflect.Type) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if name != "" && !yield(name) {
				return
			}
		}
	}
}
