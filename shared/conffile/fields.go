package conffile

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is a key that a struct has.
type field struct {
	name  string
	index []int
	doc   string
	oneOf []string
}

type fields []field

func (fs fields) find(name string) (field, bool) {
	for _, f := range fs {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// fieldsOf lists the keys of a struct type in the order of its fields.
func fieldsOf(t reflect.Type) fields {
	var out fields
	for i := range t.NumField() {
		sf := t.Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		inline := sf.Type.Kind() == reflect.Struct && (strings.Contains(opts, "inline") || sf.Anonymous && name == "")
		switch {
		case name == "-" || !sf.IsExported() && !(inline && sf.Anonymous):
			continue
		case inline:
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				out = append(out, f)
			}
			continue
		case name == "":
			name = strings.ToLower(sf.Name)
		}
		f := field{name: name, index: []int{i}, doc: sf.Tag.Get("doc")}
		if words := sf.Tag.Get("oneof"); words != "" {
			f.oneOf = strings.Split(words, "|")
		}
		out = append(out, f)
	}
	return out
}

// structDoc is the documentation of a struct type: the doc tag of its field "_".
func structDoc(t reflect.Type) string {
	if f, ok := t.FieldByName("_"); ok {
		return f.Tag.Get("doc")
	}
	return ""
}

// unknownRemedy names the key that was probably meant, or those that exist.
func unknownRemedy(key string, known fields) string {
	best, at := 3, ""
	var names []string
	for _, f := range known {
		names = append(names, f.name)
		if n := distance(clip(key), f.name); n < best {
			best, at = n, f.name
		}
	}
	switch {
	case at != "":
		return fmt.Sprintf("did you mean %q?", at)
	case len(names) == 0:
		return "take it out"
	case len(names) > 12:
		return "take it out, or see describe for the keys that exist"
	}
	return "use one of " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance: how many letters to change, add or take out.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		diag := prev[0]
		prev[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = prev[j+1]
			prev[j+1] = min(cost, prev[j]+1, diag+1)
		}
	}
	return prev[len(b)]
}

// leafText is the text of a value that is written as one scalar.
func leafText(v reflect.Value) string {
	if v.Type() == durationType {
		return durationText(time.Duration(v.Int()))
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String()
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits())
	}
	return fmt.Sprint(v.Interface())
}

// sortedKeys are the keys of a map in the order of their text.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(leafText(a), leafText(b)) })
	return keys
}

// durationText is 5m for what Duration.String writes as 5m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
