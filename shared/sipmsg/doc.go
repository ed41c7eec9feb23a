// Package sipmsg is the form of SIP messages: what may be read, how it is read, and how it is written. It is pure: bytes
// and messages go in, values and verdicts come out; no socket and no clock.
//
// The message types are sipgo's (*sip.Request, *sip.Response); reading and writing are ours, since a border must read
// strictly once and write only what cannot be misread. The road of a foreign message is
//
//	ScreenRaw  bytes before anything is built: size, controls, lines, counts, Content-Length
//	Parse      bytes to message, by the grammar of RFC 3261 §25.1 and nothing wider
//	Screen     the message: must-haves, ranges, agreement between its parts
//
// and the road out is Bytes, which no value in a message can make emit a line break, a second Content-Length or an
// unclosed quote.
//
// # How values stand in a message
//
// Parse and the helpers of this package keep these conventions, and Bytes holds them by force:
//
//   - Header names are canonical ("Supported", never "k"); lists of Via, Contact, Route and Record-Route are split, one
//     header per element.
//   - Parameter names are lower case. A parameter's value stands in its wire form: a quoted-string keeps its quotes. Param
//     gives the plain text.
//   - DisplayName is the inside of a quoted-string, quotes and backslashes escaped. DisplayText gives the plain text,
//     CleanDisplayName makes the inside from plain text.
//   - User, Password, parameters and headers of a URI keep their %-escapes.
//   - Uri.Host keeps the brackets of an IPv6 reference, ViaHeader.Host does not (as sipgo has it).
package sipmsg
