package dialplan

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zones must not take the office's hours for another's

	"brickhouse/shared/conffile"
)

// When is the time that a rule holds in.
type When struct {
	Days     []string `yaml:"days" doc:"Days of the week: mon, tue, wed, thu, fri, sat, sun, or a range as mon-fri. Empty: all."`
	Hours    []string `yaml:"hours" doc:"Times of the day as 08:00-17:30; the end is no part of it, and one before the beginning is on the next day. Empty: all day."`
	Holidays []string `yaml:"holidays" doc:"Dates that are none of these days: 2026-12-24, or 12-25 in every year."`
	Zone     string   `yaml:"zone" doc:"Time zone of them, as Europe/Berlin. Empty: that of the machine."`
	Fixed    bool     `yaml:"fixed" doc:"The switch of night and day leaves this rule alone: the clock alone decides."`
}

// Moment is when a call comes, and how the office is switched.
type Moment struct {
	Time  time.Time
	Night Night
}

// Night is how the office is switched by hand.
type Night string

// The positions of the switch.
const (
	Auto   Night = "auto" // the clock decides
	Closed Night = "on"   // rules with when don't fit
	Open   Night = "off"  // they fit
)

// hours is a compiled When.
type hours struct {
	days     [7]bool
	spans    []span // of a day; empty: all of it
	holidays map[string]bool
	zone     *time.Location
	fixed    bool
}

// span is from the one minute of the day to before the other.
type span struct{ from, to int }

// Bounds of one rule's lists.
const maxWhen = 400

// Validate says what is wrong with a time.
func (w *When) Validate() []conffile.Fault {
	if _, err := w.compile(); err != nil {
		return []conffile.Fault{conffile.Bad(err.key, err.problem, err.remedy)}
	}
	return nil
}

// whenFault is what is wrong with a time.
type whenFault struct{ key, problem, remedy string }

func (w *When) compile() (*hours, *whenFault) {
	h := &hours{holidays: map[string]bool{}, zone: time.Local, fixed: w.Fixed}
	if len(w.Days)+len(w.Hours)+len(w.Holidays) > maxWhen {
		return nil, &whenFault{"holidays", "has too many entries", "give 400 in all at most"}
	}
	if w.Zone != "" {
		zone, err := time.LoadLocation(w.Zone)
		if err != nil {
			return nil, &whenFault{"zone", fmt.Sprintf("%q is no time zone", w.Zone), "write it as Europe/Berlin"}
		}
		h.zone = zone
	}
	for i, d := range w.Days {
		if !h.addDays(strings.ToLower(d)) {
			return nil, &whenFault{fmt.Sprintf("days[%d]", i), fmt.Sprintf("%q is no day", d), "write it as mon or mon-fri"}
		}
	}
	if len(w.Days) == 0 {
		h.addDays("mon-sun")
	}
	for i, text := range w.Hours {
		s, ok := parseSpan(text)
		if !ok {
			return nil, &whenFault{fmt.Sprintf("hours[%d]", i), fmt.Sprintf("%q is no time of the day", text), "write it as 08:00-17:30"}
		}
		h.spans = append(h.spans, s)
	}
	for i, d := range w.Holidays {
		_, full := time.Parse(time.DateOnly, d)
		_, yearly := time.Parse("2006-01-02", "2024-"+d)
		if full != nil && yearly != nil {
			return nil, &whenFault{fmt.Sprintf("holidays[%d]", i), fmt.Sprintf("%q is no date", d), "write it as 2026-12-24, or 12-25"}
		}
		h.holidays[d] = true
	}
	return h, nil
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // as time.Weekday

func (h *hours) addDays(text string) bool {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, to := slices.Index(dayNames, first), slices.Index(dayNames, last)
	if from < 0 || to < 0 {
		return false
	}
	for d := from; ; d = (d + 1) % len(dayNames) {
		h.days[d] = true
		if d == to {
			return true
		}
	}
}

func parseSpan(text string) (span, bool) {
	first, last, ok := strings.Cut(text, "-")
	from, ok1 := minuteOf(first)
	to, ok2 := minuteOf(last)
	return span{from, to}, ok && ok1 && ok2 && from != to
}

// minuteOf reads 00:00 to 24:00.
func minuteOf(text string) (int, bool) {
	if text == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil
}

// hold reports whether a rule with these hours fits now. nil: it has none.
func (h *hours) hold(at Moment) bool {
	if h == nil {
		return true
	}
	if !h.fixed && at.Night == Closed || !h.fixed && at.Night == Open {
		return at.Night == Open
	}
	t := at.Time.In(h.zone)
	minute := t.Hour()*60 + t.Minute()
	if len(h.spans) == 0 {
		return h.day(t)
	}
	for _, s := range h.spans {
		switch {
		case s.from < s.to && minute >= s.from && minute < s.to, s.from > s.to && minute >= s.from:
			if h.day(t) {
				return true
			}
		case s.from > s.to && minute < s.to: // it began yesterday
			if h.day(t.AddDate(0, 0, -1)) {
				return true
			}
		}
	}
	return false
}

// day reports whether a day is among the days, and no holiday.
func (h *hours) day(t time.Time) bool {
	return h.days[t.Weekday()] && !h.holidays[t.Format(time.DateOnly)] && !h.holidays[t.Format("01-02")]
}
