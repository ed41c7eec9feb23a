package store

import (
	"net/netip"
	"time"

	"brickhouse/shared/digest"
	"brickhouse/shared/state"
)

// Rows are constants. What a getter returns is shared by all readers and never changed after it was stored: copy it
// (`b := *old`), change the copy, put the copy. The unexported part travels with the copy: the version that orders it in
// the change log, and fields that a newer program wrote and we don't know.

// Extension is a subscriber of the exchange. It holds no secret; its HA1s are in the secret store.
type Extension struct {
	Number       string             `json:"number"`                  // its identity: user part of its address of record
	Name         string             `json:"name,omitempty"`          // shown to who is called
	Algorithms   []digest.Algorithm `json:"algorithms,omitempty"`    // challenges in this order (RFC 8760 §2.3); empty: the exchange's default
	LegacyDigest bool               `json:"legacy_digest,omitempty"` // a response without qop is taken (RFC 2617 clients); each nonce then works once
	Class        string             `json:"class,omitempty"`         // of service, in the dialplan; empty: the default one
	CreatedAt    time.Time          `json:"created_at,omitzero"`

	row
}

// Binding is one contact of an address of record (RFC 3261 §10).
type Binding struct {
	ID         string    `json:"id"`                   // unique: BindingID
	AOR        string    `json:"aor"`                  // the extension's number
	ContactURI string    `json:"contact"`              // as the phone (or the border for it) gave it, without angle brackets
	Path       []string  `json:"path,omitempty"`       // RFC 3327: URIs to route through, nearest to us first
	Instance   string    `json:"instance,omitempty"`   // RFC 5626 +sip.instance, without quotes
	RegID      int       `json:"reg_id,omitempty"`     // RFC 5626 reg-id; 0: none
	CallID     string    `json:"call_id"`              // of the REGISTER that made it
	CSeq       uint32    `json:"cseq"`                 // of the REGISTER that made it
	Q          float32   `json:"q"`                    // 0 to 1, 1 when the phone gave none
	UserAgent  string    `json:"user_agent,omitempty"` // a stranger's text
	Registered time.Time `json:"registered,omitzero"`  // last refresh
	Expires    time.Time `json:"expires"`

	// Where the REGISTER came from.
	Outside   bool           `json:"outside,omitempty"` // through the border
	Interface string         `json:"interface,omitempty"`
	Network   string         `json:"network,omitempty"` // "udp", "tcp", "tls"
	Remote    netip.AddrPort `json:"remote,omitzero"`
	FlowID    string         `json:"flow,omitempty"`

	row
}

// Live reports whether the binding has not expired at now.
func (b *Binding) Live(now time.Time) bool { return now.Before(b.Expires) }

// Trunk is a carrier, as the configuration names it. Trunks live in memory only: the configuration is their home. The
// password is in the secret store.
type Trunk struct {
	Name      string // its identity
	Username  string // for the carrier's challenge
	AuthRealm string // the only digest realm that its credentials answer; empty: any realm this trunk's gateway names
	FromUser  string // user part of From on calls to it; empty: the caller's number
	FromHost  string // host part of From on calls to it; empty: the exchange's domain
	MaxCalls  int    // calls at a time; 0: no limit
}

// CallState is how far a call is.
//
//	setup ──► ringing ──► up ──► down
//	  └──────────┴─────────────────┘
type CallState string

// The states of a call.
const (
	CallSetup   CallState = "setup"   // INVITE taken, nobody rings
	CallRinging CallState = "ringing" // 18x sent to the caller
	CallUp      CallState = "up"      // 2xx sent to the caller
	CallDown    CallState = "down"    // ended; the row goes when its CDR is durable
)

// Call is a call in progress.
type Call struct {
	ID        string    `json:"id"`              // its identity, also that of its CDR
	Trace     string    `json:"trace,omitempty"` // trace id over both programs
	State     CallState `json:"state"`
	Direction string    `json:"direction,omitempty"` // "internal", "inbound", "outbound"
	Caller    string    `json:"caller,omitempty"`
	Callee    string    `json:"callee,omitempty"`
	Dialled   string    `json:"dialled,omitempty"`
	Trunk     string    `json:"trunk,omitempty"` // name of the trunk it uses, if any
	Node      string    `json:"node,omitempty"`  // who owns it
	Started   time.Time `json:"started"`
	Answered  time.Time `json:"answered,omitzero"`

	row
}

// row is what the store adds to each row.
type row struct {
	ver   state.Ver      // order of this version among those of its key
	extra map[string]raw // fields of a newer program, kept as they came
}
