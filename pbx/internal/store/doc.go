// Package store is what the exchange knows: extensions, bindings, trunks and calls, served from memory (go-memdb) and
// kept by a change log (shared/state).
//
// Readers never wait: they see the last committed transaction. Writers hand their change to one goroutine, which puts
// all that has come in meanwhile into one transaction, commits it, appends the changed rows to the log and tells each
// writer. When a put returns, readers see it; when its channel closes, it is on disk.
//
//	put ─► queue ─► one transaction for many ─► commit ─► readers
//	                                               └────► log ─► durable
//
// There is no clock and no random in here: times are arguments. Trunks come from the configuration and are not logged.
//
// Values in the log are JSON with a version, and a row read and put again keeps fields it does not know. JSON and not
// protobuf, for now: one program writes and reads them, an operator can read them with any tool, encoding is a twentieth of what
// the transaction costs, and no generator or schema stands between a row and its meaning. The version field leaves the
// door open: a reader refuses what is newer than it can understand, and says so.
package store
