package guard

import (
	"slices"

	"brickhouse/shared/verdict"
)

// offences are the reasons that a rule may weigh: what the transport, the sanitizer and the exchange say of a sender. A name that
// is not among them is a slip in the configuration and would never count.
var offences = []verdict.Reason{
	verdict.Oversize, verdict.ConnectionLimit, verdict.HandshakeFailed, verdict.CertificateRefused, verdict.RequestTimeout, verdict.IdleTimeout,
	verdict.BadFraming, verdict.QueueFull, verdict.TransportFailure, verdict.NotSIP,

	verdict.ControlBytes, verdict.BadUTF8, verdict.BadStartLine, verdict.BadVersion, verdict.BadHeader, verdict.BadURI,
	verdict.EmbeddedHeaders, verdict.TooManyHeaders, verdict.HeaderTooLong, verdict.DuplicateHeader, verdict.MissingHeader,
	verdict.BadNumber, verdict.CSeqMismatch, verdict.BadContentLength, verdict.BadBody, verdict.UnsupportedBody,
	verdict.MethodNotAllowed, verdict.ExtensionRequired, verdict.TooManyHops, verdict.LoopDetected, verdict.UnknownDomain,
	verdict.UnknownDialog, verdict.StrayResponse, verdict.StrayACK, verdict.UnknownPeer,

	verdict.BadCredentials, verdict.UnknownUser, verdict.MalformedMessage, verdict.NotAllowed, verdict.ScannerSignature,
	verdict.MediaStranger,
}

func isOffence(r verdict.Reason) bool { return slices.Contains(offences, r) }
