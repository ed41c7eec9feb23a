package rules

import (
	"strings"

	"brickhouse/shared/sipmsg"
)

// field is one thing of a message that rules may change, as it would be written.
type field struct{ name, value string }

// fields lists start line and headers in the order of the message, headers of one name together.
func (v *view) fields() []field {
	out := []field{{"request", v.req.Recipient.String()}}
	seen := map[string]bool{}
	for _, h := range v.req.Headers() {
		name := sipmsg.Canonical(h.Name())
		if seen[name] || name == "Content-Length" {
			continue
		}
		seen[name] = true
		out = append(out, field{name, strings.Join(sipmsg.Headers(v.req, name), ", ")})
	}
	return out
}

// differences tells what a rule did.
func differences(rule string, before, after []field) []Step {
	var out []Step
	find := func(list []field, name string) string {
		for _, f := range list {
			if f.name == name {
				return f.value
			}
		}
		return ""
	}
	for _, b := range before {
		if a := find(after, b.name); a != b.value {
			out = append(out, Step{rule, b.name, b.value, a})
		}
	}
	for _, a := range after {
		if find(before, a.name) == "" && a.value != "" {
			out = append(out, Step{rule, a.name, "", a.value})
		}
	}
	return out
}
