package guard

import (
	"errors"
	"net/netip"
	"time"

	"brickhouse/shared/verdict"
)

// Ban is a source or network that is shut out. It is a value: changing it changes nothing.
type Ban struct {
	Prefix   netip.Prefix   `json:"prefix"`
	Reason   verdict.Reason `json:"reason"`         // what the last offence was, or verdict.ManualBan
	Rule     string         `json:"rule,omitempty"` // name of the rule; empty if a person did it
	By       string         `json:"by"`             // ByRule, ByKernel or the person's name
	Note     string         `json:"note,omitempty"`
	From     time.Time      `json:"from"`
	Until    time.Time      `json:"until,omitzero"` // zero: until it is lifted
	Evidence []Evidence     `json:"evidence,omitempty"`
}

// Who made a ban, if no person did.
const (
	ByRule   = "rule"   // a rule's threshold was reached
	ByKernel = "kernel" // found in the kernel's tables at start; the journal had not taken it before a crash
)

// Left is how long b still lasts at the time now: 0 if it has ended, Forever if it lasts until it is lifted.
func (b Ban) Left(now time.Time) time.Duration {
	if b.Until.IsZero() {
		return Forever
	}
	return max(0, b.Until.Sub(now))
}

// Forever is the length of a ban that lasts until it is lifted.
const Forever = time.Duration(1<<63 - 1)

// Past is a ban that has ended.
type Past struct {
	Ban
	Ended   time.Time `json:"ended"`
	EndedBy string    `json:"ended_by"` // the person who lifted it, or "expiry"
	EndNote string    `json:"end_note,omitempty"`
}

// Held is a source that is on hold, by address and port.
type Held struct {
	Source   netip.AddrPort `json:"source"`
	Reason   verdict.Reason `json:"reason"`
	Until    time.Time      `json:"until"`
	Verified bool           `json:"verified,omitempty"` // it proved its source; it is held since others behind its address are good
	Rule     string         `json:"rule,omitempty"`     // whose threshold it reached
	AOR      string         `json:"aor,omitempty"`      // the account that was tried too often from there, over this flow at last
}

// Explanation is all that the guard knows about an address.
type Explanation struct {
	Addr       netip.Addr      `json:"addr"`
	Verdict    verdict.Verdict `json:"-"`
	Outcome    string          `json:"outcome"`                // "pass" or "drop: reason"
	Allowed    string          `json:"allowed_by,omitempty"`   // allow-list entry that covers it, as "trunks 192.0.2.0/24"
	Listed     string          `json:"listed_by,omitempty"`    // list that bans it, as "list drop"
	Noted      string          `json:"noted_by,omitempty"`     // rule or list that would ban it and only counts
	Limited    time.Time       `json:"limited_until,omitzero"` // until when it is held to a strict rate instead of a ban
	Bans       []Ban           `json:"bans,omitempty"`         // those in force that cover it, most specific first
	Held       []Held          `json:"held,omitempty"`         // its ports that are on hold
	Scores     []Score         `json:"scores,omitempty"`       // where it is near a threshold
	Evidence   []Evidence      `json:"evidence,omitempty"`     // its last offences, oldest first
	History    []Past          `json:"history,omitempty"`      // earlier bans, newest first
	FlowScores []Score         `json:"flow_scores,omitempty"`  // where single flows and accounts behind its address are near one, highest first
	Repeat     int             `json:"repeat,omitempty"`       // earlier bans that make the next one longer
	Known      int             `json:"known,omitempty"`        // good registrations that live behind it
}

// EventKind is what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventBan     EventKind = "ban"     // a ban began or was changed
	EventUnban   EventKind = "unban"   // a person lifted a ban
	EventExpire  EventKind = "expire"  // a ban ended by itself
	EventHold    EventKind = "hold"    // an address and port was put on hold
	EventMonitor EventKind = "monitor" // a rule in monitor mode would have banned or held a source
	EventBreaker EventKind = "breaker" // the circuit breaker of the rules opened or closed
	EventDrop    EventKind = "drop"    // a sample of what was dropped
)

// Event is something that happened, as Watch tells it.
type Event struct {
	At      time.Time     `json:"at"`
	Kind    EventKind     `json:"kind"`
	Ban     *Ban          `json:"ban,omitempty"`     // ban, unban, expire; monitor: what would have been
	By      string        `json:"by,omitempty"`      // unban: who
	Note    string        `json:"note,omitempty"`    // unban: why
	Held    *Held         `json:"held,omitempty"`    // hold
	Drop    *Drop         `json:"drop,omitempty"`    // drop
	Breaker *BreakerState `json:"breaker,omitempty"` // breaker
	Lost    int           `json:"lost,omitempty"`    // events that this watcher missed before this one, since it was too slow
}

// Drop is a sample of what was dropped, or, in monitor mode, would have been.
type Drop struct {
	Where     string         `json:"where"` // "kernel" or "user-space"
	Source    netip.Addr     `json:"source"`
	Port      uint16         `json:"port,omitempty"` // user space only
	Reason    verdict.Reason `json:"reason"`
	Monitored bool           `json:"monitored,omitempty"` // it passed all the same: monitor mode
	Interface string         `json:"interface,omitempty"` // network interface; kernel only
	Length    int            `json:"length,omitempty"`    // of the frame in bytes; kernel only
	Head      []byte         `json:"head,omitempty"`      // its first bytes, at most 128, for Capture 1,536; kernel only
	List      string         `json:"list,omitempty"`      // the list or rule behind a ban; kernel only
}

// Mode is where bans are enforced.
type Mode string

// The modes, from the best to the dearest. User space is checked in each of them.
const (
	ModeNative    Mode = "native"     // XDP in the driver, on all interfaces
	ModeGeneric   Mode = "generic"    // XDP on all interfaces, on some in the kernel's generic path
	ModeMixed     Mode = "mixed"      // XDP on some interfaces, user space on the others
	ModeUserSpace Mode = "user-space" // no kernel filter
)

// InterfaceMode is how one network interface is filtered.
type InterfaceMode struct {
	Name string `json:"name"`
	Mode Mode   `json:"mode"`           // native, generic or user-space
	Note string `json:"note,omitempty"` // why it is not better
}

// Count is a counter of packets.
type Count struct {
	Where   string         `json:"where"`  // "kernel" or "user-space"
	Family  string         `json:"family"` // "ipv4", "ipv6" or "other"
	Reason  verdict.Reason `json:"reason"` // verdict.None: nothing was against it
	Action  string         `json:"action"` // "pass", "drop", "monitor" (would drop), "allow" (a ban, but on the allow list)
	Packets uint64         `json:"packets"`
	Bytes   uint64         `json:"bytes"` // kernel only
}

// ListCount is how many packets a rule or list has ended in the kernel filter, or would have.
type ListCount struct {
	Name      string `json:"name"` // "persons", "rule NAME" or "list NAME"
	Dropped   uint64 `json:"dropped"`
	Monitored uint64 `json:"monitored"`
}

// FeedStats is a list in force.
type FeedStats struct {
	Name    string    `json:"name"`
	Does    string    `json:"does"` // "ban", "monitor" or "allow"
	Entries int       `json:"entries"`
	Refused int       `json:"refused"` // entries that can't be banned
	At      time.Time `json:"at"`      // when it came into force
}

// Stats is the guard in numbers.
type Stats struct {
	Mode           Mode                      `json:"mode"`
	Why            string                    `json:"why,omitempty"`
	Interfaces     []InterfaceMode           `json:"interfaces,omitempty"`
	Bans           int                       `json:"bans"`
	Holds          int                       `json:"holds"`
	Scored         int                       `json:"scored"`       // sources with offences that still count
	Allowed        int                       `json:"allowed"`      // entries of the allow list
	Offences       uint64                    `json:"offences"`     // since start
	BansMade       uint64                    `json:"bans_made"`    // since start, by rules and persons
	BansRefused    uint64                    `json:"bans_refused"` // by rules, since the table was full
	Monitored      uint64                    `json:"monitored"`    // what rules in monitor mode would have banned or held
	Limited        uint64                    `json:"limited"`      // rate limits instead of bans, while the circuit breaker was open
	Breaker        BreakerState              `json:"breaker"`
	Known          int                       `json:"known"`                        // good registrations
	KnownSources   int                       `json:"known_sources"`                // sources behind which they live
	KnownEvicted   uint64                    `json:"known_evicted"`                // registrations forgotten since the table was full
	Recorded       uint64                    `json:"recorded"`                     // offences written to the record
	RecordsDropped uint64                    `json:"records_dropped"`              // not recorded, since the disk was behind
	RecordFaults   uint64                    `json:"record_faults"`                // failed writes of the record
	ScoresEvicted  uint64                    `json:"scores_evicted"`               // sources forgotten since the table was full
	HoldsEvicted   uint64                    `json:"holds_evicted"`                // holds ended early since the table was full
	JournalFaults  uint64                    `json:"journal_faults"`               // failed writes; the bans are in force all the same
	KernelFaults   uint64                    `json:"kernel_faults"`                // failed changes of the kernel's tables; user space holds them
	LimitedNow     int                       `json:"limited_now"`                  // sources held to a strict rate
	MediaInKernel  int                       `json:"media_in_kernel"`              // streams of plain RTP that the kernel sends on
	MediaWaiting   int                       `json:"media_waiting"`                // streams that it may send on and can't, or not yet
	Unguarded      string                    `json:"unguarded,omitempty"`          // why media ports are not closed in the kernel
	SamplesLost    uint64                    `json:"samples_lost"`                 // samples that the kernel had no room for
	TableBytes     int                       `json:"table_bytes"`                  // size of the tables of hosts
	OffencesBy     map[verdict.Reason]uint64 `json:"offences_by_reason,omitempty"` // since start
	Counts         []Count                   `json:"counts,omitempty"`
	Lists          []ListCount               `json:"lists,omitempty"`
	Feeds          []FeedStats               `json:"feeds,omitempty"`
}

// Errors that tell the caller what to do differently.
var (
	ErrAllowed   = errors.New("address is on the allow list")
	ErrNoBan     = errors.New("no such ban")
	ErrFull      = errors.New("table of bans is full")
	ErrTooWide   = errors.New("network is too wide to ban")
	ErrBadPrefix = errors.New("no address that can be banned")
	ErrClosed    = errors.New("guard is closed")
)
