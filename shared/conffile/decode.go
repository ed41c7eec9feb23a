package conffile

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// decoder carries a tree into a struct and collects what does not fit.
type decoder struct {
	lines  map[string]int
	faults Faults
	bad    map[string]bool // paths at or above a fault of form: not validated
}

func (d *decoder) fault(line int, path, problem, remedy string) {
	d.faults = append(d.faults, Fault{Line: line, Key: path, Problem: problem, Remedy: remedy})
	d.markBad(path)
}

func (d *decoder) markBad(path string) {
	for d.bad[path] = true; path != ""; d.bad[path] = true {
		path = parentPath(path)
	}
}

// file decodes the whole tree and then validates it.
func (d *decoder) file(root *node, into any) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("conffile: Load into %T, want a pointer to a struct", into))
	}
	if root.kind == kindNull {
		root = &node{kind: kindTable, line: 1}
	}
	d.value("", root, v.Elem())
	d.validate("", v.Elem())
}

// value decodes n into v.
func (d *decoder) value(path string, n *node, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(fresh(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if isLeaf(v.Type()) {
		d.leaf(path, n, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if d.want(path, n, kindTable) {
			d.table(path, n, v)
		}
	case reflect.Map:
		if d.want(path, n, kindTable) {
			d.mapping(path, n, v)
		}
	case reflect.Slice, reflect.Array:
		if d.want(path, n, kindList) {
			d.list(path, n, v)
		}
	default:
		panic(fmt.Sprintf("conffile: field %s has the type %s, which a file can't hold", path, v.Type()))
	}
}

// want checks that n is of kind k. A key without a value stands for an empty table or list.
func (d *decoder) want(path string, n *node, k kind) bool {
	if n.kind == k || n.kind == kindNull {
		return true
	}
	remedy := "write its keys below it, indented"
	if k == kindList {
		remedy = "write each item on a line of its own after a dash"
	}
	d.fault(n.line, path, fmt.Sprintf("is %s, but must be %s", n.kind, k), remedy)
	return false
}

func (d *decoder) table(path string, n *node, v reflect.Value) {
	fields := fieldsOf(v.Type())
	for _, p := range n.pairs {
		at := joinName(path, p.key)
		d.lines[at] = p.line
		f, ok := fields.find(p.key)
		if !ok {
			d.fault(p.line, at, "unknown key", unknownRemedy(p.key, fields))
			continue
		}
		before := len(d.faults)
		d.value(at, p.value, v.FieldByIndex(f.index))
		if len(d.faults) == before {
			d.oneOf(at, p.value.line, f.oneOf, v.FieldByIndex(f.index))
		}
	}
}

// oneOf holds a field, or each item of a list, to the words that its tag allows.
func (d *decoder) oneOf(path string, line int, words []string, v reflect.Value) {
	if len(words) == 0 {
		return
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			at := joinIndex(path, i)
			d.oneOf(at, lineFor(d.lines, at), words, v.Index(i))
		}
		return
	}
	if text := leafText(v); !slices.Contains(words, text) {
		d.fault(line, path, fmt.Sprintf("%s is not known here", quote(text)), "use one of "+strings.Join(words, ", "))
	}
}

func (d *decoder) mapping(path string, n *node, v reflect.Value) {
	t := v.Type()
	m := reflect.MakeMapWithSize(t, len(n.pairs))
	for _, p := range n.pairs {
		at := joinName(path, p.key)
		d.lines[at] = p.line
		key := reflect.New(t.Key()).Elem()
		if problem, remedy := setLeaf(key, p.key); problem != "" {
			d.fault(p.line, at, "the key "+problem, remedy)
			continue
		}
		elem := fresh(t.Elem()).Elem()
		d.value(at, p.value, elem)
		m.SetMapIndex(key, elem)
	}
	v.Set(m)
}

func (d *decoder) list(path string, n *node, v reflect.Value) {
	if v.Kind() == reflect.Array {
		if len(n.items) != v.Len() {
			d.fault(n.line, path, fmt.Sprintf("has %d items, but must have %d", len(n.items), v.Len()), "write that many")
			return
		}
	} else {
		v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	}
	for i, item := range n.items {
		at := joinIndex(path, i)
		d.lines[at] = item.line
		v.Index(i).Set(fresh(v.Type().Elem()).Elem())
		d.value(at, item, v.Index(i))
	}
}

func (d *decoder) leaf(path string, n *node, v reflect.Value) {
	switch n.kind {
	case kindNull:
		d.fault(n.line, path, "has no value", "write one, or take the line out to have the default")
	case kindScalar:
		if problem, remedy := setLeaf(v, n.text); problem != "" {
			d.fault(n.line, path, problem, remedy)
		}
	default:
		d.fault(n.line, path, fmt.Sprintf("is %s, but must be a single value", n.kind), "write it behind the colon")
	}
}

// fresh returns a pointer to a new value of type t with its defaults.
func fresh(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if def, ok := p.Interface().(Defaulter); ok {
		def.SetDefaults()
	}
	return p
}

// validate calls the Validators of v and of all below it, those below first.
func (d *decoder) validate(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.validate(path, v.Elem())
		}
		return
	case reflect.Struct:
		if !isLeaf(v.Type()) {
			for _, f := range fieldsOf(v.Type()) {
				d.validate(joinName(path, f.name), v.FieldByIndex(f.index))
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			d.validate(joinIndex(path, i), v.Index(i))
		}
	case reflect.Map:
		for _, k := range sortedKeys(v) {
			elem := reflect.New(v.Type().Elem()).Elem() // addressable, for methods on the pointer
			elem.Set(v.MapIndex(k))
			d.validate(joinName(path, leafText(k)), elem)
		}
	}
	if d.bad[path] {
		return
	}
	val, ok := v.Interface().(Validator)
	if !ok && v.CanAddr() {
		val, ok = v.Addr().Interface().(Validator)
	}
	if !ok {
		return
	}
	for _, f := range val.Validate() {
		f.Key = joinPath(path, f.Key)
		f.Line = lineFor(d.lines, f.Key)
		d.faults = append(d.faults, f)
		d.markBad(f.Key)
	}
}

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType    = reflect.TypeFor[time.Duration]()
)

// isLeaf reports whether a value of type t is written as one scalar.
func isLeaf(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	}
	return false
}

// setLeaf reads text into v and returns what is wrong with it and the remedy, both empty if nothing is.
func setLeaf(v reflect.Value, text string) (problem, remedy string) {
	if v.Type() == durationType {
		return setDuration(v, text)
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return setText(v, u, text)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return quote(text) + " is neither true nor false", "write true or false"
		}
		v.SetBool(text == "true")
	case reflect.Float32, reflect.Float64:
		x, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return quote(text) + " is not a number", "write digits, as 0.5"
		}
		v.SetFloat(x)
	default:
		return setInteger(v, text)
	}
	return "", ""
}

func setInteger(v reflect.Value, text string) (problem, remedy string) {
	bits := v.Type().Bits()
	if v.CanUint() {
		x, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return quote(text) + " is not a number in range", fmt.Sprintf("write one from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
		}
		v.SetUint(x)
		return "", ""
	}
	x, err := strconv.ParseInt(text, 10, bits)
	if err != nil {
		return quote(text) + " is not a whole number in range", "write digits only, as 100"
	}
	v.SetInt(x)
	return "", ""
}

func setDuration(v reflect.Value, text string) (problem, remedy string) {
	x, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return quote(text) + " is not a duration", "write it with its unit, as 500ms, 5s, 5m or 1h"
	case x < 0:
		return quote(text) + " is negative", "write a duration of 0 or more"
	}
	v.SetInt(int64(x))
	return "", ""
}

// setText reads a type that reads itself. Empty text is its zero value.
func setText(v reflect.Value, u encoding.TextUnmarshaler, text string) (problem, remedy string) {
	if text == "" {
		v.SetZero()
		return "", ""
	}
	err := u.UnmarshalText([]byte(text))
	if err == nil {
		return "", ""
	}
	switch v.Type().String() {
	case "netip.Addr":
		return quote(text) + " is not an IP address", "write it as 192.0.2.1 or 2001:db8::1"
	case "netip.AddrPort":
		return quote(text) + " is not an IP address and port", "write it as 192.0.2.1:5061 or [2001:db8::1]:5061"
	case "netip.Prefix":
		return quote(text) + " is not a network", "write it as 192.0.2.0/24 or 2001:db8::/32"
	}
	if problem, remedy, ok := strings.Cut(err.Error(), "; "); ok {
		return problem, remedy
	}
	return err.Error(), "see describe for what this key holds"
}
