package database

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// difference is what is not the same in two JSON documents: values by their path, as "trunks[0].name". A value that one of them does not have
// is not in its part.
func difference(before, after json.RawMessage) (was, is json.RawMessage, err error) {
	var a, b any
	if err := json.Unmarshal(before, &a); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(after, &b); err != nil {
		return nil, nil, err
	}
	fa, fb := map[string]any{}, map[string]any{}
	flatten("", a, fa)
	flatten("", b, fb)
	for path, v := range fa {
		if w, ok := fb[path]; ok && reflect.DeepEqual(v, w) {
			delete(fa, path)
			delete(fb, path)
		}
	}
	if was, err = json.Marshal(fa); err != nil {
		return nil, nil, err
	}
	is, err = json.Marshal(fb)
	return was, is, err
}

// flatten puts every leaf of a document into a map by its path.
func flatten(path string, v any, into map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		if path != "" {
			path += "."
		}
		for k, x := range v {
			flatten(path+k, x, into)
		}
	case []any:
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), x, into)
		}
	default:
		into[path] = v
	}
}
