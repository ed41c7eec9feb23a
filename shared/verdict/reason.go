package verdict

// Reason names why something was dropped, rejected, scored or ended. Lower case, words joined by "-": it is used as it
// stands as a metric label, in logs, in CDRs and in command output, so a published name never changes its meaning.
type Reason string

// None is the reason of what passes.
const None Reason = ""

// Reasons of the kernel filter, and not-sip. Their names are those of bpf/xdp/verdict.h; a test in sbc/internal/guard holds both
// tables together.
const (
	HostBanned     Reason = "host-banned"     // source address is banned
	NetworkBanned  Reason = "network-banned"  // source network is banned
	BadPacket      Reason = "bad-packet"      // headers below SIP can't be parsed
	TooManyTags    Reason = "too-many-tags"   // more than two VLAN tags
	MartianSource  Reason = "martian-source"  // an address that nobody can send from
	Fragment       Reason = "fragment"        // an IP fragment after the first, by policy
	ExtensionChain Reason = "extension-chain" // more IPv6 extension headers than a sender needs
	PortClosed     Reason = "port-closed"     // a media port that no call uses
	SourceRate     Reason = "source-rate"     // more SIP datagrams than its source may send
	StrangersRate  Reason = "strangers-rate"  // more SIP datagrams than all strangers together may send
	ConnectionRate Reason = "connection-rate" // more new TCP connections than its source may make
)

// Reasons of the transport: sockets, connections and framing.
const (
	Oversize           Reason = "oversize"            // message larger than the interface allows
	ConnectionLimit    Reason = "connection-limit"    // too many connections, of one source or in all
	HandshakeFailed    Reason = "handshake-failed"    // TLS handshake failed or took too long
	CertificateRefused Reason = "certificate-refused" // peer does not take our certificate
	UpgradeFailed      Reason = "upgrade-failed"      // HTTP request that asks for no WebSocket of ours
	OriginRefused      Reason = "origin-refused"      // WebSocket of a page that is not among the allowed origins
	RequestTimeout     Reason = "request-timeout"     // no complete message within the deadline
	IdleTimeout        Reason = "idle-timeout"        // connection without traffic
	BadFraming         Reason = "bad-framing"         // stream without a usable Content-Length
	QueueFull          Reason = "queue-full"          // peer does not read what we send
	TransportFailure   Reason = "transport-failure"   // send failed or connection ended
	Amplification      Reason = "amplification"       // answer would be more than an unproven UDP source sent
	NotSIP             Reason = "not-sip"             // first bytes are neither a request nor a response
)

// Reasons of the sanitizer: form and content of a message.
const (
	ControlBytes      Reason = "control-bytes"      // NUL, bare CR, bare LF or another control byte
	BadUTF8           Reason = "bad-utf8"           // not valid UTF-8
	BadStartLine      Reason = "bad-start-line"     // request or status line is malformed
	BadVersion        Reason = "bad-version"        // not SIP/2.0
	BadHeader         Reason = "bad-header"         // header line is malformed
	BadURI            Reason = "bad-uri"            // URI is malformed or of an unknown scheme
	EmbeddedHeaders   Reason = "embedded-headers"   // URI carries headers (RFC 3261 §19.1.1)
	TooManyHeaders    Reason = "too-many-headers"   // more header lines than allowed
	HeaderTooLong     Reason = "header-too-long"    // one header line is longer than allowed
	DuplicateHeader   Reason = "duplicate-header"   // a header that must be single stands twice
	MissingHeader     Reason = "missing-header"     // a header that RFC 3261 §8.1.1 requires is missing
	BadNumber         Reason = "bad-number"         // a number is out of its range
	CSeqMismatch      Reason = "cseq-mismatch"      // CSeq method differs from the request's
	BadContentLength  Reason = "bad-content-length" // Content-Length differs from the body
	BadBody           Reason = "bad-body"           // body can't be parsed or is not allowed
	BodyLimits        Reason = "body-limits"        // session description or multipart body with more lines, attributes or parts than allowed
	UnsupportedBody   Reason = "unsupported-body"   // media type is not accepted
	MethodNotAllowed  Reason = "method-not-allowed" // method is not served here
	ExtensionRequired Reason = "extension-required" // Require names an extension we don't have
	TooManyHops       Reason = "too-many-hops"      // Max-Forwards is used up
	LoopDetected      Reason = "loop-detected"      // the request was here before
	UnknownDomain     Reason = "unknown-domain"     // a domain that we don't serve
	UnknownDialog     Reason = "unknown-dialog"     // no such call or transaction
	StrayResponse     Reason = "stray-response"     // response to no request of ours
	StrayACK          Reason = "stray-ack"          // ACK for no call of ours
	UnknownPeer       Reason = "unknown-peer"       // source is no trunk and no registered phone
	Overload          Reason = "overload"           // more load than this node takes
	Internal          Reason = "internal-error"     // a fault of ours; see the log
)

// Reasons that the guard scores.
const (
	BadCredentials   Reason = "bad-credentials"   // wrong password
	UnknownUser      Reason = "unknown-user"      // no such account
	MalformedMessage Reason = "malformed-message" // any of the sanitizer's reasons
	ManualBan        Reason = "manual"            // a person banned it
	ScannerSignature Reason = "scanner-signature" // User-Agent of a known scanner; a hint, never enough alone
	SourceUnverified Reason = "source-unverified" // held for a short time, never banned: the address may be forged
	SourceHeld       Reason = "source-held"       // this address and port is on hold
)

// Reasons of calls and media.
const (
	SecureMediaRequired Reason = "secure-media-required" // RTP/AVP where SRTP is mandatory
	NoCommonSuite       Reason = "no-common-crypto"      // no SRTP suite in common
	NoCommonMedia       Reason = "no-common-media"       // nothing in the offer that we relay
	PortsExhausted      Reason = "ports-exhausted"       // no media port is free
	MediaTimeout        Reason = "media-timeout"         // no media for the configured silence
	FingerprintMismatch Reason = "fingerprint-mismatch"  // certificate in DTLS is not the one that the description promised
	HandshakeTimeout    Reason = "dtls-timeout"          // no DTLS handshake came to an end in time
	ICEFailed           Reason = "ice-failed"            // no authentic connectivity check came in time
	ConsentLost         Reason = "consent-lost"          // the phone's checks ceased (RFC 7675)
	NormalClearing      Reason = "normal-clearing"       // a party hung up
	CallCancelled       Reason = "call-cancelled"        // caller gave up
	NoACK               Reason = "no-ack"                // our answer was never acknowledged
	NoPRACK             Reason = "no-prack"              // our provisional response was never confirmed
	SessionExpired      Reason = "session-expired"       // nobody refreshed the session in time
	IntervalTooSmall    Reason = "interval-too-small"    // a session interval below ours was asked for
	Challenged          Reason = "challenged"            // credentials were asked for
	TargetFailed        Reason = "target-failed"         // the far side refused for a reason of its own
	Redirected          Reason = "redirected"            // the far side named somebody else
	Busy                Reason = "busy"                  // callee is busy
	NoAnswer            Reason = "no-answer"             // nobody answered in time
	Declined            Reason = "declined"              // callee declined
	UnknownNumber       Reason = "unknown-number"        // the dialplan knows no such number
	NotRegistered       Reason = "not-registered"        // the callee has no binding
	NotAllowed          Reason = "not-allowed"           // the caller may not call this
	TrunkFailed         Reason = "trunk-failed"          // no gateway of the trunk took the call
	TrunkDown           Reason = "trunk-down"            // no gateway of the trunk is alive
	TrunkDisabled       Reason = "trunk-disabled"        // a person has switched the trunk off
	ExchangeUnreachable Reason = "exchange-unreachable"  // the core link is down
	PeerLost            Reason = "peer-lost"             // a party does not answer within the call any more
	TransferRefused     Reason = "transfer-refused"      // this side may not transfer calls
	Transferred         Reason = "transferred"           // a transfer took the other party elsewhere
	SystemFailure       Reason = "system-failure"        // cut by a crash; closed at the next start
	Shutdown            Reason = "shutdown"              // ended because we stop
)

// Reasons of event subscriptions and publications.
const (
	BadEvent          Reason = "bad-event"          // an event package that is not served here
	SubscriptionLimit Reason = "subscription-limit" // one subscription or publication too many, of an account, a source or in all
	BriefInterval     Reason = "brief-interval"     // asked for a shorter time than is worth it
	StalePublication  Reason = "stale-publication"  // names a state that was replaced or has expired
)

// Reasons of calls that are one too many (sbc/internal/caps).
const (
	CallRate       Reason = "call-rate"        // calls a second, in all
	TrunkCalls     Reason = "trunk-calls"      // calls of a trunk at a time
	TrunkRate      Reason = "trunk-rate"       // calls of a trunk a second
	AccountCalls   Reason = "account-calls"    // calls of an account at a time
	AccountRate    Reason = "account-rate"     // calls of an account a second
	SourceCalls    Reason = "source-calls"     // calls of a source address at a time
	SourceCallRate Reason = "source-call-rate" // calls of a source address a second
)

// Reasons why a call through a trunk is denied: rights, caps, and what follows of them.
const (
	NumberUnreadable Reason = "number-unreadable"  // an external number that nobody has, or that can't be understood
	CountryDenied    Reason = "country-denied"     // a country that the caller may not call
	PremiumDenied    Reason = "premium-denied"     // a premium-rate number
	SharedCostDenied Reason = "shared-cost-denied" // a shared-cost or personal number
	SatelliteDenied  Reason = "satellite-denied"   // a satellite phone
	NetworkDenied    Reason = "network-denied"     // an international network that belongs to no country
	ConcurrentCap    Reason = "concurrent-cap"     // too many external calls at a time
	MinuteCap        Reason = "minute-cap"         // too many external calls within a minute
	HourCap          Reason = "hour-cap"           // too many external calls within an hour
	DayCap           Reason = "day-cap"            // too many external calls within a day
	TalkCap          Reason = "talk-cap"           // too many minutes on external calls within a day
	ExtensionBlocked Reason = "extension-blocked"  // blocked for external calls until an operator lifts it
)

// Reasons of media packets that are not relayed.
const (
	MediaEarly      Reason = "media-early"       // no answer yet
	MediaLate       Reason = "media-late"        // the call is over
	MediaStranger   Reason = "media-stranger"    // source is not the one that SDP named or that was latched
	MediaMalformed  Reason = "media-malformed"   // neither RTP nor RTCP
	MediaSTUN       Reason = "media-stun"        // STUN that is not for us or not authentic; phones keep a NAT open with it
	MediaDTLS       Reason = "media-dtls"        // DTLS from a source that nothing has proved, or where none is wanted
	MediaType       Reason = "media-type"        // payload type was not negotiated
	MediaAuthFailed Reason = "media-auth-failed" // SRTP tag is wrong
	MediaReplayed   Reason = "media-replayed"    // SRTP packet was here before or is too old
	MediaRepeated   Reason = "media-repeated"    // its number was sent before under the same key
	MediaUnwanted   Reason = "media-unwanted"    // the other side wants none now
	MediaSendFailed Reason = "media-send-failed" // the system did not send it
)
