package sipmsg

import "strings"

// compact holds the compact form of each header that has one, by its single letter (RFC 3261 §7.3.3 and the IANA
// registry of header fields).
func compact(c byte) string {
	switch c | 0x20 {
	case 'a':
		return "Accept-Contact"
	case 'b':
		return "Referred-By"
	case 'c':
		return "Content-Type"
	case 'd':
		return "Request-Disposition"
	case 'e':
		return "Content-Encoding"
	case 'f':
		return "From"
	case 'i':
		return "Call-ID"
	case 'j':
		return "Reject-Contact"
	case 'k':
		return "Supported"
	case 'l':
		return "Content-Length"
	case 'm':
		return "Contact"
	case 'n':
		return "Identity-Info"
	case 'o':
		return "Event"
	case 'r':
		return "Refer-To"
	case 's':
		return "Subject"
	case 't':
		return "To"
	case 'u':
		return "Allow-Events"
	case 'v':
		return "Via"
	case 'x':
		return "Session-Expires"
	case 'y':
		return "Identity"
	}
	return ""
}

// shape tells how a header may stand in a message.
type shape uint8

const (
	shapeOpen   shape = iota // may stand several times; commas mean nothing to us
	shapeList                // comma list; lines may be joined or split (RFC 3261 §7.3.1)
	shapeSingle              // must stand at most once
)

// known holds the canonical spelling and the shape of the headers we have a use for, by lower-case name.
// It is a constant table.
var known = makeKnown()

type knownHeader struct {
	name  string
	shape shape
	index uint8 // its place in counts
}

// maxKnown is the room for known headers; a test holds it.
const maxKnown = 160

func makeKnown() map[string]knownHeader {
	m := make(map[string]knownHeader)
	add := func(s shape, names ...string) {
		for _, name := range names {
			m[strings.ToLower(name)] = knownHeader{name, s, uint8(len(m))}
		}
	}
	add(shapeSingle, "Call-ID", "Content-Disposition", "Content-Length", "Content-Type", "CSeq", "Date", "Event", "Expires",
		"Flow-Timer", "From", "Identity", "Max-Forwards", "MIME-Version", "Min-Expires", "Min-SE", "Organization",
		"P-Charging-Vector", "Priority", "Privacy", "RAck", "Refer-To", "Referred-By", "Replaces", "Reply-To", "Retry-After",
		"RSeq", "Server", "Session-Expires", "SIP-ETag", "SIP-If-Match", "Subject", "Subscription-State", "Target-Dialog",
		"Timestamp", "To", "User-Agent", "Join", "Info-Package", "Refer-Sub")
	add(shapeList, "Accept", "Accept-Contact", "Accept-Encoding", "Accept-Language", "Accept-Resource-Priority", "Alert-Info",
		"Allow", "Allow-Events", "Call-Info", "Contact", "Content-Encoding", "Content-Language", "Diversion", "Error-Info",
		"Geolocation", "History-Info", "In-Reply-To", "P-Asserted-Identity", "P-Associated-URI", "P-Called-Party-ID",
		"P-Preferred-Identity", "P-Visited-Network-ID", "Path", "Permission-Missing", "Proxy-Require", "Reason",
		"Record-Route", "Recv-Info", "Reject-Contact", "Request-Disposition", "Require", "Resource-Priority", "Route",
		"Security-Client", "Security-Server", "Security-Verify", "Service-Route", "Supported", "Trigger-Consent",
		"Unsupported", "Via", "Warning")
	// RFC 3261 §7.3.1: these four may stand several times but must not be joined, their own grammar has commas.
	add(shapeOpen, "Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info",
		"Identity-Info", "P-Access-Network-Info")
	return m
}

// Canonical returns the spelling of a header's name that this package keeps everywhere: "k" and "SUPPORTED" give
// "Supported", "call-id" gives "Call-ID". A name that is not known gets a capital at each word.
func Canonical(name string) string {
	if isCanonical(name) {
		return name
	}
	name = trim(name)
	if len(name) == 1 && is(name[0], clAlpha) {
		if full := compact(name[0]); full != "" {
			return full
		}
	}
	if k, ok := lookup(name); ok {
		return k.name
	}
	return titled(name)
}

// isCanonical reports whether name is the canonical spelling of one of the headers that most messages have. It is there for speed
// alone: the comparison of a few strings by their length costs less than looking up one.
func isCanonical(name string) bool {
	switch name {
	case "Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Contact", "Content-Type", "Content-Length", "Allow", "User-Agent",
		"Route", "Record-Route", "Supported", "Expires", "Authorization", "Proxy-Authorization", "Require", "Content-Disposition",
		"Accept", "Server", "Reason", "Timestamp", "Content-Encoding", "Proxy-Require", "Privacy", "Retry-After":
		return true
	}
	return false
}

// lookup finds a header by its long name in any case, without allocating.
func lookup[T string | []byte](name T) (knownHeader, bool) {
	var buf [32]byte
	if len(name) > len(buf) {
		return knownHeader{}, false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		buf[i] = c
	}
	k, ok := known[string(buf[:len(name)])]
	return k, ok
}

// lookupBytes finds a header by its long or compact name.
func lookupBytes(name []byte) (knownHeader, bool) {
	if len(name) == 1 && is(name[0], clAlpha) {
		if full := compact(name[0]); full != "" {
			return lookup(full)
		}
	}
	return lookup(name)
}

// titled gives each word a capital and leaves acronyms like "X-CID" small: one spelling for one name.
func titled(name string) string {
	b := []byte(name)
	up := true
	for i, c := range b {
		switch {
		case up && 'a' <= c && c <= 'z':
			b[i] = c - 0x20
		case !up && 'A' <= c && c <= 'Z':
			b[i] = c | 0x20
		}
		up = c == '-'
	}
	return string(b)
}

// shapeOf returns the shape of a header by its canonical name.
func shapeOf(canonical string) shape {
	k, _ := lookup(canonical)
	return k.shape
}
