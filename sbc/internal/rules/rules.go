package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
	"brickhouse/shared/sipmsg"
)

// Set is the rules of one trunk for one way. It is a constant.
type Set struct {
	inward  bool
	trusted bool
	dir     Direction
	changes []change
}

// New compiles the rules of a trunk, for calls from it (inward) or to it. c has passed Check.
func New(c Config, inward bool) (*Set, error) {
	s := &Set{inward: inward, trusted: c.Trusted, dir: c.Out}
	if inward {
		s.dir = c.In
	}
	for i, one := range s.dir.Changes {
		made, err := compile(one)
		if err != nil {
			return nil, fmt.Errorf("changes[%d]: %w", i, err)
		}
		s.changes = append(s.changes, made)
	}
	return s, nil
}

// ErrNumber says that the called number is none, or became none.
var ErrNumber = errors.New("called number is none that can be called")

// Step is what one rule changed.
type Step struct {
	Rule   string // numbers, identity, changes[2]
	Field  string // request, or a header's name
	Before string // empty: it was not there
	After  string // empty: it was taken off
}

// Result is the message that the rules make.
type Result struct {
	// Request has start line, From and To as the other side shall see them, and of the other headers those of the message
	// that came, as the rules left them. Which of these cross is for package sanitize to say, but for:
	Request *sip.Request
	// Headers cross in any case: they were made here.
	Headers []sip.Header
	Steps   []Step // with Trace
}

// Hosts are the hosts of the addresses that Apply writes.
type Hosts struct {
	Called string // of who is called, and who diverted the call
	Caller string // of who calls
}

// Apply makes the message that crosses from the one that came, an INVITE with From and To. req is not changed. The error is
// ErrNumber.
func (s *Set) Apply(req *sip.Request, hosts Hosts, trace bool) (Result, error) {
	v := newView(req, hosts)
	var steps []Step
	var before []field
	if trace {
		before = v.fields()
	}
	stage := func(name string, run func(*view)) {
		run(v)
		if trace {
			after := v.fields()
			steps = append(steps, differences(name, before, after)...)
			before = after
		}
	}
	stage("form", (*view).open)
	stage("trust", s.trust)
	stage("numbers", s.numbers)
	stage("identity", s.identity)
	stage("redirection", s.redirection)
	for i := range s.changes {
		stage(fmt.Sprintf("changes[%d]", i), s.changes[i].run)
	}
	stage("form", s.form)
	if v.err != nil {
		return Result{Steps: steps}, v.err
	}
	return Result{Request: v.req, Headers: v.made(), Steps: steps}, nil
}

// trust takes off what only a trusted carrier may say.
func (s *Set) trust(v *view) {
	if s.inward && !s.trusted {
		for _, name := range []string{"P-Asserted-Identity", "P-Preferred-Identity", "Diversion", "History-Info", "Remote-Party-ID"} {
			v.remove(name)
		}
	}
}

// numbers writes every number in the form of the other side.
func (s *Set) numbers(v *view) {
	n := &s.dir.Numbers
	for _, name := range v.numbered() {
		field := name
		if name == "history-info" {
			field = "diversion"
		}
		if len(n.Fields) > 0 && !slices.Contains(n.Fields, field) {
			continue
		}
		v.eachNumber(name, func(old string) string {
			out, ok := n.normal(old)
			if !ok && name == "request" {
				v.err = fmt.Errorf("%w: more than %d digits", ErrNumber, n.Most)
			}
			return out
		})
	}
}

// form reads again what was made.
func (s *Set) form(v *view) {
	if topologyUser(v.req.Recipient.User) == "" && v.err == nil {
		v.err = ErrNumber
	}
	if topologyUser(v.from.Address.User) == "" {
		v.anonymous()
	}
	if topologyUser(v.to.Address.User) == "" {
		v.to.Address.User = v.req.Recipient.User
	}
	for _, name := range []string{"P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "History-Info"} {
		values := v.values(name)
		kept := slices.DeleteFunc(slices.Clone(values), func(value string) bool { return !wellFormed(value) })
		if len(kept) != len(values) {
			v.set(name, kept)
		}
	}
	if s.dir.Numbers.UserPhone {
		v.userPhone()
	}
}

// maxIdentities bounds the values of an identity header.
const maxIdentities = 8

// wellFormed reports whether an identity header's value is an address of a person.
func wellFormed(value string) bool {
	n, err := sipmsg.ParseNameAddr(value)
	if err != nil || len(value) > maxValue {
		return false
	}
	for _, h := range n.URI.Headers { // RFC 7044 §5.1: these two may stand in a History-Info
		if !strings.EqualFold(h.K, "Privacy") && !strings.EqualFold(h.K, "Reason") {
			return false
		}
	}
	return user(&n.URI) != "" && sipmsg.CleanDisplayName(n.Display) == n.Display
}

// address is a URI of user at host.
func address(user, host string) sip.Uri { return topology.Address(user, host) }
