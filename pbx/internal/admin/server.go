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
	AddExtension(ctx context.Context, e store.Extension, password string) error
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
	Registered int       `json:"registered"` // contacts that can be called now
	Created    time.Time `json:"created"`
}

// extensionRequest is the body of POST /extensions.
type extensionRequest struct {
	Number   string `json:"number"`
	Name     string `json:"name,omitempty"`
	Password string `json:"password"`
}

// passwordRequest is the body of PUT …/password.
type passwordRequest struct {
	Password string `json:"password"`
}

// digestRequest is the body of PUT …/digest.
type digestRequest struct {
	Algorithms []string `json:"algorithms"`
}

// registration is a binding as commands show it.
type registration struct {
	Number  string    `json:"number"`
	Contact string    `json:"contact"`
	Via     string    `json:"via"` // "border", or the network and address of a phone inside
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

// Routes adds the exchange's routes to a server.
func Routes(s *control.Server, x Exchange, now func() time.Time) {
	s.Handle("GET /extensions", func(*http.Request) (any, error) { return extensions(x, now()), nil })
	s.Handle("POST /extensions", func(r *http.Request) (any, error) { return nil, addExtension(r, x) })
	s.Handle("DELETE /extensions/{number}", func(r *http.Request) (any, error) {
		number := r.PathValue("number")
		was, err := x.DeleteExtension(r.Context(), number)
		if err == nil && !was {
			err = unknown(number)
		}
		return nil, err
	})
	s.Handle("PUT /extensions/{number}/password", func(r *http.Request) (any, error) {
		number := r.PathValue("number")
		if _, ok := x.Store().Extension(number); !ok {
			return nil, unknown(number)
		}
		password, err := readPassword(r)
		if err != nil {
			return nil, err
		}
		return nil, x.SetPassword(r.Context(), number, password)
	})
	s.Handle("PUT /extensions/{number}/digest", func(r *http.Request) (any, error) { return nil, setDigest(r, x) })
	s.Handle("PUT /trunks/{name}/password", func(r *http.Request) (any, error) {
		name := r.PathValue("name")
		if _, ok := x.Store().Trunk(name); !ok {
			return nil, control.Errorf(http.StatusNotFound, "no trunk %q in the configuration", name)
		}
		var req passwordRequest
		if err := control.Decode(r, &req); err != nil {
			return nil, err
		}
		if req.Password == "" || len(req.Password) > maxPassword {
			return nil, control.Errorf(http.StatusBadRequest, "the password must have 1 to %d characters", maxPassword)
		}
		return nil, x.SetTrunkPassword(r.Context(), name, req.Password)
	})
	s.Handle("GET /registrations", func(*http.Request) (any, error) { return registrations(x, now()), nil })
	rightRoutes(s, x)
	eventRoutes(s, x)
	serviceRoutes(s, x)
	mailboxRoutes(s, x)
	queueRoutes(s, x)
	roomRoutes(s, x)
	calladmin.Routes(s, x)
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

func addExtension(r *http.Request, x Exchange) error {
	var req extensionRequest
	if err := control.Decode(r, &req); err != nil {
		return err
	}
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
	if !nameForm.MatchString(name) {
		return control.Errorf(http.StatusBadRequest, "the name may have at most 64 characters, no quotes and no backslash")
	}
	return checkPassword(password)
}

func checkPassword(password string) error {
	if len(password) < minPassword || len(password) > maxPassword {
		return control.Errorf(http.StatusBadRequest, "the password must have %d to %d characters; without one, a strong one is made", minPassword, maxPassword)
	}
	return nil
}

func setDigest(r *http.Request, x Exchange) error {
	var req digestRequest
	if err := control.Decode(r, &req); err != nil {
		return err
	}
	number := r.PathValue("number")
	if _, ok := x.Store().Extension(number); !ok {
		return unknown(number)
	}
	var order []digest.Algorithm
	for _, name := range req.Algorithms {
		a, err := digest.ParseAlgorithm(name)
		if err != nil || name == "" {
			return control.Errorf(http.StatusBadRequest, "%q is no digest algorithm; use sha-256 or md5", name)
		}
		if slices.Contains(order, a) {
			return control.Errorf(http.StatusBadRequest, "%s stands twice", a)
		}
		order = append(order, a)
	}
	if len(order) == 0 {
		return control.Errorf(http.StatusBadRequest, "name at least one algorithm: sha-256 or md5")
	}
	if err := x.SetDigest(r.Context(), number, order); err != nil {
		return control.Errorf(http.StatusConflict, "%v", err)
	}
	return nil
}

func readPassword(r *http.Request) (string, error) {
	var req passwordRequest
	if err := control.Decode(r, &req); err != nil {
		return "", err
	}
	return req.Password, checkPassword(req.Password)
}
