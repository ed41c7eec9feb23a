package dialplan

import (
	"strings"
	"testing"
	"time"
)

func TestWhen(t *testing.T) {
	office := When{Days: []string{"mon-thu", "fri"}, Hours: []string{"08:00-12:00", "13:00-17:30"}, Holidays: []string{"2026-12-24", "12-25"}, Zone: "Europe/Berlin"}
	guard := When{Days: []string{"sat"}, Hours: []string{"22:00-06:00"}, Zone: "Europe/Berlin"}
	weekend := When{Days: []string{"sat-mon"}, Zone: "UTC"}
	fixed := When{Hours: []string{"00:00-24:00"}, Fixed: true}
	for _, c := range []struct {
		name string
		when When
		at   string
		sw   Night
		want bool
	}{
		{"in the morning", office, "2026-11-26T07:00:00Z", Auto, true}, // 08:00 in Berlin
		{"a minute before", office, "2026-11-26T06:59:59Z", Auto, false},
		{"at lunch", office, "2026-11-26T11:00:00Z", Auto, false},
		{"after it", office, "2026-11-26T12:00:00Z", "", true},
		{"at the end", office, "2026-11-26T16:30:00Z", Auto, false},
		{"in summer an hour earlier", office, "2026-07-02T06:00:00Z", Auto, true},
		{"on friday", office, "2026-11-27T09:00:00Z", Auto, true},
		{"on saturday", office, "2026-11-28T09:00:00Z", Auto, false},
		{"on a holiday", office, "2026-12-24T09:00:00Z", Auto, false},
		{"on that day of another year", office, "2027-12-24T09:00:00Z", Auto, true},
		{"on a yearly holiday", office, "2028-12-25T09:00:00Z", Auto, false},
		{"over midnight, before it", guard, "2026-11-28T22:00:00Z", Auto, true},
		{"over midnight, after it", guard, "2026-11-29T04:59:00Z", Auto, true},
		{"over midnight, at its end", guard, "2026-11-29T05:00:00Z", Auto, false},
		{"the night before it", guard, "2026-11-28T04:00:00Z", Auto, false},
		{"from saturday to monday", weekend, "2026-11-30T23:59:00Z", Auto, true},
		{"on tuesday", weekend, "2026-12-01T00:00:00Z", Auto, false},
		{"closed by hand", office, "2026-11-26T07:00:00Z", Closed, false},
		{"opened by hand", office, "2026-12-24T03:00:00Z", Open, true},
		{"the clock alone", fixed, "2026-11-26T07:00:00Z", Closed, true},
		{"never said", When{}, "2026-11-28T04:00:00Z", Auto, true},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		h, fault := c.when.compile()
		if fault != nil {
			t.Fatalf("%s: %+v", c.name, fault)
		}
		if got := h.hold(Moment{at, c.sw}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestWhenFaults(t *testing.T) {
	for _, c := range []struct {
		when When
		key  string
	}{
		{When{Days: []string{"mon", "someday"}}, "days[1]"},
		{When{Days: []string{"mon-"}}, "days[0]"},
		{When{Hours: []string{"8-17"}}, "hours[0]"},
		{When{Hours: []string{"08:00-25:00"}}, "hours[0]"},
		{When{Hours: []string{"08:00-08:00"}}, "hours[0]"},
		{When{Holidays: []string{"2026-02-30"}}, "holidays[0]"},
		{When{Holidays: []string{"24.12."}}, "holidays[0]"},
		{When{Zone: "Middle/Earth"}, "zone"},
		{When{Zone: "../../etc/passwd"}, "zone"},
		{When{Holidays: make([]string, maxWhen+1)}, "holidays"},
	} {
		fs := c.when.Validate()
		if len(fs) != 1 || fs[0].Key != c.key || fs[0].Remedy == "" {
			t.Errorf("%+v: %+v", c.when, fs)
		}
	}
}

// With a rule's time over, the next one that fits decides.
func TestRuleWithWhen(t *testing.T) {
	p, err := Compile(File{Rules: []Rule{
		{Number: "1500", Do: "extension", Extension: "1001", When: &When{Hours: []string{"08:00-16:00"}, Zone: "UTC"}},
		{Number: "1500", Do: "extension", Extension: "1002"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for hour, want := range map[int]string{7: "1002", 8: "1001", 15: "1001", 16: "1002"} {
		if a, _ := p.Lookup("", "1500", Moment{Time: time.Date(2026, 11, 26, hour, 0, 0, 0, time.UTC)}); a.Number != want {
			t.Errorf("at %d it rings %s", hour, a.Number)
		}
	}
}

func TestFeatureCodes(t *testing.T) {
	f := NewFeatures()
	f.ForwardBusy, f.NightOn, f.DND = "*721", off, "*7"
	p, err := Compile(File{Features: &f, Rules: []Rule{{Number: "*!", Do: "echo"}}})
	if err != nil {
		t.Fatal(err)
	}
	for dialled, want := range map[string]Action{
		"*721002": {Kind: Feature, Code: ForwardBusy, Number: "002"}, // the longest
		"*722":    {Kind: Feature, Code: ForwardAlways, Number: "2"},
		"*72":     {Kind: Echo, Number: "*72"}, // without a number it is none
		"*73":     {Kind: Feature, Code: ForwardAlwaysOff},
		"*731":    {Kind: Echo, Number: "*731"},
		"*7":      {Kind: Feature, Code: DNDOn},
		"*28":     {Kind: Echo, Number: "*28"}, // off
		"*8":      {Kind: Feature, Code: PickUp},
		"**1001":  {Kind: Feature, Code: PickUpExtension, Number: "1001"},
		"*68":     {Kind: Feature, Code: Park},
		"*6812":   {Kind: Feature, Code: ParkSlot, Number: "12"},
	} {
		if a, _ := p.Lookup("", dialled, Moment{}); a.Kind != want.Kind || a.Code != want.Code || want.Kind == Feature && a.Number != want.Number {
			t.Errorf("%s: %+v", dialled, a)
		}
	}
	if a, _ := p.Lookup("carrier", "*73", Moment{}); a.Kind == Feature {
		t.Error("a carrier's number is a feature code")
	}
	for _, change := range []func(*Features){
		func(f *Features) { f.DND = "*" },
		func(f *Features) { f.DND = "*x1" },
		func(f *Features) { f.DND = f.DNDOff },
		func(f *Features) { f.NoAnswer = time.Hour },
		func(f *Features) { f.Park = f.DND },
		func(f *Features) { f.ParkSlots = 100 },
		func(f *Features) { f.ParkTime = 0 },
	} {
		f := NewFeatures()
		change(&f)
		if _, err := Compile(File{Features: &f}); err == nil || !strings.HasPrefix(err.Error(), "features.") {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestSlots(t *testing.T) {
	f := NewFeatures()
	f.ParkSlots = 11
	if got := f.Slots(); len(got) != 11 || got[0] != "*681" || got[10] != "*6811" {
		t.Errorf("slots %v", got)
	}
	if f.Park = off; f.Slots() != nil {
		t.Error("there are slots without a code")
	}
}

func TestPicksUp(t *testing.T) {
	all, err := Compile(File{})
	if err != nil {
		t.Fatal(err)
	}
	some, err := Compile(File{Pickup: map[string][]string{"sales": {"1", "2"}, "all": {"2", "3"}}})
	if err != nil {
		t.Fatal(err)
	}
	for pair, want := range map[string]bool{"12": true, "23": true, "13": false, "14": false, "44": false} {
		if who, of := pair[:1], pair[1:]; some.PicksUp(who, of) != want || !all.PicksUp(who, of) {
			t.Errorf("%s picks up the calls of %s: %v", who, of, !want)
		}
	}
}

func TestGroups(t *testing.T) {
	group := func(change func(*Group)) Group {
		g := Group{Number: "1500", Members: []string{"1001", "1002"}}
		g.SetDefaults()
		if change != nil {
			change(&g)
		}
		return g
	}
	p, err := Compile(File{Groups: map[string]Group{"sales": group(nil)}, Rules: []Rule{{From: "carrier", Number: "49!", Do: "group", Group: "sales"}}})
	if err != nil {
		t.Fatal(err)
	}
	for trunk, dialled := range map[string]string{"": "1500", "carrier": "4930"} {
		if a, ok := p.Lookup(trunk, dialled, Moment{}); !ok || a.Kind != Ring || a.Place != "sales" || a.Number != "1500" {
			t.Errorf("%s: %+v", dialled, a)
		}
	}
	if _, ok := p.Lookup("carrier", "1500", Moment{}); ok {
		t.Error("a carrier reaches a group by its inner number")
	}
	for key, change := range map[string]func(*Group){
		"number": func(g *Group) { g.Number = "" }, "members": func(g *Group) { g.Members = nil }, "members[1]": func(g *Group) { g.Members[1] = "1001" },
		"ring": func(g *Group) { g.Ring = 0 }, "total": func(g *Group) { g.Total = time.Second }, "then": func(g *Group) { g.Then = "1500" },
	} {
		if _, err := Compile(File{Groups: map[string]Group{"sales": group(change)}}); err == nil || !strings.HasPrefix(err.Error(), "groups.sales."+key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := Compile(File{Groups: map[string]Group{"a": group(nil), "b": group(nil)}}); err == nil || !strings.Contains(err.Error(), "number of group") {
		t.Error(err)
	}
	if _, err := Compile(File{Rules: []Rule{{Number: "1", Do: "group", Group: "nobody"}}}); err == nil || !strings.Contains(err.Error(), "no group") {
		t.Error(err)
	}
}

// What a menu, a queue or a room may not be.
func TestPlaces(t *testing.T) {
	menu := func(change func(*Menu)) File {
		m := Menu{Number: "1600", Say: []string{"hello"}, Keys: map[string]string{"1": "1001"}}
		m.SetDefaults()
		change(&m)
		return File{Menus: map[string]Menu{"main": m}, Emergency: Emergency{Numbers: []string{"112"}}, Rules: []Rule{{Number: "1XXX"}, {Number: "112", Do: "echo"}}}
	}
	queue := func(change func(*Queue)) File {
		q := Queue{Number: "1700", Agents: []string{"1001"}}
		q.SetDefaults()
		change(&q)
		return File{Queues: map[string]Queue{"help": q}, Rules: []Rule{{Number: "1XXX"}}}
	}
	room := func(change func(*Room)) File {
		r := Room{Number: "1800"}
		r.SetDefaults()
		change(&r)
		return File{Rooms: map[string]Room{"board": r}}
	}
	for want, f := range map[string]File{
		"":                           menu(func(*Menu) {}),
		"menus.main.number: is":      menu(func(m *Menu) { m.Number = "main" }),
		"menus.main.say":             menu(func(m *Menu) { m.Say = nil }),
		"menus.main.keys: are":       menu(func(m *Menu) { m.Keys = nil }),
		"menus.main.keys: \"x\"":     menu(func(m *Menu) { m.Keys = map[string]string{"x": "1001"} }),
		"menus.main.keys: \"\"":      menu(func(m *Menu) { m.Keys = map[string]string{"1": ""} }),
		"menus.main.names":           menu(func(m *Menu) { m.Names = "1" }),
		"menus.main.wait":            menu(func(m *Menu) { m.Wait = 0 }),
		"menus.main.tries":           menu(func(m *Menu) { m.Tries = 0 }),
		"menus.main.then: is":        menu(func(m *Menu) { m.Then = "1600" }),
		"menus.main.then: no rule":   menu(func(m *Menu) { m.Then = "9" }),
		"menus.main.keys.1: nobody":  menu(func(m *Menu) { m.Keys["1"] = "112" }),
		"queues.help.agents: must":   queue(func(q *Queue) { q.Agents = nil }),
		"queues.help.agents[1]":      queue(func(q *Queue) { q.Agents = []string{"1", "1"} }),
		"queues.help.penalties":      queue(func(q *Queue) { q.Penalties = map[string]int{"1002": 1} }),
		"queues.help.announce":       queue(func(q *Queue) { q.Announce = time.Second }),
		"queues.help.calls":          queue(func(q *Queue) { q.Calls = 0 }),
		"queues.help.max_wait":       queue(func(q *Queue) { q.MaxWait = 0 }),
		"queues.help.then: no rule":  queue(func(q *Queue) { q.Then = "9" }),
		"queues.help.ring":           queue(func(q *Queue) { q.Ring = 0 }),
		"rooms.board.parties":        room(func(r *Room) { r.Parties = 1 }),
		"rooms.board.ends":           room(func(r *Room) { r.Wait, r.Ends = true, true }),
		"rules[0].room: there is no": {Rules: []Rule{{Number: "1", Do: "room", Room: "none"}}},
	} {
		_, err := Compile(f)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %v", want, err)
		}
	}
	f := queue(func(*Queue) {})
	f.Rooms = map[string]Room{"board": {Number: "1700", Parties: 2}}
	if _, err := Compile(f); err == nil || !strings.Contains(err.Error(), "1700 is the number of queue help, too") {
		t.Error(err)
	}
}
