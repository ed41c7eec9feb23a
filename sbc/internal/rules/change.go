package rules

import (
	"regexp"

	"brickhouse/shared/sipmsg"
)

// change is a Change that is ready to be made.
type change struct {
	Change
	name  string // canonical name of the header
	match *regexp.Regexp
	when  []condition
}

type condition struct {
	Condition
	match *regexp.Regexp
}

func compile(c Change) (change, error) {
	out := change{Change: c}
	if c.Header != "" {
		out.name = sipmsg.Canonical(c.Header)
	}
	var err error
	if c.Match != "" {
		if out.match, err = regexp.Compile(c.Match); err != nil {
			return out, err
		}
	}
	for _, w := range c.When {
		re, err := regexp.Compile(w.Match)
		if err != nil {
			return out, err
		}
		out.when = append(out.when, condition{w, re})
	}
	return out, nil
}

func (c *condition) holds(v *view) bool {
	text := ""
	if c.Number != "" {
		text = v.number(c.Number)
	} else {
		text, _ = sipmsg.Header(v.req, c.Header)
	}
	return c.match.MatchString(text) != c.Not
}

func (c *change) run(v *view) {
	for i := range c.when {
		if !c.when[i].holds(v) {
			return
		}
	}
	if c.Number != "" {
		v.eachNumber(c.Number, c.rewrite)
		return
	}
	values := sipmsg.Headers(v.req, c.name)
	switch {
	case c.Drop && c.match == nil:
		values = nil
	case c.Drop:
		values = c.unmatched(values)
	case c.Set != "":
		values = []string{c.Set}
	case c.Add != "":
		values = append(values[:min(len(values), maxIdentities)], c.Add)
	default:
		if !c.rewriteAll(values) {
			return
		}
	}
	v.set(c.name, values)
	if !c.Drop {
		v.crossing = append(v.crossing, c.name)
	}
}

// rewrite replaces what matches. What would grow out of all bounds is what it was.
func (c *change) rewrite(old string) string {
	out := c.match.ReplaceAllString(old, c.Replace)
	if len(out) > maxValue {
		return old
	}
	return out
}

// rewriteAll does so with each value, and reports whether any of them matches.
func (c *change) rewriteAll(values []string) (any bool) {
	for i, old := range values {
		if c.match.MatchString(old) {
			values[i], any = c.rewrite(old), true
		}
	}
	return any
}

func (c *change) unmatched(values []string) []string {
	var out []string
	for _, value := range values {
		if !c.match.MatchString(value) {
			out = append(out, value)
		}
	}
	return out
}
