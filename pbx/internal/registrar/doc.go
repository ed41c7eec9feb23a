// Package registrar authenticates who sends a request (Authenticator, RFC 3261 §22, RFC 7616, RFC 8760) and keeps
// what REGISTER says in the store (Registrar, RFC 3261 §10.3, RFC 3327, RFC 5626 §6).
//
// It knows no socket and no clock. A request goes in with its origin and the time; a response, or the right to go on,
// comes out, with what the border should know about the sender.
//
// A stranger learns nothing about accounts: an unknown user and a wrong password get the same answer, made by the same
// steps; the algorithms that an unknown user is asked for are those of some real account, always the same for that
// name.
package registrar
