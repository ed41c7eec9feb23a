package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"brickhouse/pbx/internal/mail"
	"brickhouse/pbx/internal/queue"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/command"
	"brickhouse/shared/conffile"
	"brickhouse/shared/control"
)

// roster is all extensions as one document: what pbx extension export writes and import reads.
type roster struct {
	Extensions []listed `json:"extensions" yaml:"extensions" nullable:"false"`
}

// listed is an extension with all that is set of it but its password. What is not there is off, or as the exchange has it.
type listed struct {
	Number         string            `json:"number" yaml:"number"`
	Name           string            `json:"name,omitempty" yaml:"name,omitempty"`
	Password       string            `json:"password,omitempty" yaml:"password,omitempty" doc:"A new one; empty: the one it has, or, where the extension is new, one that the answer tells. Never exported."`
	Class          string            `json:"class,omitempty" yaml:"class,omitempty" doc:"Of service; empty: default."`
	Digest         []string          `json:"digest,omitempty" yaml:"digest,omitempty" doc:"Algorithms; empty: those it has."`
	Forwards       map[string]string `json:"forwards,omitempty" yaml:"forwards,omitempty" doc:"Numbers by condition: always, busy, no-answer, unreachable."`
	After          int               `json:"after,omitempty" yaml:"after,omitempty" doc:"Seconds of ringing until no-answer; 0: as the dialplan says."`
	DND            bool              `json:"dnd,omitempty" yaml:"dnd,omitempty"`
	NoWaiting      bool              `json:"no_waiting,omitempty" yaml:"no_waiting,omitempty" doc:"No call waiting."`
	Blocked        []string          `json:"blocked,omitempty" yaml:"blocked,omitempty" doc:"Callers."`
	BlockAnonymous bool              `json:"block_anonymous,omitempty" yaml:"block_anonymous,omitempty"`
	Voicemail      bool              `json:"voicemail,omitempty" yaml:"voicemail,omitempty"`
	Email          string            `json:"email,omitempty" yaml:"email,omitempty"`
	Agent          string            `json:"agent,omitempty" yaml:"agent,omitempty" enum:"in,out,paused" doc:"At its queues; empty: as it is."`
}

// importRequest is the body of PUT /extensions. Its bound keeps the time short that it takes: each new password is on disk before the next.
type importRequest struct {
	Extensions []listed `json:"extensions" nullable:"false" maxItems:"1000"`
	Replace    bool     `json:"replace,omitempty" doc:"Extensions that are not in the list are removed."`
}

// importAnswer says what became of an import.
type importAnswer struct {
	Added     []string          `json:"added" nullable:"false"`
	Changed   []string          `json:"changed" nullable:"false"`
	Removed   []string          `json:"removed" nullable:"false"`
	Passwords map[string]string `json:"passwords" doc:"Those that were made, by number: said once."`
	Faults    []string          `json:"faults" nullable:"false" doc:"What could not be set; everything else is."`
}

func rosterRoutes(s *control.Server, x Exchange) {
	control.Route(s, "GET /export", control.Operation{ID: "exportExtensions", Summary: "All extensions with all that is set of them but passwords", Area: areaExtensions},
		func(*http.Request, control.None) (roster, error) { return exported(x), nil })
	control.Route(s, "PUT /extensions", control.Operation{
		ID: "importExtensions", Summary: "Make the extensions of a list, or change them, so that they are as the list says", Area: areaExtensions,
		Shows: func(*http.Request) any { return exported(x) },
	}, func(r *http.Request, req importRequest) (importAnswer, error) {
		if err := checkRoster(req.Extensions, x.Classes()); err != nil {
			return importAnswer{}, err
		}
		im := importing{ctx: r.Context(), x: x, answer: importAnswer{Added: []string{}, Changed: []string{}, Removed: []string{}, Passwords: map[string]string{}, Faults: []string{}}}
		err := im.run(req)
		return im.answer, err
	})
}

func exported(x Exchange) roster {
	out := roster{Extensions: []listed{}}
	for _, e := range x.Store().Extensions() {
		out.Extensions = append(out.Extensions, listing(e, x.Store().Services(e.Number)))
	}
	return out
}

func (r roster) byNumber() map[string]listed {
	out := map[string]listed{}
	for _, l := range r.Extensions {
		out[l.Number] = l
	}
	return out
}

func listing(e *store.Extension, s *store.Services) listed {
	l := listed{
		Number: e.Number, Name: e.Name, Class: e.Class, After: s.After, DND: s.DND, NoWaiting: s.NoWaiting, Blocked: s.Blocked,
		BlockAnonymous: s.BlockAnonymous, Voicemail: s.Voicemail, Email: s.Email, Agent: s.Agent,
	}
	for _, a := range e.Algorithms {
		l.Digest = append(l.Digest, string(a))
	}
	for when, to := range s.Forwards {
		if l.Forwards == nil {
			l.Forwards = map[string]string{}
		}
		l.Forwards[string(when)] = to
	}
	return l
}

// checkRoster says all that is wrong with a list in itself. Nothing is changed where something is.
func checkRoster(list []listed, classes []string) error {
	seen := map[string]bool{}
	var wrong []string
	for i, l := range list {
		if err := l.check(classes); err != nil {
			wrong = append(wrong, fmt.Sprintf("extension %d (%s): %v", i+1, control.Clean(l.Number), err))
		}
		if seen[l.Number] {
			wrong = append(wrong, fmt.Sprintf("extension %d (%s): it stands twice", i+1, control.Clean(l.Number)))
		}
		seen[l.Number] = true
	}
	if len(wrong) == 0 {
		return nil
	}
	return control.Errorf(http.StatusBadRequest, "nothing has changed: %s", strings.Join(wrong, "; "))
}

func (l *listed) check(classes []string) error {
	password := l.Password
	if password == "" {
		password = NewPassword()
	}
	errs := []error{CheckExtension(l.Number, l.Name, password)}
	if l.Class != "" && !slices.Contains(classes, l.Class) {
		errs = append(errs, fmt.Errorf("the dialplan has no class %q", l.Class))
	}
	if len(l.Digest) > 0 {
		_, err := algorithms(l.Digest)
		errs = append(errs, err)
	}
	for when := range l.Forwards {
		if !slices.Contains(store.Conditions(), store.Condition(when)) {
			errs = append(errs, fmt.Errorf("%q is no condition of a forward; give always, busy, no-answer or unreachable", when))
		}
	}
	if l.Email != "" && !mail.IsAddress(l.Email) {
		errs = append(errs, fmt.Errorf("%q is no mail address", l.Email))
	}
	if len(l.Blocked) > store.MaxBlocked {
		errs = append(errs, fmt.Errorf("an extension may block %d callers", store.MaxBlocked))
	}
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, ", "))
}

// importing is an import under way.
type importing struct {
	ctx    context.Context
	x      Exchange
	answer importAnswer
}

// run does what the list says. Forwards come last: they may lead to extensions that the list makes.
func (im *importing) run(req importRequest) error {
	before := exported(im.x).byNumber()
	for _, l := range req.Extensions {
		was, there := before[l.Number]
		if err := im.account(l, was, there); err != nil {
			return fmt.Errorf("extension %s: %w; those before it are done", l.Number, err)
		}
		im.services(l, was)
	}
	for _, l := range req.Extensions {
		im.forwards(l)
	}
	after := exported(im.x).byNumber()
	for _, l := range req.Extensions {
		was, there := before[l.Number]
		if !there {
			im.answer.Added = append(im.answer.Added, l.Number)
		} else if l.Password != "" || fmt.Sprint(after[l.Number]) != fmt.Sprint(was) {
			im.answer.Changed = append(im.answer.Changed, l.Number)
		}
		delete(before, l.Number)
	}
	if !req.Replace {
		return nil
	}
	for _, number := range slices.Sorted(maps.Keys(before)) {
		if _, err := im.x.DeleteExtension(im.ctx, number); err != nil {
			return fmt.Errorf("removing extension %s: %w", number, err)
		}
		im.answer.Removed = append(im.answer.Removed, number)
	}
	return nil
}

// account sees to the extension itself.
func (im *importing) account(l, was listed, there bool) error {
	if !there {
		password := l.Password
		if password == "" {
			password = NewPassword()
			im.answer.Passwords[l.Number] = password
		}
		if err := im.x.AddExtension(im.ctx, store.Extension{Number: l.Number, Name: l.Name, Class: l.Class}, password); err != nil {
			return err
		}
	} else {
		var errs []error
		if l.Name != was.Name {
			errs = append(errs, im.x.SetName(im.ctx, l.Number, l.Name))
		}
		if l.Class != was.Class {
			errs = append(errs, im.x.SetClass(im.ctx, l.Number, l.Class))
		}
		if l.Password != "" {
			errs = append(errs, im.x.SetPassword(im.ctx, l.Number, l.Password))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if len(l.Digest) == 0 {
		return nil
	}
	order, err := algorithms(l.Digest)
	if err != nil {
		return err
	}
	if e, ok := im.x.Store().Extension(l.Number); ok && !slices.Equal(e.Algorithms, order) {
		im.try(l, im.x.SetDigest(im.ctx, l.Number, order))
	}
	return nil
}

// try notes what could not be set.
func (im *importing) try(l listed, err error) {
	if err != nil {
		im.answer.Faults = append(im.answer.Faults, fmt.Sprintf("extension %s: %v", l.Number, err))
	}
}

// services sees to what is set for the calls to an extension, but forwards.
func (im *importing) services(l, was listed) {
	ctx, x := im.ctx, im.x
	onOff := func(want, has bool, set func(context.Context, string, bool) error, on bool) {
		if want != has {
			im.try(l, set(ctx, l.Number, on))
		}
	}
	onOff(l.DND, was.DND, x.SetDND, l.DND)
	onOff(l.NoWaiting, was.NoWaiting, x.SetCallWaiting, !l.NoWaiting)
	onOff(l.Voicemail, was.Voicemail, x.SetVoicemail, l.Voicemail)
	if l.Email != was.Email {
		im.try(l, x.SetEmail(ctx, l.Number, l.Email))
	}
	if l.Agent != "" && l.Agent != was.Agent {
		im.try(l, x.SetAgent(ctx, l.Number, queue.Presence(l.Agent)))
	}
	if l.BlockAnonymous != was.BlockAnonymous {
		im.try(l, x.SetBlock(ctx, l.Number, "", l.BlockAnonymous))
	}
	for _, caller := range was.Blocked {
		if !slices.Contains(l.Blocked, caller) {
			im.try(l, x.SetBlock(ctx, l.Number, caller, false))
		}
	}
	for _, caller := range l.Blocked {
		if caller != "" && !slices.Contains(was.Blocked, caller) {
			im.try(l, x.SetBlock(ctx, l.Number, caller, true))
		}
	}
}

func (im *importing) forwards(l listed) {
	has := im.x.Store().Services(l.Number)
	for _, when := range store.Conditions() {
		to, after := l.Forwards[string(when)], 0
		if when == store.NoAnswer {
			after = l.After
		}
		if to != has.Forward(when) || when == store.NoAnswer && after != has.After {
			im.try(l, im.x.SetForward(im.ctx, l.Number, when, to, after))
		}
	}
}

func extensionExport(a *command.Admin) *cobra.Command {
	return &cobra.Command{
		Use: "export", Short: "Write all extensions and what is set of them, but no passwords, as YAML to standard output", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var all roster
			if err := a.Do(c.Context(), "GET", "/export", nil, &all); err != nil {
				return err
			}
			if a.JSON {
				return control.Print(c.OutOrStdout(), true, all, nil)
			}
			text, err := conffile.YAML(all)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
}

func extensionImport(a *command.Admin) *cobra.Command {
	var replace bool
	c := &cobra.Command{
		Use: "import FILE", Short: "Make or change extensions so that they are as a YAML file says, as export writes it; print the passwords of new ones", Args: cobra.ExactArgs(1),
	}
	c.Flags().BoolVar(&replace, "replace", false, "remove the extensions that are not in the file")
	c.RunE = func(c *cobra.Command, args []string) error {
		if _, err := os.Stat(args[0]); err != nil {
			return command.Bad(err)
		}
		var list roster
		if err := conffile.Load(args[0], &list); err != nil {
			return command.Bad(err)
		}
		if list.Extensions == nil {
			list.Extensions = []listed{}
		}
		var answer importAnswer
		if err := a.Do(c.Context(), "PUT", "/extensions", importRequest{list.Extensions, replace}, &answer); err != nil {
			return err
		}
		if err := a.Print(c, answer, func() *control.Table { return importTable(answer) }); err != nil {
			return err
		}
		if len(answer.Faults) > 0 {
			return fmt.Errorf("%d settings could not be made; everything else is done", len(answer.Faults))
		}
		return nil
	}
	return c
}

func importTable(answer importAnswer) *control.Table {
	t := &control.Table{Columns: []string{"EXTENSION", "IS", "PASSWORD"}, Empty: "nothing to do"}
	for _, n := range answer.Added {
		t.Add(n, "new", answer.Passwords[n])
	}
	for _, n := range answer.Changed {
		t.Add(n, "changed", "")
	}
	for _, n := range answer.Removed {
		t.Add(n, "removed", "")
	}
	for _, f := range answer.Faults {
		t.Add("", f, "")
	}
	return t
}
