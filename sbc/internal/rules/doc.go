// Package rules decides, for each trunk and each way, what numbers and identities a call's first INVITE carries. Message
// in, message out: it is pure.
//
// What happens to a message, in this order, each step seeing what the one before left:
//
//  1. trust        from a trunk that is not trusted, P-Asserted-Identity, P-Preferred-Identity, Diversion and History-Info
//     are taken off (RFC 3325 §5)
//  2. numbers      each number is read as its country writes it and written in the form of the other side
//  3. identity     who calls: From, P-Asserted-Identity, P-Preferred-Identity, Privacy (RFC 3323, RFC 3325)
//  4. redirection  Diversion (RFC 5806) and History-Info (RFC 7044) become the one that the other side reads (RFC 7544)
//  5. changes      the operator's own, in the order in which they stand in the file
//  6. form         what a change made is read again, strictly: a number that is none any more ends the call (request), makes
//     the caller anonymous (From), or leaves the header out
//
// Hosts are not the operator's: every address gets the host that the other side knows. What else of a message crosses the
// border is for package sanitize to say; a header that a change sets or rewrites crosses too.
package rules
