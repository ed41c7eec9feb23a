// Package corelink is the promise between the border and the exchange on the mutually authenticated link between them:
// which private headers cross it, what they hold, and that none of them ever crosses any other link.
//
// The border tells the exchange which realm and trunk a request came from and an opaque name of the flow it came over, so
// that nonces can be bound to it; it never tells the phone's address. The exchange tells the border, on responses, what it
// found out about the sender; the border strips that, scores it, and may turn it into a ban. The exchange itself bans nobody.
package corelink

import (
	"errors"
	"fmt"
	"strings"
)

// Prefix begins the name of each private header. Both programs remove every header with this prefix, in any case, from
// whatever comes from or goes to anybody but the other one.
const Prefix = "Brickhouse-"

// The private headers.
const (
	HeaderRealm   = Prefix + "Realm"   // border → exchange, requests: RealmAccess or RealmPeer
	HeaderTrunk   = Prefix + "Trunk"   // both ways, requests: the trunk's name
	HeaderFlow    = Prefix + "Flow"    // border → exchange, requests: opaque name of the sender's flow
	HeaderTrace   = Prefix + "Trace"   // both ways, requests: trace id of the call
	HeaderAudit   = Prefix + "Audit"   // exchange → border, OPTIONS within a call: do you have it? Not to be passed on
	HeaderVerdict = Prefix + "Verdict" // exchange → border, responses: a Verdict
)

// SendQueue is how many bytes may wait for the other program: all calls share the link, and it may not end for a second without processor time.
const SendQueue = 32 << 20

// The realms that a request may come from.
const (
	RealmAccess = "access" // remote phones
	RealmPeer   = "peer"   // trunks
)

// IsPrivate reports whether a header of that name must not leave the core link.
func IsPrivate(name string) bool {
	return len(name) >= len(Prefix) && strings.EqualFold(name[:len(Prefix)], Prefix)
}

// IsTrunkName reports whether s can name a trunk: letters, digits, "-" and "_", at most 64. Both programs must know a trunk
// by the same name.
func IsTrunkName(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// Outcome is what the exchange found out about the sender of a request.
type Outcome string

// The outcomes.
const (
	OutcomeNone           Outcome = ""                // nothing to say
	OutcomeOK             Outcome = "ok"              // credentials were right
	OutcomeChallenge      Outcome = "challenge"       // no credentials: not a failure
	OutcomeStale          Outcome = "stale"           // right form, nonce too old: not a failure
	OutcomeBadCredentials Outcome = "bad-credentials" // wrong password
	OutcomeUnknownUser    Outcome = "unknown-user"    // no such account
	OutcomeRefused        Outcome = "refused"         // authenticated, but not allowed to do this
)

// Verdict is what the exchange tells the border with a response.
type Verdict struct {
	Outcome    Outcome
	AOR        string // address of record that was tried, as user@domain; may be empty
	NonceKnown bool   // the nonce was ours and bound to this flow: the source can receive what we send to it
}

// maxAOR bounds the address of record in a verdict, in bytes.
const maxAOR = 256

// String is the header's value. Bytes that can't stand in it are left out of the address.
func (v Verdict) String() string {
	nonce := "foreign"
	if v.NonceKnown {
		nonce = "known"
	}
	return fmt.Sprintf("%s;nonce=%s;aor=%q", v.Outcome, nonce, cleanAOR(v.AOR))
}

func cleanAOR(s string) string {
	if len(s) > maxAOR {
		s = s[:maxAOR]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '"' || r == '\\' || r == ';' || r == ',' {
			return -1
		}
		return r
	}, s)
}

var errVerdict = errors.New("malformed verdict")

// ParseVerdict reads a header's value.
func ParseVerdict(s string) (Verdict, error) {
	var v Verdict
	parts := strings.Split(s, ";")
	if len(parts) != 3 || len(s) > maxAOR+64 {
		return v, errVerdict
	}
	switch o := Outcome(parts[0]); o {
	case OutcomeOK, OutcomeChallenge, OutcomeStale, OutcomeBadCredentials, OutcomeUnknownUser, OutcomeRefused:
		v.Outcome = o
	default:
		return v, fmt.Errorf("%w: outcome %q", errVerdict, parts[0])
	}
	switch parts[1] {
	case "nonce=known":
		v.NonceKnown = true
	case "nonce=foreign":
	default:
		return v, fmt.Errorf("%w: %q", errVerdict, parts[1])
	}
	aor, ok := strings.CutPrefix(parts[2], `aor="`)
	if !ok || !strings.HasSuffix(aor, `"`) {
		return v, fmt.Errorf("%w: %q", errVerdict, parts[2])
	}
	v.AOR = aor[:len(aor)-1]
	if v.AOR != cleanAOR(v.AOR) {
		return v, fmt.Errorf("%w: address of record", errVerdict)
	}
	return v, nil
}
