package b2bua

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/dialog"
	"brickhouse/shared/transport"
	"brickhouse/shared/verdict"
)

// Side names one of the two ends of a call.
type Side uint8

// A called us; we called B.
const (
	A Side = iota
	B
)

// Other returns the opposite side.
func (s Side) Other() Side { return 1 - s }

// String is "a" or "b".
func (s Side) String() string {
	if s == A {
		return "a"
	}
	return "b"
}

// Media carries session descriptions across a call. It is used from the call's goroutine only. An error that is a
// *Refusal decides the status code and reason that the sender of the description gets; any other is answered 488.
type Media interface {
	// Offer takes the offer that side from made and returns the one that the other side gets. Where that side refuses it no
	// answer follows: what was agreed before stays in force, and the next offer, of either side, takes its place.
	Offer(from Side, sdp []byte) ([]byte, error)
	// Answer takes the answer that side from gave and returns the one that the offerer gets. It may come several
	// times for one offer: in provisional responses and again in the 2xx.
	Answer(from Side, sdp []byte) ([]byte, error)
	// Close ends the media session.
	Close()
}

// Local answers a call here instead of calling somebody: an echo, a tone, an announcement.
type Local interface {
	// Answer returns the answer to the first offer and to each later one. The errors are those of Media.
	Answer(offer []byte) ([]byte, error)
	// Offer returns the offer to a caller that makes none, or the one in force again.
	Offer() ([]byte, error)
	// Accept takes the answer to that offer.
	Accept(answer []byte) error
	// Close ends the session.
	Close()
}

// Informed is a Local that wants to know the INFO requests of its caller; each is answered with 200.
type Informed interface{ Info(req *sip.Request) }

// Refusal is an error that names the response to the request that caused it.
type Refusal struct {
	Code   int // SIP status code
	Reason verdict.Reason
}

func (r *Refusal) Error() string { return string(r.Reason) }

// LegPolicy is how we look and what we let pass on one leg.
type LegPolicy struct {
	// Contact is what we are reached at over flow f.
	Contact func(f *transport.Flow) sip.Uri
	// Pass copies from src, which came over the other leg, into dst, which leaves on this one, the header fields that
	// may pass. Where it copies Content-Type, the body passes too. nil passes nothing.
	Pass func(dst, src sip.Message)
	// Flow returns the flow to send the next request of a dialog over; nil means the one it was built over.
	Flow func(d *dialog.Dialog, last *transport.Flow) *transport.Flow
	// Roams tells whether a request within a dialog may come over another flow than the last; nil allows a new
	// connection from the same address.
	Roams func(last, now *transport.Flow) bool
	// Allow lists the methods that are taken within a dialog on this leg, as the Allow header shows them.
	Allow string
}

// Target is one place to call.
type Target struct {
	Flow    *transport.Flow                                       // over this flow, or
	Dial    func(ctx context.Context) (*transport.Flow, error)    // over the one that this makes
	URI     sip.Uri                                               // start line
	Routes  []sip.Uri                                             // preloaded route set, first hop first
	From    dialog.Party                                          // how the caller is shown; its tag is ours to choose
	To      dialog.Party                                          // how the callee is shown
	Headers []sip.Header                                          // added to each INVITE that starts this leg
	Policy  *LegPolicy                                            // how this leg looks
	Auth    func(*sip.Request, *sip.Response) (sip.Header, error) // answers a 401 or 407; nil passes it on to A
	Name    string                                                // for logs: an extension, a gateway
	Else    []Target                                              // other flows to the same device, each tried when the one before failed (RFC 5626 §5.3)
	Lost    func()                                                // called when the far side says that the flow to the target is gone (430); may be nil
	Within  time.Duration                                         // given up if it says nothing for so long; 0: by the transaction's timer B
	Tried   func(code int, err error)                             // hears once of the first response, or why there was none; may be nil
	Account string                                                // whose phone it is: the rights that its transfers have; empty: none
}

// Plan is what becomes of a new call.
type Plan struct {
	ID     string     // unique among the calls in hand; empty lets the engine choose
	Policy *LegPolicy // the A-leg's
	Groups [][]Target // tried one group after the other; the targets of one group ring together
	Local  Local      // answers instead of Groups
	// Hold makes what a side hears, over this flow, whom the other one holds. It is for calls whose Media is nil. nil: nothing.
	Hold    func(*transport.Flow) Local
	Media   Media              // nil passes descriptions through unchanged
	Measure func() []MediaSide // what went through Media until now, or until its Close; safe on any goroutine; may be nil
	Ring    time.Duration      // longest time until an answer; 0 means DefaultRing
	Info    Info               // the fields that tell who; the engine adds the rest
	Ringing func()             // called once at the first 18x; may be nil
	Answer  func(t Target)     // called once when a target answers, before A hears of it; may be nil
	End     func(Ending)       // called exactly once if Start returned no error; may be nil
	// Next decides whether a target's refusal with 400 to 599 leads on to the next group; nil: 408 and 5xx do.
	Next func(code int) bool
	// First is how long the first group rings before Then is asked; 0: Ring.
	First time.Duration
	// Then names who is called when all targets of the last group refused, or their time is over, and no other group may be
	// tried; false: nobody. nil: nobody. It may take as long as Redirect.
	Then func(Missed) (Turn, bool)
	// Apart says that the targets of the first group are several people: a 6xx of one ends its own ringing alone.
	Apart bool
	// Forwarded says that the first group is not who A called: A is told so (RFC 3261 §21.1.3).
	Forwarded bool
	// Redirect names whom to call in place of a target that answered 3xx with these contacts, best first. It decides by the
	// rights of who redirects. nil, or none: the target has failed. One call follows five in all.
	Redirect func(t Target, contacts []sip.Uri) []Target
	// Moved says what A is told of a redirection that is not followed here; nil, or nothing: 480.
	Moved func(contacts []sip.Uri) []sip.Uri
	Learn func(*sip.Response) // sees each response to a first INVITE before it is carried across; may be nil

	Emergency bool // to emergency services: begun even where MaxCalls are in hand

	// Transfers. They are for calls whose Media is nil: descriptions of one call become those of another.
	Account string                    // who the caller proved to be: the rights that its transfers have; empty: none
	Refer   func(Refer) (Plan, error) // makes the call that a blind transfer asks for; nil: no transfer is executed here
	Joined  func(Joined)              // called when a party was replaced by another; may be nil
	behalf  *behalf

	// ReferTo lets REFERs across where Refer is nil, and names the target as the other side knows it. nil: they are refused.
	ReferTo func(from Side, to dialog.ReferTo) (sip.Uri, error)
}

// Ending tells how a call ended.
type Ending struct {
	Code     int            // final status code of the INVITE for A; 200 if it was answered
	Reason   verdict.Reason // why it ended
	By       Side           // who ended it, where somebody did
	Answered time.Time      // zero if nobody answered
	At       time.Time
}

// State of a call, as commands and metrics show it.
type State string

// The states of a call, in their order.
const (
	StateSetup    State = "setup"
	StateRinging  State = "ringing"
	StateAnswered State = "answered"
	StateEnding   State = "ending"
)

// Info describes a call to a person.
type Info struct {
	ID       string    `json:"id"`
	Trace    string    `json:"trace"`
	State    State     `json:"state"`
	Caller   string    `json:"caller"`
	Callee   string    `json:"callee"`
	From     string    `json:"from"` // realm or trunk the call came from
	To       string    `json:"to"`   // realm, trunk or service it went to
	Started  time.Time `json:"started"`
	Answered time.Time `json:"answered,omitzero"`
}
