package bpf

import "strconv"

// Reason is why the program decided as it did, as numbered in xdp/verdict.h.
type Reason uint8

// The reasons.
const (
	ReasonNone           Reason = iota // nothing was against the packet
	ReasonHostBanned                   // its source, or the source's IPv6 /64, is banned
	ReasonNetworkBanned                // its source's network is banned
	ReasonBadPacket                    // link or IP header can't be parsed
	ReasonTooManyTags                  // more than two VLAN tags
	ReasonMartianSource                // a source that nobody can send from
	ReasonFragment                     // a fragment after the first, by policy
	ReasonExtensionChain               // more IPv6 extension headers than a sender needs
	ReasonPortClosed                   // a media port that no call uses
	ReasonNotSIP                       // first bytes on a SIP port that no phone sends
	ReasonSourceRate                   // more SIP datagrams than its source may send
	ReasonStrangersRate                // more SIP datagrams than all strangers together may send
	ReasonConnectionRate               // more new TCP connections than its source may make
	reasons                            // how many there are
)

var reasonWords = [reasons]string{
	"", "host-banned", "network-banned", "bad-packet", "too-many-tags", "martian-source", "fragment", "extension-chain", "port-closed", "not-sip",
	"source-rate", "strangers-rate", "connection-rate",
}

// Reasons returns all reasons, ReasonNone first.
func Reasons() []Reason {
	all := make([]Reason, reasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// String is the word for r as logs and metrics show it; empty for ReasonNone.
func (r Reason) String() string {
	if r < reasons {
		return reasonWords[r]
	}
	return "reason-" + strconv.Itoa(int(r))
}

// Action is what the program did with a packet.
type Action uint8

// The actions.
const (
	ActionPass    Action = iota // nothing was against it
	ActionDrop                  // dropped
	ActionMonitor               // would be dropped, but passed: monitor mode
	ActionAllow                 // its source is on the never-ban list; nothing more was asked
	ActionForward               // media of a call, sent on to the other side
	actions                     // how many there are
)

var actionWords = [actions]string{"pass", "drop", "monitor", "allow", "forward"}

// String is the word for a as metrics show it.
func (a Action) String() string {
	if a < actions {
		return actionWords[a]
	}
	return "action-" + strconv.Itoa(int(a))
}

// Family is which protocol a packet was.
type Family uint8

// The families.
const (
	FamilyOther Family = iota // neither IPv4 nor IPv6, or not parsed as far
	FamilyIPv4
	FamilyIPv6
	families // how many there are
)

var familyWords = [families]string{"other", "ipv4", "ipv6"}

// String is the word for f as metrics show it.
func (f Family) String() string {
	if f < families {
		return familyWords[f]
	}
	return "family-" + strconv.Itoa(int(f))
}
