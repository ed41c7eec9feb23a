package conffile

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// wrapColumn is where the comments of a described file end.
const wrapColumn = 100

// Describe writes the struct config, or what it points to, as a YAML file that Load accepts: each key with the value in
// hand, below its documentation. Keys of lists and maps that are empty stand in a comment.
func Describe(w io.Writer, config any) error {
	v := reflect.ValueOf(config)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return fmt.Errorf("describing %T: not a struct", config)
	}
	p := &printer{}
	if doc := structDoc(v.Type()); doc != "" {
		p.comment("", doc)
		p.line("", "")
	}
	p.table("", v, true)
	_, err := w.Write(p.out.Bytes())
	return err
}

// printer writes YAML line by line. Inside hidden, lines are comments.
type printer struct {
	out    bytes.Buffer
	hidden bool
}

// line writes one line; in hidden parts what is no comment becomes one.
func (p *printer) line(indent, text string) {
	if p.hidden && !strings.HasPrefix(text, "#") {
		text = "#" + text
	}
	p.out.WriteString(strings.TrimRight(indent+text, " ") + "\n")
}

// comment writes text as comment lines of at most wrapColumn columns.
func (p *printer) comment(indent, text string) {
	mark := "# "
	if p.hidden {
		mark = "## "
	}
	for _, para := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(para) {
			if line != "" && len(indent)+len(mark)+len(line)+1+len(word) > wrapColumn {
				p.line(indent, mark+line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		p.line(indent, mark+line)
	}
}

// table writes the keys of a struct, with an empty line between those at the top.
func (p *printer) table(indent string, v reflect.Value, top bool) {
	for i, f := range fieldsOf(v.Type()) {
		if top && i > 0 {
			p.out.WriteString("\n")
		}
		doc := f.doc
		if len(f.oneOf) > 0 {
			doc = strings.TrimSpace(doc + " One of: " + strings.Join(f.oneOf, ", ") + ".")
		}
		if t := elemType(v.FieldByIndex(f.index).Type()); doc == "" && t.Kind() == reflect.Struct && !isLeaf(t) {
			doc = structDoc(t)
		}
		if doc != "" {
			p.comment(indent, doc)
		}
		p.entry(indent, scalar(f.name), v.FieldByIndex(f.index))
	}
}

// entry writes one key with its value.
func (p *printer) entry(indent, key string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			p.hide(func() { p.entry(indent, key, fresh(v.Type().Elem()).Elem()) })
			return
		}
		v = v.Elem()
	}
	switch {
	case isLeaf(v.Type()):
		p.line(indent, key+": "+leafScalar(v))
	case v.Kind() == reflect.Struct:
		p.line(indent, key+":"+emptyTable(v))
		p.table(indent+"  ", v, false)
	case v.Kind() == reflect.Map:
		p.mapping(indent, key, v)
	default:
		p.list(indent, key, v)
	}
}

func emptyTable(v reflect.Value) string {
	if len(fieldsOf(v.Type())) == 0 {
		return " {}"
	}
	return ""
}

func (p *printer) mapping(indent, key string, v reflect.Value) {
	if v.Len() == 0 {
		p.line(indent, key+":"+p.nothing(" {}", v))
		p.example(v.Type().Elem(), func(elem reflect.Value) { p.entry(indent+"  ", "NAME", elem) })
		return
	}
	p.line(indent, key+":")
	for _, k := range sortedKeys(v) {
		p.entry(indent+"  ", scalar(leafText(k)), v.MapIndex(k))
	}
}

func (p *printer) list(indent, key string, v reflect.Value) {
	elem := v.Type().Elem()
	if v.Len() == 0 {
		p.line(indent, key+":"+p.nothing(" []", v))
		p.example(elem, func(elem reflect.Value) { p.item(indent+"  ", elem) })
		return
	}
	if isLeaf(elem) {
		texts := make([]string, v.Len())
		for i := range texts {
			texts[i] = leafScalar(reflect.Indirect(v.Index(i)))
		}
		p.line(indent, key+": ["+strings.Join(texts, ", ")+"]")
		return
	}
	p.line(indent, key+":")
	for i := range v.Len() {
		p.item(indent+"  ", reflect.Indirect(v.Index(i)))
	}
}

// nothing is the text of an empty list or map; in a commented part its example takes that place.
func (p *printer) nothing(text string, v reflect.Value) string {
	if t := elemType(v.Type()); p.hidden && t.Kind() == reflect.Struct && !isLeaf(t) {
		return ""
	}
	return text
}

// item writes an element of a list: its first line carries the dash.
func (p *printer) item(indent string, v reflect.Value) {
	if v.Kind() != reflect.Struct || isLeaf(v.Type()) {
		p.line(indent, "- "+flow(v))
		return
	}
	inner := printer{hidden: p.hidden}
	inner.table(indent+"  ", v, false)
	dash := false
	for _, line := range strings.SplitAfter(inner.out.String(), "\n") {
		text := strings.TrimLeft(line, " ")
		isComment := strings.HasPrefix(text, "# ") || strings.HasPrefix(text, "## ") || text == "#\n" || text == "##\n"
		if dash || text == "" {
			p.out.WriteString(line)
			continue
		}
		if isComment {
			p.out.WriteString(indent + text)
			continue
		}
		dash = true
		if p.hidden {
			p.out.WriteString(indent + "#- " + strings.TrimPrefix(text, "#"))
		} else {
			p.out.WriteString(indent + "- " + text)
		}
	}
}

// flow writes a list or map in one line, for lists in lists.
func flow(v reflect.Value) string {
	v = reflect.Indirect(v)
	var parts []string
	switch {
	case !v.IsValid():
		return `""`
	case isLeaf(v.Type()):
		return leafScalar(v)
	case v.Kind() == reflect.Map:
		for _, k := range sortedKeys(v) {
			parts = append(parts, scalar(leafText(k))+": "+flow(v.MapIndex(k)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case v.Kind() == reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			parts = append(parts, scalar(f.name)+": "+flow(v.FieldByIndex(f.index)))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	for i := range v.Len() {
		parts = append(parts, flow(v.Index(i)))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// example shows, in a comment, what an element of an empty list or map would look like.
func (p *printer) example(elem reflect.Type, show func(reflect.Value)) {
	if elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	if isLeaf(elem) || elem.Kind() != reflect.Struct {
		return
	}
	p.hide(func() { show(fresh(elem).Elem()) })
}

func (p *printer) hide(f func()) {
	was := p.hidden
	p.hidden = true
	f()
	p.hidden = was
}

// elemType is the type inside pointers, slices, arrays and maps.
func elemType(t reflect.Type) reflect.Type {
	for !isLeaf(t) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			t = t.Elem()
		default:
			return t
		}
	}
	return t
}

// plain are the texts that YAML reads as themselves.
var plain = regexp.MustCompile(`^[A-Za-z0-9/_+.][A-Za-z0-9/_+.@:-]*$`)

func leafScalar(v reflect.Value) string {
	text := leafText(v)
	switch v.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		if _, err := strconv.ParseFloat(text, 64); err == nil || text == "true" || text == "false" {
			return text
		}
		return scalar(text) // a type that writes itself
	case reflect.String:
		return stringScalar(text)
	}
	return scalar(text)
}

// stringScalar quotes what other readers of YAML would take for a number, a truth value or nothing.
func stringScalar(text string) string {
	switch strings.ToLower(text) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return strconv.Quote(text)
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return strconv.Quote(text)
	}
	return scalar(text)
}

// scalar quotes text if YAML would not read it back as it is.
func scalar(text string) string {
	if plain.MatchString(text) && !strings.HasSuffix(text, ":") && text != "." && !strings.HasPrefix(text, "..") {
		return text
	}
	return strconv.Quote(text)
}
