// Package guard decides who may talk to the border at all. It scores offences by source, turns them into bans, keeps the bans
// in a journal and in the kernel filter, and answers why an address is banned. It is the only importer of package bpf.
//
// What it does:
//
//   - An offence of a verified source counts against its address (IPv4: the host; IPv6: the /64). Enough of them within a rule's
//     window make a ban of a fixed length.
//   - An offence of an unverified source, whose address may be forged, counts against its address and port only, and earns a
//     short hold there, in user space. Nobody gets an address banned by forging it.
//   - The allow list wins always. It is written before any ban, in the kernel too.
//   - Bans are in force in the kernel (XDP) where that is possible and in user space everywhere; Mode says which, and why. They
//     end by themselves, in the kernel also while no program runs.
//   - Bans and their evidence are in an append-only journal: what was told is there after a crash or a reboot.
//
// What it does not do yet: growth for repeaters, circuit breaker, lists and feeds, rate limits.
//
// The journal is the truth about bans. An entry that only the kernel knows, because the program was killed before the journal
// took it, is adopted at the next start, unless the journal's last word on it is that it was lifted.
package guard
