// Package score decides what offences lead to: nothing, a hold of one flow, a ban of an address, or, while too many bans are made
// at once, a rate limit. It is a pure room: no network, no files, no clock; time and what must be asked are arguments. Package
// guard calls it and puts into force what it decides.
//
// How an offence counts:
//
//   - A verified source is scored by its site: an IPv4 host, an IPv6 /64. A rule's threshold within its window makes a ban, longer
//     for those that come back, up to the rule's ceiling.
//   - An unverified source, whose address may be forged, is scored by its address and port, and earns a short hold there. It never
//     earns a ban.
//   - While good registrations live behind a verified source (an office behind one NAT), its offences are held against the flow,
//     which is address and port, and against the account that was tried there. Either reaching the threshold holds that flow. The
//     address is banned only at the threshold times the rule's office factor. An account is never locked out: it only decides
//     which flows are held, or else anybody could lock out anybody.
//   - Scanner signatures add to other offences. By themselves they never reach a threshold, whatever their number.
//
// When a ban would be one too many a minute, or would hit one too many of the sources that are known to be good, the circuit breaker
// opens: until it closes, rules limit instead of banning.
//
// Replay runs recorded offences through two configurations, and tells who would have been banned before and after.
//
// An Engine, Registrations and History are for one goroutine at a time; all of them are bounded.
package score
