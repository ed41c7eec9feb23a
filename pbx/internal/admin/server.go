// Package admin is how a person on the same machine steers the exchange: the routes of its Unix socket, and the commands
// that ask them.
package admin

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"time"

	"brickhouse/pbx/internal/store"
	"brickhouse/shared/b2bua/calladmin"
	"brickhouse/shared/control"
	"brickhouse/shared/digest"
)

// Exchange is what can be steered.
type Exchange interface {
	Store() *store.Store
	calladmin.Calls
	Rights
	Waiting
	Services
	Mailboxes
	Queues
	Rooms
	Keys
	Audit
	Records
	AddExtension(ctx context.Context, e store.Extension, password string) error
	SetName(ctx context.Context, number, name string) error
	SetPassword(ctx context.Context, number, password string) error
	DeleteExtension(ctx context.Context, number string) (bool, error)
	SetDigest(ctx context.Context, number string, order []digest.Algorithm) error
	SetTrunkPassword(ctx context.Context, trunk, password string) error
}

// extension is an extension as commands show it.
type extension struct {
	Number     string    `json:"number"`
	Name       string    `json:"name,omitempty"`
	Algorithms []string  `json:"algorithms"`
	Registered int       `json:"registered" doc:"Contacts that can be called now."`
	Created    time.Time `json:"created"`
}

// extensionRequest is the body of POST /extensions.
type extensionRequest struct {
	Number   string `json:"number"`
	Name     string `json:"name,omitempty"`
	Password string `json:"password"`
}

// nameRequest is the body of PUT …/name.
type nameRequest struct {
	Name string `json:"name" doc:"Empty: none."`
}

// passwordRequest is the body of PUT …/password.
type passwordRequest struct {
	Password string `json:"password"`
}

// digestRequest is the body of PUT …/digest.
type digestRequest struct {
	Algorithms []string `json:"algorithms" nullable:"false" doc:"sha-256 and md5, in the order of the challenges."`
}

// registration is a binding as commands show it.
type registration struct {
	Number  string    `json:"number"`
	Contact string    `json:"contact"`
	Via     string    `json:"via" doc:"\"border\", or the network and address of a phone inside."`
	Agent   string    `json:"agent,omitempty"`
	Expires time.Time `json:"expires"`
}

// What an extension's number, name and password may be. A password that a person chose is the weakest point of an
// exchange, so short ones are refused.
var (
	numberForm  = regexp.MustCompile(`^[A-Za-z0-9+][A-Za-z0-9._+-]{0,31}$`)
	nameForm    = regexp.MustCompile(`^[^\x00-\x1f\x7f"\\]{0,64}$`)
	minPassword = 12  // characters
	maxPassword = 128 // of a trunk's too, which the carrier chose
)

// Areas of what can be asked and changed: a key is for some of them.
const (
	areaExtensions    = "extensions"
	areaTrunks        = "trunks"
	areaRegistrations = "registrations"
	areaSubscriptions = "subscriptions"
	areaDialplan      = "dialplan"
	areaMailboxes     = "mailboxes" // but not what callers say
	areaMessages      = "messages"  // what callers say
	areaQueues        = "queues"
	areaRooms         = "rooms"
	areaAudit         = "audit"
	areaRecords       = "records"
	areaKeys          = "keys"
)

// Routes adds the exchange's routes to a server.
func Routes(s *control.Server, x Exchange, now func() time.Time) {
	control.Route(s, "GET /extensions", control.Operation{ID: "listExtensions", Summary: "List the extensions", Area: areaExtensions},
		func(*http.Request, control.None) ([]extension, error) { return extensions(x, now()), nil })
	control.Route(s, "POST /extensions", control.Operation{
		ID: "addExtension", Summary: "Add an extension", Area: areaExtensions,
	}, func(r *http.Request, req extensionRequest) (done, error) { return done{}, addExtension(r, req, x) })
	control.Route(s, "DELETE /extensions/{number}", control.Operation{
		ID: "deleteExtension", Summary: "Remove an extension, its registrations, its password and its mailbox", Area: areaExtensions, Shows: shows(x),
	}, func(r *http.Request, _ control.None) (done, error) {
		number := r.PathValue("number")
		was, err := x.DeleteExtension(r.Context(), number)
		if err == nil && !was {
			err = unknown(number)
		}
		return done{}, err
	})
	control.Route(s, "PUT /extensions/{number}/name", control.Operation{
		ID: "setExtensionName", Summary: "Give an extension the name that is shown to who is called", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req nameRequest) (done, error) {
		if err := checkName(req.Name); err != nil {
			return done{}, err
		}
		return done{}, x.SetName(r.Context(), number, req.Name)
	}))
	control.Route(s, "PUT /extensions/{number}/password", control.Operation{
		ID: "setExtensionPassword", Summary: "Give an extension a new password", Area: areaExtensions,
	}, ofExtension(x, func(r *http.Request, number string, req passwordRequest) (done, error) {
		if err := checkPassword(req.Password); err != nil {
			return done{}, err
		}
		return done{}, x.SetPassword(r.Context(), number, req.Password)
	}))
	control.Route(s, "PUT /extensions/{number}/digest", control.Operation{
		ID: "setExtensionDigest", Summary: "Choose the digest algorithms that an extension is challenged with, and their order", Area: areaExtensions, Shows: shows(x),
	}, ofExtension(x, func(r *http.Request, number string, req digestRequest) (done, error) {
		return done{}, setDigest(r, number, req, x)
	}))
	control.Route(s, "PUT /trunks/{name}/password", control.Operation{
		ID: "setTrunkPassword", Summary: "Store the password that answers a trunk's challenges", Area: areaTrunks,
	}, func(r *http.Request, req passwordRequest) (done, error) {
		name := r.PathValue("name")
		if _, ok := x.Store().Trunk(name); !ok {
			return done{}, control.Errorf(http.StatusNotFound, "no trunk %q in the configuration", name)
		}
		if err := checkForeign(req.Password); err != nil {
			return done{}, err
		}
		return done{}, x.SetTrunkPassword(r.Context(), name, req.Password)
	})
	control.Route(s, "GET /registrations", control.Operation{ID: "listRegistrations", Summary: "List the registered phones", Area: areaRegistrations},
		func(*http.Request, control.None) ([]registration, error) { return registrations(x, now()), nil })
	rightRoutes(s, x)
	eventRoutes(s, x)
	serviceRoutes(s, x)
	mailboxRoutes(s, x)
	queueRoutes(s, x)
	roomRoutes(s, x)
	rosterRoutes(s, x)
	keyRoutes(s, x)
	auditRoutes(s, x)
	recordRoutes(s, x)
	calladmin.Routes(s, x)
}

// done is the answer to what only succeeds.
type done = control.None

// ofExtension is a handler of an operation on an extension: there is such a one when do is called, and a wrong wish is the caller's fault.
func ofExtension[In, Out any](x Exchange, do func(r *http.Request, number string, in In) (Out, error)) func(*http.Request, In) (Out, error) {
	return func(r *http.Request, in In) (Out, error) {
		number := r.PathValue("number")
		if _, ok := x.Store().Extension(number); !ok {
			var none Out
			return none, unknown(number)
		}
		out, err := do(r, number, in)
		return out, unfit(err)
	}
}

// settings are what an administrator and the owner have set of an extension, as the audit shows them.
type settings struct {
	Name       string             `json:"name,omitempty"`
	Class      string             `json:"class,omitempty"`
	Algorithms []digest.Algorithm `json:"algorithms"`
	Blocked    bool               `json:"blocked,omitempty"`
	Services   *store.Services    `json:"services"`
}

func shows(x Exchange) func(*http.Request) any {
	return func(r *http.Request) any {
		number := r.PathValue("number")
		e, ok := x.Store().Extension(number)
		if !ok {
			return nil
		}
		standing, _ := x.Store().Standing(number)
		return settings{e.Name, e.Class, e.Algorithms, standing != nil && !standing.Blocked.IsZero(), x.Store().Services(number)}
	}
}

func unknown(number string) error {
	return control.Errorf(http.StatusNotFound, "no extension %q; pbx extension list shows those there are", number)
}

func extensions(x Exchange, now time.Time) []extension {
	out := []extension{}
	for _, e := range x.Store().Extensions() {
		shown := extension{Number: e.Number, Name: e.Name, Created: e.CreatedAt, Registered: len(x.Store().Bindings(e.Number, now))}
		for _, a := range e.Algorithms {
			shown.Algorithms = append(shown.Algorithms, string(a))
		}
		out = append(out, shown)
	}
	return out
}

func registrations(x Exchange, now time.Time) []registration {
	out := []registration{}
	for _, b := range x.Store().AllBindings(now) {
		via := b.Network + " " + b.Remote.String()
		if b.Outside {
			via = "border"
		}
		out = append(out, registration{Number: b.AOR, Contact: b.ContactURI, Via: via, Agent: b.UserAgent, Expires: b.Expires})
	}
	return out
}

func addExtension(r *http.Request, req extensionRequest, x Exchange) error {
	if err := CheckExtension(req.Number, req.Name, req.Password); err != nil {
		return err
	}
	if _, ok := x.Store().Extension(req.Number); ok {
		return control.Errorf(http.StatusConflict, "extension %s exists; pbx extension passwd %s gives it another password", req.Number, req.Number)
	}
	return x.AddExtension(r.Context(), store.Extension{Number: req.Number, Name: req.Name}, req.Password)
}

// CheckExtension says what is wrong with a new extension.
func CheckExtension(number, name, password string) error {
	if !numberForm.MatchString(number) {
		return control.Errorf(http.StatusBadRequest, "%q is no extension: a letter, digit or +, then letters, digits and . _ + - only, at most 32", number)
	}
	if err := checkName(name); err != nil {
		return err
	}
	return checkPassword(password)
}

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return control.Errorf(http.StatusBadRequest, "the name may have at most 64 characters, no quotes and no backslash")
	}
	return nil
}

func checkPassword(password string) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return control.Errorf(http.StatusBadRequest, "the password must have %d to %d characters; without one, a strong one is made", minPassword, maxPassword)
	}
	return nil
}

func algorithms(names []string) (order []digest.Algorithm, err error) {
	for _, name := range names {
		a, err := digest.ParseAlgorithm(name)
		if err != nil || name == "" {
			return nil, control.Errorf(http.StatusBadRequest, "%q is no digest algorithm; use sha-256 or md5", name)
		}
		if slices.Contains(order, a) {
			return nil, control.Errorf(http.StatusBadRequest, "%s stands twice", a)
		}
		order = append(order, a)
	}
	if len(order) == 0 {
		return nil, control.Errorf(http.StatusBadRequest, "name at least one algorithm: sha-256 or md5")
	}
	return order, nil
}

// checkForeign says what is wrong with a password that somebody else chose.
func checkForeign(password string) error {
	if password == "" || len(password) > maxPassword {
		return control.Errorf(http.StatusBadRequest, "the password must have 1 to %d characters", maxPassword)
	}
	return nil
}

func setDigest(r *http.Request, number string, req digestRequest, x Exchange) error {
	order, err := algorithms(req.Algorithms)
	if err != nil {
		return err
	}
	if err := x.SetDigest(r.Context(), number, order); err != nil {
		return control.Errorf(http.StatusConflict, "%v", err)
	}
	return nil
}
