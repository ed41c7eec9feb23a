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
}

// Forecast says what would become of a call of an extension's to a number. It changes nothing.
func (c *Control) Forecast(ctx context.Context, from, dialled string) (Forecast, error) {
	plan := c.plan.Load()
	action, ok := plan.Lookup("", dialled)
	f := Forecast{From: from, Dialled: dialled, Does: action.Kind, Number: action.Number, Trunk: action.Trunk, Emergency: action.Emergency}
	switch {
	case !ok:
		f.Reason, f.Rule = verdict.UnknownNumber, "no rule of the dialplan fits"
		return f, nil
	case action.Kind == dialplan.Refuse:
		f.Reason, f.Rule = verdict.NotAllowed, "a rule of the dialplan refuses it"
		return f, nil
	case action.Kind == dialplan.Extension:
		c.forecastExtension(&f)
		return f, nil
	case action.Kind != dialplan.Trunk:
		return f, nil
	}
	finding := c.judge(plan, External{Causer: from, Action: action})
	f.Country, f.Kind, f.Class = finding.Number.Country, string(finding.Number.Kind), finding.Class
	f.Reason, f.Rule = finding.Reason, finding.Rule
	if f.Emergency || f.Reason != verdict.None {
		return f, nil
	}
	d, err := c.cfg.Store.Probe(ctx, &store.Toll{Extension: from, Trunk: action.Trunk, Started: c.cfg.Now()}, limitsOf(plan, f.Class, action.Trunk))
	if d != nil {
		f.Reason, f.Rule = d.Reason, d.Error()
	}
	return f, err
}

func (c *Control) forecastExtension(f *Forecast) {
	if _, ok := c.cfg.Store.Extension(f.Number); !ok {
		f.Reason, f.Rule = verdict.UnknownNumber, "no such extension"
	} else if len(c.cfg.Store.Bindings(f.Number, c.cfg.Now())) == 0 {
		f.Reason, f.Rule = verdict.NotRegistered, "none of its phones is registered"
	}
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
}

// Account returns the account of an extension, or that there is none.
func (c *Control) Account(ctx context.Context, number string) (Account, bool, error) {
	e, ok := c.cfg.Store.Extension(number)
	if !ok {
		return Account{}, false, nil
	}
	now, plan := c.cfg.Now(), c.plan.Load()
	a := Account{Number: e.Number, Name: e.Name, Class: classOf(e)}
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
