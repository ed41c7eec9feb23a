// Package dialplan turns a number into an action. It is compiled once and pure: number and origin in, action out.
//
// A dialplan is a list of rules; the first one that fits decides. A rule's number is a pattern, written as telephone
// people write them:
//
//	1 a * # +   digits, small letters and * # + - _ stand for themselves
//	X           any digit 0–9
//	Z           any digit 1–9
//	N           any digit 2–9
//	[13-5]      any of these digits
//	.           one or more of anything, only at the end
//	!           anything or nothing, only at the end
//
// It also knows who may call what through a trunk: the number is understood as the carrier will (number.go), and a class
// of service has countries, kinds of numbers and caps (right.go). Emergency numbers are above all of it (emergency.go).
// It decides, and counts nothing; counting is the store's.
package dialplan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"brickhouse/shared/conffile"
)

// Kind is what an action does.
type Kind string

// The kinds of actions.
const (
	Extension Kind = "extension" // call the extension's phones
	Trunk     Kind = "trunk"     // call the number through a trunk
	Echo      Kind = "echo"      // echo test
	Milliwatt Kind = "milliwatt" // 1004 Hz test tone
	Refuse    Kind = "refuse"    // 403
	Ring      Kind = "group"     // ring the extensions of a group
	Feature   Kind = "feature"   // a feature code: the caller sets a service
	Voicemail Kind = "voicemail" // leave a message in the extension's mailbox
	Mailbox   Kind = "mailbox"   // hear the messages of a mailbox: asks which, and for its PIN
	ToMenu    Kind = "menu"      // a menu of choices
	ToQueue   Kind = "queue"     // wait for an agent
	ToRoom    Kind = "room"      // meet in a conference room
)

// From says who a rule is for.
const (
	FromPhones = "phones" // extensions, inside and remote
	FromTrunks = "trunks" // any trunk
)

// File is a dialplan file.
type File struct {
	Home      Home             `yaml:"home" doc:"Where the exchange is; it decides how numbers are understood that leave through a trunk."`
	Emergency Emergency        `yaml:"emergency" doc:"Numbers that pass every cap, right, block and limit."`
	Classes   map[string]Class `yaml:"classes" doc:"Classes of service, by name: what extensions may call through trunks, and how much. An extension without one has the class default."`
	Total     *Caps            `yaml:"total" doc:"Caps of all external calls together. What is left out is not capped."`
	Trunks    map[string]Caps  `yaml:"trunks" doc:"Caps of trunks, by name. What is left out is not capped."`

	Groups   map[string]Group    `yaml:"groups" doc:"Ring groups, by name."`
	Menus    map[string]Menu     `yaml:"menus" doc:"Menus, by name: callers choose by keys where they go."`
	Queues   map[string]Queue    `yaml:"queues" doc:"Queues, by name: callers wait until an agent is free."`
	Rooms    map[string]Room     `yaml:"rooms" doc:"Conference rooms, by name."`
	Pickup   map[string][]string `yaml:"pickup" doc:"Pickup groups, by name: extensions that may answer each other's calls. None: all may."`
	Features *Features           `yaml:"features" doc:"Codes by which phones set forwards and the like. They come before the rules."`

	Rules []Rule `yaml:"rules" doc:"The first rule that fits a number decides."`
}

// Describe is a file as it is where nothing is said, for conffile.Describe.
func Describe() *File {
	total := Caps{}
	total.SetDefaults()
	codes := NewFeatures()
	var group Group
	group.SetDefaults()
	var menu Menu
	menu.SetDefaults()
	var queue Queue
	queue.SetDefaults()
	var room Room
	room.SetDefaults()
	return &File{Rooms: map[string]Room{"NAME": room}, Queues: map[string]Queue{"NAME": queue}, Groups: map[string]Group{"NAME": group}, Menus: map[string]Menu{"NAME": menu}, Features: &codes, Classes: map[string]Class{DefaultClass: NewClass()}, Total: &total, Emergency: Emergency{Numbers: defaultEmergency()}}
}

// Rule says what becomes of the numbers that fit it.
type Rule struct {
	Number    string `yaml:"number" doc:"Pattern of the number: digits, small letters and * # + - _ as they are, X 0-9, Z 1-9, N 2-9, [13-5] any of these, a last . one or more of anything, a last ! anything or nothing."`
	From      string `yaml:"from" doc:"Who the rule is for: phones, trunks, or the name of one trunk."`
	Do        string `yaml:"do" oneof:"extension|trunk|group|menu|queue|room|voicemail|mailbox|echo|milliwatt|refuse" doc:"What to do: call an extension, call through a trunk, ring a group, let the caller choose in a menu, wait for an agent of a queue, meet others in a room, leave a message in an extension's mailbox, hear the messages of a mailbox (asks for its number and PIN), echo test, test tone, or refuse."`
	Extension string `yaml:"extension" doc:"Extension to call (do: extension), or to leave a message for (do: voicemail). Empty: the number itself, after strip and prepend."`
	Group     string `yaml:"group" doc:"Name of the group to ring (do: group)."`
	Menu      string `yaml:"menu" doc:"Name of the menu (do: menu)."`
	Queue     string `yaml:"queue" doc:"Name of the queue (do: queue)."`
	Room      string `yaml:"room" doc:"Name of the conference room (do: room)."`
	Trunk     string `yaml:"trunk" doc:"Trunk to call through (do: trunk)."`
	Strip     int    `yaml:"strip" doc:"How many leading characters of the number to take away."`
	Prepend   string `yaml:"prepend" doc:"What to put before the rest."`
	When      *When  `yaml:"when" doc:"When the rule holds; at other times the next one that fits decides. Left out: always."`
	Bare      string `yaml:"bare" oneof:"|national|international" doc:"What the trunk takes a number for that has no prefix. Empty: as home says."`
}

// SetDefaults sets what a rule is unless the file says otherwise.
func (r *Rule) SetDefaults() { r.From, r.Do = FromPhones, string(Extension) }

// Validate says what is wrong with a rule.
func (r *Rule) Validate() []conffile.Fault {
	var fs []conffile.Fault
	if _, err := parsePattern(r.Number); err != nil {
		fs = append(fs, conffile.Bad("number", err.Error(), "write it as 1XX, 0. or *43"))
	}
	if r.From == "" {
		fs = append(fs, conffile.Bad("from", "is empty", "write phones, trunks or a trunk's name"))
	}
	if Kind(r.Do) == Trunk && r.Trunk == "" {
		fs = append(fs, conffile.Bad("trunk", "is missing", "name the trunk to call through"))
	}
	if key, name := r.place(); key != "" && name == "" {
		fs = append(fs, conffile.Bad(key, "is missing", "name the "+key))
	}
	if Kind(r.Do) == Trunk && r.From != FromPhones {
		fs = append(fs, conffile.Bad("do", "a call from a trunk may not leave through a trunk", "use do: extension"))
	}
	if r.Strip < 0 || r.Strip > maxNumber {
		fs = append(fs, conffile.Bad("strip", "is out of range", "give 0 to 64"))
	}
	if !numberOnly(r.Prepend) {
		fs = append(fs, conffile.Bad("prepend", "has characters that no number has", "use digits, *, # and +"))
	}
	return fs
}

// Action is what becomes of a call.
type Action struct {
	Kind   Kind
	Number string // extension to call, or number to send to the trunk
	Trunk  string // trunk to call through

	Place string // name of the group, menu, queue or room; Number is its number
	Code  Code   // what a feature code does, with Number

	Emergency bool // it leads to emergency services

	bare string // how the trunk reads a number without a prefix; empty: as home says
}

// Plan is a compiled dialplan. It never changes; a reload makes a new one.
type Plan struct {
	rules []rule

	features Features
	codes    []featureCode

	pickup [][]string
	groups map[string]Group
	menus  map[string]Menu
	queues map[string]Queue
	rooms  map[string]Room
	places map[string]Action // by number

	reader          reader
	classes         map[string]Class
	total           Caps
	trunks          map[string]Caps
	emergency       map[string]bool
	emergencyTrunks []string
}

type rule struct {
	Rule
	pattern pattern
	hours   *hours // nil: always
}

// maxNumber bounds a dialled number, in bytes.
const maxNumber = 64

// ErrPattern is the fault of a pattern that means nothing.
var ErrPattern = errors.New("is no number pattern")

// Compile makes a plan of a file.
func Compile(f File) (*Plan, error) {
	p := &Plan{places: map[string]Action{}}
	if err := p.compileRights(f); err != nil {
		return nil, err
	}
	if err := p.compileFeatures(f.Features); err != nil {
		return nil, err
	}
	if err := p.compileGroups(f.Groups); err != nil {
		return nil, err
	}
	if err := p.compileMenus(f.Menus); err != nil {
		return nil, err
	}
	if err := p.compileQueues(f.Queues); err != nil {
		return nil, err
	}
	if err := p.compileRooms(f.Rooms); err != nil {
		return nil, err
	}
	p.pickup = slices.Collect(maps.Values(f.Pickup))
	for i, r := range f.Rules {
		if key, name := r.place(); key != "" && p.numberOf(Kind(r.Do), name) == "" {
			return nil, fmt.Errorf("rules[%d].%s: there is no %s %q", i, key, key, name)
		}
		pat, err := parsePattern(r.Number)
		if err != nil {
			return nil, fmt.Errorf("rules[%d].number: %w", i, err)
		}
		compiled := rule{Rule: r, pattern: pat}
		if r.When != nil {
			h, fault := r.When.compile()
			if fault != nil {
				return nil, fmt.Errorf("rules[%d].when.%s: %s; %s", i, fault.key, fault.problem, fault.remedy)
			}
			compiled.hours = h
		}
		p.rules = append(p.rules, compiled)
	}
	return p, p.checkPlaces()
}

// Trunks returns the names of the trunks that the plan calls through, takes calls from, or caps.
func (p *Plan) Trunks() []string {
	out := slices.Concat(p.emergencyTrunks, slices.Sorted(maps.Keys(p.trunks)))
	for _, r := range p.rules {
		if r.Trunk != "" {
			out = append(out, r.Trunk)
		}
		if r.From != FromPhones && r.From != FromTrunks {
			out = append(out, r.From)
		}
	}
	return out
}

// Lookup returns what becomes of a call to number. trunk names the trunk it came from; empty means a phone.
func (p *Plan) Lookup(trunk, number string, at Moment) (Action, bool) {
	if len(number) > maxNumber {
		return Action{}, false
	}
	if trunk == "" && p.emergency[number] && len(p.emergencyTrunks) > 0 {
		return Action{Kind: Trunk, Number: number, Trunk: p.emergencyTrunks[0], Emergency: true}, true
	}
	if trunk == "" {
		if a, ok := p.feature(number); ok {
			return a, true
		}
		if a, ok := p.places[number]; ok {
			return a, true
		}
	}
	for _, r := range p.rules {
		if r.applies(trunk) && r.pattern.matches(number) && r.hours.hold(at) {
			a := p.markEmergency(r.action(number), number)
			if key, name := r.place(); key != "" {
				a.Place, a.Number = name, p.numberOf(a.Kind, name)
			}
			return a, true
		}
	}
	return Action{}, false
}

func (r *rule) applies(trunk string) bool {
	switch r.From {
	case FromPhones:
		return trunk == ""
	case FromTrunks:
		return trunk != ""
	}
	return trunk == r.From
}

func (r *rule) action(number string) Action {
	a := Action{Kind: Kind(r.Do), Trunk: r.Trunk, bare: r.Bare}
	if r.Extension != "" {
		a.Number = r.Extension
		return a
	}
	a.Number = r.Prepend + number[min(r.Strip, len(number)):]
	return a
}

func numberOnly(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || strings.ContainsRune("*#+", r)) }) < 0
}
