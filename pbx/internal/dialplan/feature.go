package dialplan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"brickhouse/shared/conffile"
)

// Code is what a feature code does.
type Code string

// The feature codes. Those that end in a number of the caller's choice are marked so.
const (
	ForwardAlways      Code = "forward-always" // + number
	ForwardAlwaysOff   Code = "forward-always-off"
	ForwardBusy        Code = "forward-busy" // + number
	ForwardBusyOff     Code = "forward-busy-off"
	ForwardNoAnswer    Code = "forward-no-answer" // + number
	ForwardNoAnswerOff Code = "forward-no-answer-off"
	ForwardAway        Code = "forward-unreachable" // + number
	ForwardAwayOff     Code = "forward-unreachable-off"
	DNDOn              Code = "dnd-on"
	DNDOff             Code = "dnd-off"
	WaitingOn          Code = "waiting-on"
	WaitingOff         Code = "waiting-off"
	NightOn            Code = "night-on"
	NightOff           Code = "night-off"
	NightAuto          Code = "night-auto"
	OwnMailbox         Code = "mailbox"       // the caller's own
	AnyMailbox         Code = "any-mailbox"   // that the caller names
	LeaveMessage       Code = "leave-message" // + extension
	PickUp             Code = "pickup"
	PickUpExtension    Code = "pickup-extension" // + extension
	Park               Code = "park"
	AgentIn            Code = "agent-in"
	AgentOut           Code = "agent-out"
	AgentPause         Code = "agent-pause"
	ParkSlot           Code = "park-slot" // + slot
)

// off stands for a feature that has no code.
const off = "off"

// Features are the codes by which phones set services, and what services do unless an extension says otherwise.
type Features struct {
	ForwardAlways         string `yaml:"forward_always" doc:"Code before a number: all calls of the extension that dials it are forwarded there. off: there is none; so it is with each code."`
	ForwardAlwaysOff      string `yaml:"forward_always_off" doc:"Code that ends it."`
	ForwardBusy           string `yaml:"forward_busy" doc:"Code before a number that calls are forwarded to while the extension is busy."`
	ForwardBusyOff        string `yaml:"forward_busy_off" doc:"Code that ends it."`
	ForwardNoAnswer       string `yaml:"forward_no_answer" doc:"Code before a number that calls are forwarded to when nobody answers."`
	ForwardNoAnswerOff    string `yaml:"forward_no_answer_off" doc:"Code that ends it."`
	ForwardUnreachable    string `yaml:"forward_unreachable" doc:"Code before a number that calls are forwarded to while no phone of the extension can be reached."`
	ForwardUnreachableOff string `yaml:"forward_unreachable_off" doc:"Code that ends it."`
	DND                   string `yaml:"dnd" doc:"Code for do not disturb: callers hear busy, and a forward for busy holds."`
	DNDOff                string `yaml:"dnd_off" doc:"Code that ends it."`
	WaitingOff            string `yaml:"waiting_off" doc:"Code that makes the extension busy while it is in a call."`
	WaitingOn             string `yaml:"waiting_on" doc:"Code that lets a second call ring; so it is unless said otherwise."`
	NightOn               string `yaml:"night_on" doc:"Code that closes the office by hand: no rule with when fits."`
	NightOff              string `yaml:"night_off" doc:"Code that opens it by hand: each rule with when fits at any time."`
	NightAuto             string `yaml:"night_auto" doc:"Code that leaves it to the clock again."`

	Mailbox      string `yaml:"mailbox" doc:"Code by which an extension hears its messages. Asks for the PIN, if it has one."`
	AnyMailbox   string `yaml:"any_mailbox" doc:"Code by which any mailbox is heard: asks for its number and its PIN."`
	LeaveMessage string `yaml:"leave_message" doc:"Code before an extension: leaves a message in its mailbox, and calls may be forwarded there."`

	PickUp          string        `yaml:"pickup" doc:"Code that answers the call that rings longest at another extension of the caller's pickup groups."`
	PickUpExtension string        `yaml:"pickup_extension" doc:"Code before an extension: answers the call that rings there."`
	Park            string        `yaml:"park" doc:"Code that a call is transferred to, to park it: blindly, or after having heard the slot. With the slot behind it, it parks there, or fetches who waits there; phones can watch it as a busy lamp."`
	ParkSlots       int           `yaml:"park_slots" doc:"How many calls may be parked, 1 to 99."`
	ParkTime        time.Duration `yaml:"park_time" doc:"A parked call that nobody has fetched for so long rings at the extension that parked it."`

	AgentIn    string `yaml:"agent_in" doc:"Code that logs an agent in at the queues that name it, and ends its pause."`
	AgentOut   string `yaml:"agent_out" doc:"Code that logs an agent out."`
	AgentPause string `yaml:"agent_pause" doc:"Code that pauses an agent: it stays in, and gets no call until agent_in."`

	NightBy  []string      `yaml:"night_by" doc:"Extensions that may dial these three. Empty: none; pbx dialplan night does the same."`
	NoAnswer time.Duration `yaml:"no_answer" doc:"How long an extension with a forward for no answer rings, unless it says otherwise."`
}

// NewFeatures are the codes that hold where the file says nothing.
func NewFeatures() Features {
	return Features{
		ForwardAlways: "*72", ForwardAlwaysOff: "*73", ForwardBusy: "*90", ForwardBusyOff: "*91", ForwardNoAnswer: "*92", ForwardNoAnswerOff: "*93",
		ForwardUnreachable: "*94", ForwardUnreachableOff: "*95", DND: "*78", DNDOff: "*79", WaitingOn: "*70", WaitingOff: "*71",
		NightOn: "*28", NightOff: "*29", NightAuto: "*27", Mailbox: "*97", AnyMailbox: "*98", LeaveMessage: "*86", NoAnswer: 20 * time.Second,
		PickUp: "*8", PickUpExtension: "**", Park: "*68", ParkSlots: 9, AgentIn: "*50", AgentOut: "*51", AgentPause: "*52", ParkTime: 2 * time.Minute,
	}
}

// SetDefaults sets what the codes are unless the file says otherwise.
func (f *Features) SetDefaults() { *f = NewFeatures() }

// Longest ringing before a forward for no answer.
const maxRing = 10 * time.Minute

// Bounds of how long a parked call waits before it comes back.
const (
	minParkTime = time.Second
	maxParkTime = time.Hour
)

// Slots are the numbers of the slots where calls are parked: the code, and from 1 on. Empty: nothing can be parked.
func (f *Features) Slots() []string {
	if f.Park == off {
		return nil
	}
	var out []string
	for i := range f.ParkSlots {
		out = append(out, f.Park+strconv.Itoa(i+1))
	}
	return out
}

// Validate says what is wrong with the codes.
func (f *Features) Validate() []conffile.Fault {
	var fs []conffile.Fault
	taken := map[string]string{}
	for _, c := range f.codes() {
		if c.text == off {
			continue
		}
		if len(c.text) < 2 || len(c.text) > 8 || !numberOnly(c.text) {
			fs = append(fs, conffile.Bad(c.key, fmt.Sprintf("%q is no feature code", c.text), "write it as *72, or off"))
		}
		if other := taken[c.text]; other != "" && other != c.key {
			fs = append(fs, conffile.Bad(c.key, fmt.Sprintf("%s is the code of %s, too", c.text, other), "give each its own"))
		}
		taken[c.text] = c.key
	}
	if f.ParkSlots < 1 || f.ParkSlots > 99 {
		fs = append(fs, conffile.Bad("park_slots", "is out of range", "give 1 to 99"))
	}
	if f.ParkTime < minParkTime || f.ParkTime > maxParkTime {
		fs = append(fs, conffile.Bad("park_time", "is out of range", "give 1s to 1h"))
	}
	if f.NoAnswer < time.Second || f.NoAnswer > maxRing {
		fs = append(fs, conffile.Bad("no_answer", "is out of range", "give 1s to 10m"))
	}
	return fs
}

type featureCode struct {
	key    string
	text   string
	code   Code
	number bool // a number follows
}

func (f *Features) codes() []featureCode {
	return []featureCode{
		{"forward_always", f.ForwardAlways, ForwardAlways, true}, {"forward_always_off", f.ForwardAlwaysOff, ForwardAlwaysOff, false},
		{"forward_busy", f.ForwardBusy, ForwardBusy, true}, {"forward_busy_off", f.ForwardBusyOff, ForwardBusyOff, false},
		{"forward_no_answer", f.ForwardNoAnswer, ForwardNoAnswer, true}, {"forward_no_answer_off", f.ForwardNoAnswerOff, ForwardNoAnswerOff, false},
		{"forward_unreachable", f.ForwardUnreachable, ForwardAway, true}, {"forward_unreachable_off", f.ForwardUnreachableOff, ForwardAwayOff, false},
		{"dnd", f.DND, DNDOn, false}, {"dnd_off", f.DNDOff, DNDOff, false},
		{"waiting_on", f.WaitingOn, WaitingOn, false}, {"waiting_off", f.WaitingOff, WaitingOff, false},
		{"night_on", f.NightOn, NightOn, false}, {"night_off", f.NightOff, NightOff, false}, {"night_auto", f.NightAuto, NightAuto, false},
		{"mailbox", f.Mailbox, OwnMailbox, false}, {"any_mailbox", f.AnyMailbox, AnyMailbox, false}, {"leave_message", f.LeaveMessage, LeaveMessage, true},
		{"pickup", f.PickUp, PickUp, false}, {"pickup_extension", f.PickUpExtension, PickUpExtension, true},
		{"agent_in", f.AgentIn, AgentIn, false}, {"agent_out", f.AgentOut, AgentOut, false}, {"agent_pause", f.AgentPause, AgentPause, false},
		{"park", f.Park, Park, false}, {"park", f.Park, ParkSlot, true},
	}
}

// compileFeatures takes over the codes.
func (p *Plan) compileFeatures(f *Features) error {
	if f == nil {
		d := NewFeatures()
		f = &d
	}
	if fs := f.Validate(); len(fs) > 0 {
		return fmt.Errorf("features.%s: %s", fs[0].Key, fs[0].Problem)
	}
	p.features = *f
	for _, c := range f.codes() {
		if c.text != off {
			p.codes = append(p.codes, c)
		}
	}
	return nil
}

// feature returns what a feature code does: the one that is the whole number, or else the longest that begins it.
func (p *Plan) feature(number string) (Action, bool) {
	var best featureCode
	for _, c := range p.codes {
		switch {
		case !c.number && c.text == number:
			return Action{Kind: Feature, Code: c.code}, true
		case c.number && len(number) > len(c.text) && strings.HasPrefix(number, c.text) && len(c.text) > len(best.text):
			best = c
		}
	}
	if best.text == "" {
		return Action{}, false
	}
	return Action{Kind: Feature, Code: best.code, Number: number[len(best.text):]}, true
}

// Features are what services do unless an extension says otherwise.
func (p *Plan) Features() Features { return p.features }
