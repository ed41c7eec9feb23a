package callcontrol

import (
	"context"
	"fmt"
	"time"

	"brickhouse/pbx/internal/dialplan"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/verdict"
)

// Forecast is what would become of a call, and why.
type Forecast struct {
	From      string         `json:"from"`
	Dialled   string         `json:"dialled"`
	Does      dialplan.Kind  `json:"does,omitempty"` // empty: no rule fits
	Number    string         `json:"number,omitempty"`
	Trunk     string         `json:"trunk,omitempty"`
	Emergency bool           `json:"emergency,omitempty"`
	Country   string         `json:"country,omitempty"`
	Kind      string         `json:"kind,omitempty"` // of number
	Class     string         `json:"class,omitempty"`
	Reason    verdict.Reason `json:"reason,omitempty"` // why it would be refused; empty: it would not
	Rule      string         `json:"rule,omitempty"`   // what decides, for a person
	Path      []string       `json:"path,omitempty"`   // how it comes there, and where it goes if nobody answers, for a person
	Group     []string       `json:"group,omitempty"`  // members of a ring group that would ring
}

// Forecast says what would become of a call of an extension's to a number. It changes nothing.
func (c *Control) Forecast(ctx context.Context, from, dialled string) (Forecast, error) {
	plan := c.plan.Load()
	action, ok := plan.Lookup("", dialled, c.moment())
	f := Forecast{From: from, Dialled: dialled, Does: action.Kind, Number: action.Number, Trunk: action.Trunk, Emergency: action.Emergency}
	switch {
	case !ok:
		f.Reason, f.Rule = verdict.UnknownNumber, "no rule of the dialplan fits"
		return f, nil
	case action.Kind == dialplan.Refuse:
		f.Reason, f.Rule = verdict.NotAllowed, "a rule of the dialplan refuses it"
		return f, nil
	case action.Kind == dialplan.Feature:
		f.Rule = "feature code " + string(action.Code)
		return f, nil
	}
	return f, c.foresee(ctx, &f, action, from)
}

// foresee goes the way of a call: causer is whose rights count for what leaves.
func (c *Control) foresee(ctx context.Context, f *Forecast, action dialplan.Action, causer string) error {
	for hops := 0; ; hops++ {
		f.Does, f.Number, f.Trunk = action.Kind, action.Number, action.Trunk
		var next string
		switch action.Kind {
		case dialplan.Extension:
			next = c.forecastExtension(f)
			causer = f.Number
		case dialplan.Ring:
			next, causer = c.forecastGroup(f, action.Place)
		case dialplan.Trunk:
			return c.forecastTrunk(ctx, f, action, causer)
		}
		if next == "" {
			return nil
		}
		f.Reason, f.Rule = verdict.None, ""
		var ok bool
		action, ok = c.plan.Load().Lookup("", next, c.moment())
		switch {
		case hops == maxHops:
			f.Reason, f.Rule = verdict.LoopDetected, "it is forwarded in a circle, or too often"
			return nil
		case !ok || action.Kind == dialplan.Refuse || action.Kind == dialplan.Feature || action.Emergency:
			f.Reason, f.Rule = verdict.UnknownNumber, "nothing may be forwarded to "+next
			return nil
		}
	}
}

func (c *Control) forecastTrunk(ctx context.Context, f *Forecast, action dialplan.Action, causer string) error {
	plan := c.plan.Load()
	finding := c.judge(plan, External{Causer: causer, Action: action})
	f.Country, f.Kind, f.Class = finding.Number.Country, string(finding.Number.Kind), finding.Class
	f.Reason, f.Rule = finding.Reason, finding.Rule
	if f.Emergency || f.Reason != verdict.None {
		return nil
	}
	d, err := c.cfg.Store.Probe(ctx, &store.Toll{Extension: causer, Trunk: action.Trunk, Started: c.cfg.Now()}, limitsOf(plan, f.Class, action.Trunk))
	if d != nil {
		f.Reason, f.Rule = d.Reason, d.Error()
	}
	return err
}

// forecastExtension says what becomes of a call to an extension now; next is where it forwards it.
func (c *Control) forecastExtension(f *Forecast) (next string) {
	number := f.Number
	if _, ok := c.cfg.Store.Extension(number); !ok {
		f.Reason, f.Rule = verdict.UnknownNumber, "no such extension"
		return ""
	}
	s := c.cfg.Store.Services(number)
	if s.Blocks(f.From) {
		f.Reason, f.Rule = verdict.Declined, fmt.Sprintf("extension %s blocks %s", number, f.From)
		return ""
	}
	when, why := store.Always, ""
	switch {
	case s.Forward(store.Always) != "":
		why = "forwards all calls"
	case s.DND:
		when, why = store.Busy, "does not want to be disturbed"
		f.Reason, f.Rule = verdict.Busy, fmt.Sprintf("extension %s %s", number, why)
	case s.NoWaiting && c.parties.busy(number, ""):
		when, why = store.Busy, "is in a call"
		f.Reason, f.Rule = verdict.Busy, fmt.Sprintf("extension %s %s", number, why)
	case len(c.cfg.Store.Bindings(number, c.cfg.Now())) == 0:
		when, why = store.Unreachable, "has no registered phone"
		f.Reason, f.Rule = verdict.NotRegistered, "none of its phones is registered"
	}
	if next = s.Forward(when); why != "" && next != "" {
		f.Path = append(f.Path, fmt.Sprintf("%s %s: to %s", number, why, next))
		return next
	}
	if why != "" && s.Voicemail {
		f.Reason, f.Rule = verdict.None, ""
		f.Path = append(f.Path, fmt.Sprintf("%s %s: its mailbox", number, why))
	}
	if why != "" {
		return ""
	}
	for _, when := range store.Conditions()[1:] {
		if to := s.Forward(when); to != "" {
			f.Path = append(f.Path, fmt.Sprintf("%s rings; %s: to %s", number, when, to))
		} else if s.Voicemail {
			f.Path = append(f.Path, fmt.Sprintf("%s rings; %s: its mailbox", number, when))
		}
	}
	return ""
}

// forecastGroup says who of a group would ring; next is where a call goes where nobody could, and whose rights count there.
func (c *Control) forecastGroup(f *Forecast, name string) (next, causer string) {
	g, _ := c.plan.Load().Group(name)
	for _, m := range g.Members {
		s := c.cfg.Store.Services(m)
		busy := (!g.Waiting || s.NoWaiting) && c.parties.busy(m, "")
		follows := g.Forwards && s.Forward(store.Always) != ""
		if m == f.From || s.DND || busy || s.Blocks(f.From) || !follows && len(c.cfg.Store.Bindings(m, c.cfg.Now())) == 0 {
			continue
		}
		f.Group = append(f.Group, m)
	}
	if len(f.Group) > 0 {
		if g.Then != "" {
			f.Path = append(f.Path, fmt.Sprintf("group %s rings for %s; then: to %s", name, g.Total, g.Then))
		}
		return "", ""
	}
	if g.Then == "" {
		f.Reason, f.Rule = verdict.Busy, fmt.Sprintf("nobody of group %s can be called", name)
		return "", ""
	}
	f.Path = append(f.Path, fmt.Sprintf("nobody of group %s can be called: to %s", name, g.Then))
	return g.Then, g.Rights
}

// Account is what an extension may call through trunks, what it has used, and whether it is blocked.
type Account struct {
	Number  string         `json:"number"`
	Name    string         `json:"name,omitempty"`
	Class   string         `json:"class"`
	Missing bool           `json:"missing,omitempty"` // the dialplan has no such class: it may call nothing through trunks
	Rights  dialplan.Class `json:"rights"`
	Used    store.Usage    `json:"used"`
	Denied  int            `json:"denied"` // calls within the last hour
	Blocked *time.Time     `json:"blocked,omitempty"`
	Why     verdict.Reason `json:"why,omitempty"`

	Services *store.Services `json:"services"` // what it has set for the calls to it
}

// Account returns the account of an extension, or that there is none.
func (c *Control) Account(ctx context.Context, number string) (Account, bool, error) {
	e, ok := c.cfg.Store.Extension(number)
	if !ok {
		return Account{}, false, nil
	}
	now, plan := c.cfg.Now(), c.plan.Load()
	a := Account{Number: e.Number, Name: e.Name, Class: classOf(e), Services: c.cfg.Store.Services(number)}
	rights, ok := plan.Class(a.Class)
	a.Rights, a.Missing = rights, !ok
	used, err := c.cfg.Store.Usage(ctx, store.ExtensionCalls(number), now)
	if err != nil {
		return a, true, fmt.Errorf("counting the calls of extension %s: %w", number, err)
	}
	a.Used = used
	if s, ok := c.cfg.Store.Standing(number); ok {
		for _, at := range s.Denied {
			if now.Sub(at) < time.Hour {
				a.Denied++
			}
		}
		if !s.Blocked.IsZero() {
			a.Blocked, a.Why = &s.Blocked, s.Why
		}
	}
	return a, true, nil
}

// Classes returns the names of the dialplan's classes of service.
func (c *Control) Classes() []string { return c.plan.Load().Classes() }

// classOf is the class of service of an extension.
func classOf(e *store.Extension) string {
	if e.Class == "" {
		return dialplan.DefaultClass
	}
	return e.Class
}
