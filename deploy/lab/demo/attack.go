package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"brickhouse/shared/control"
	"brickhouse/shared/siptest"
)

// attack has somebody at another address guess the remote phone's password until nobody answers any more.
func (d *demo) attack(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n  Somebody at %s guesses the password of %s:\n", d.attackerAddr, d.phones[0].Number)
	a := siptest.Attack{
		Config: siptest.Config{Name: "attacker", User: d.phones[0].Number, Domain: d.phones[0].Realm, Transport: siptest.TLS,
			Server: d.border, TLS: d.trust.config(), Bind: d.attackerAddr, UserAgent: "friendly-scanner"},
		Tries:   d.tries,
		Timeout: 3 * time.Second,
		Pause:   100 * time.Millisecond, // the verdict needs a moment to reach the kernel
		Each: func(t siptest.Try) bool {
			d.note("%s", describe(t))
			return !t.Locked()
		},
	}
	tries, _, err := a.Run(ctx)
	if err != nil {
		return fmt.Errorf("attacking from %s: %w", d.attackerAddr, err)
	}
	return d.judge(tries)
}

// describe is what a person reads about one try.
func describe(t siptest.Try) string {
	switch t.Outcome {
	case siptest.Denied:
		return fmt.Sprintf("try %d: wrong password, answered %d", t.N, t.Codes[len(t.Codes)-1])
	case siptest.CutOff:
		return fmt.Sprintf("try %d: wrong password, and the line goes dead", t.N)
	case siptest.LetIn:
		return fmt.Sprintf("try %d: let in", t.N)
	case siptest.NoConnection:
		return fmt.Sprintf("try %d: no connection (%d ms)", t.N, t.Took.Milliseconds())
	}
	return fmt.Sprintf("try %d: no answer (%d ms)", t.N, t.Took.Milliseconds())
}

// judge wants at least one answered try, and the last one shut out.
func (d *demo) judge(tries []siptest.Try) error {
	answered := 0
	for _, t := range tries {
		if t.Outcome == siptest.LetIn {
			return fmt.Errorf("try %d of the attacker was let in with a random password", t.N)
		}
		if t.Outcome == siptest.Denied || t.Outcome == siptest.CutOff {
			answered++
		}
	}
	switch {
	case len(tries) == 0 || !tries[len(tries)-1].Locked():
		return fmt.Errorf("the attacker tried %d wrong passwords and is not shut out", answered)
	case answered == 0:
		return fmt.Errorf("the attacker got no answer at all, not even the first time: %v", tries[0].Err)
	}
	d.seen(fmt.Sprintf("after %d wrong passwords the attacker is shut out", answered), "")
	return nil
}

// explanation is what the border says about an address, as far as it is shown.
type explanation struct {
	Outcome string `json:"outcome"`
	Bans    []struct {
		Prefix   netip.Prefix `json:"prefix"`
		Reason   string       `json:"reason"`
		Rule     string       `json:"rule"`
		By       string       `json:"by"`
		Until    time.Time    `json:"until"`
		Evidence []evidence   `json:"evidence"`
	} `json:"bans"`
	Evidence []evidence `json:"evidence"`
}

type evidence struct {
	At        time.Time      `json:"at"`
	Source    netip.AddrPort `json:"source"`
	Reason    string         `json:"reason"`
	AOR       string         `json:"aor"`
	Interface string         `json:"interface"`
}

// shownEvidence is how many of the last offences are shown.
const shownEvidence = 6

// why asks the border why the attacker is shut out, as `sbc ban why` does.
func (d *demo) why(ctx context.Context) error {
	c := control.NewClient(d.control)
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	var e explanation
	if err := c.Get(ctx, "/bans/why?addr="+url.QueryEscape(d.attackerAddr.String()), &e); err != nil {
		return fmt.Errorf("asking the border why: %w", err)
	}
	return d.explain(e, time.Now())
}

// explain prints an explanation; there must be a ban in it.
func (d *demo) explain(e explanation, now time.Time) error {
	fmt.Fprintf(d.out, "\n  sbc ban why %s:\n", d.attackerAddr)
	d.note("%s", control.Clean(e.Outcome))
	if len(e.Bans) == 0 {
		return fmt.Errorf("the attacker gets no answer, but the border knows of no ban: it says %q", e.Outcome)
	}
	proof := e.Evidence
	for _, b := range e.Bans {
		left := "until it is lifted"
		if !b.Until.IsZero() {
			left = "for another " + b.Until.Sub(now).Round(time.Second).String()
		}
		d.note("%s is banned for %s by rule %q, %s", b.Prefix, control.Clean(b.Reason), control.Clean(b.Rule), left)
		if len(b.Evidence) > 0 {
			proof = b.Evidence
		}
	}
	for _, p := range proof[max(0, len(proof)-shownEvidence):] {
		d.note("%s  %-16s from %s as %s", p.At.Local().Format("15:04:05.000"), control.Clean(p.Reason), p.Source, control.Clean(p.AOR))
	}
	return nil
}

// unharmed wants that phones at other addresses go on as before.
func (d *demo) unharmed(ctx context.Context) error {
	fmt.Fprintln(d.out)
	return d.register(ctx, d.remote, fmt.Sprintf("%s, at another address, registers again", d.remote.Name()))
}

// liftOldBan lifts the ban of an earlier demonstration; that there is none, or that the border can't be asked yet, is no matter.
func (d *demo) liftOldBan(ctx context.Context) {
	c := control.NewClient(d.control)
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	for {
		err := c.Do(ctx, "DELETE", "/bans?prefix="+url.QueryEscape(d.attackerAddr.String()), nil, nil)
		var away *control.NotRunning
		if !errors.As(err, &away) || ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}
