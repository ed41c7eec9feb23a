package dialplan

import (
	"fmt"
	"maps"
	"slices"
)

// A place is what has a number and a name of its own: phones dial the number, before any rule; rules lead calls there by name.

// place is the key that names the place where a rule leads, and the name; empty: it leads to none.
func (r *Rule) place() (key, name string) {
	switch Kind(r.Do) {
	case Ring:
		return r.Do, r.Group
	case ToMenu:
		return r.Do, r.Menu
	case ToQueue:
		return r.Do, r.Queue
	case ToRoom:
		return r.Do, r.Room
	}
	return "", ""
}

// addPlace gives a place its number.
func (p *Plan) addPlace(kind Kind, name, number string) error {
	if other, taken := p.places[number]; taken {
		return fmt.Errorf("%ss.%s.number: %s is the number of %s %s, too", kind, name, number, other.Kind, other.Place)
	}
	p.places[number] = Action{Kind: kind, Number: number, Place: name}
	return nil
}

// numberOf is the number of a place; empty: there is none of that name.
func (p *Plan) numberOf(kind Kind, name string) string {
	switch kind {
	case Ring:
		return p.groups[name].Number
	case ToMenu:
		return p.menus[name].Number
	case ToQueue:
		return p.queues[name].Number
	case ToRoom:
		return p.rooms[name].Number
	}
	return ""
}

// Meets reports whether a number is that of a queue or a room: there may be callers, as at an extension.
func (p *Plan) Meets(number string) bool {
	kind := p.places[number].Kind
	return kind == ToQueue || kind == ToRoom
}

// leads reports whether a phone that dials a number may be led anywhere, at some time.
func (p *Plan) leads(number string) bool {
	if _, ok := p.feature(number); ok {
		return true
	}
	if _, ok := p.places[number]; ok {
		return true
	}
	for _, r := range p.rules {
		if r.applies("") && r.pattern.matches(number) {
			return true
		}
	}
	return false
}

// checkPlaces says which menu or queue leads nowhere.
func (p *Plan) checkPlaces() error {
	for _, name := range slices.Sorted(maps.Keys(p.menus)) {
		m := p.menus[name]
		targets := map[string]string{"then": m.Then}
		for k, to := range m.Keys {
			targets["keys."+k] = to
		}
		if err := p.checkTargets(ToMenu, name, targets); err != nil {
			return err
		}
	}
	for _, name := range p.Queues() {
		if err := p.checkTargets(ToQueue, name, map[string]string{"then": p.queues[name].Then}); err != nil {
			return err
		}
	}
	return nil
}

// Prompts are the names of the prompts that the plan has said.
func (p *Plan) Prompts() []string {
	var out []string
	for _, m := range p.menus {
		out = append(out, m.Say...)
	}
	for _, q := range p.queues {
		out = append(out, q.Say...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkTargets says which number that a place leads to leads nowhere. numbers has them by key.
func (p *Plan) checkTargets(kind Kind, name string, numbers map[string]string) error {
	for key, number := range numbers {
		if p.emergency[number] {
			return fmt.Errorf("%ss.%s.%s: nobody may be led to an emergency number", kind, name, key)
		}
		if number != "" && !p.leads(number) {
			return fmt.Errorf("%ss.%s.%s: no rule fits %s", kind, name, key, number)
		}
	}
	return nil
}
