// Package guard decides who may talk to the border at all. It scores offences by source, turns them into bans, keeps the bans
// in a journal and in the kernel filter, and answers why an address is banned. It is the only importer of package bpf.
//
// What it does:
//
//   - An offence of a verified source counts against its address (IPv4: the host; IPv6: the /64). Enough of them within a rule's
//     window make a ban, a longer one for a source that was banned before. Package score decides; the guard obeys.
//   - An offence of an unverified source, whose address may be forged, counts against its address and port only, and earns a
//     short hold there, in user space. Nobody gets an address banned by forging it.
//   - While good registrations live behind an address, as behind an office's NAT, its offences put single flows on hold; the address
//     is banned by a rule only at a multiple of the threshold.
//   - When rules ban too many at once to be right, a circuit breaker opens, with an alarm: they limit rates instead for a while.
//   - The allow list wins always. It is written before any ban, in the kernel too.
//   - Bans are in force in the kernel (XDP) where that is possible and in user space everywhere; Mode says which, and why. They
//     end by themselves, in the kernel also while no program runs.
//   - Bans and their evidence are in an append-only journal: what was told is there after a crash or a reboot.
//   - Offences are recorded in a file of bounded size, so that Replay can tell whom other thresholds would have banned.
//
// The journal is the truth about bans. An entry that only the kernel knows, because the program was killed before the journal
// took it, is adopted at the next start, unless the journal's last word on it is that it was lifted.
//
// Scores, holds and known registrations are in memory only: after a restart they begin anew. Who is a repeater is read from the
// journal.
package guard
