// Package conffile reads a program's YAML file into its Config and prints that Config as a commented file.
//
// Each room of the product owns its Config struct, its defaults and its Validate method; the file is their sum. Keys are
// the fields' `yaml` tags (without one, the field's name in lower case); `yaml:"-"` hides a field and `yaml:",inline"`
// lifts an embedded struct's fields. Defaults are what stands in the value before Load, and in the elements of lists and
// maps what a Defaulter puts there. Unknown keys, keys given twice, anchors, aliases and tags are faults.
//
// The tags that describe a field are
//
//	doc:"..."          what it is, with its unit; printed by Describe
//	oneof:"udp|tcp"    the only words allowed
//
// A struct's own documentation is the doc tag of a field named "_".
//
// Field types: bool, string, integers, floats, time.Duration ("5m"), Size ("64KiB"), anything with UnmarshalText (the
// netip types among them), structs, pointers, slices, arrays and maps of those.
//
// All faults are found in one run and each takes one line: file:line: key: problem; remedy. Two passes find them: the
// first for form (does the text fit the type), the second for meaning (Validator). A part whose form is wrong is not
// asked for its meaning.
//
// The YAML is parsed by goccy/go-yaml; the way from its tree to the struct is ours, because a decoder that stops at the
// first fault can't list them all.
package conffile
