// Package table holds what the edge filter knows about sources, as flat arrays of cache lines: the kernel program (bpf/xdp) reads
// them where they are maps that are mapped into our memory, and Set.Lookup reads the same arrays in user space. One writer changes
// them, word by word, so that no reader misses an entry that was there before and after a change.
//
// What stands in them is compiled. Where several claims cover an address (the never-ban list, bans by rules and persons, lists from
// files, registrations), the writer decides which wins, so that a packet pays for one look-up only:
//
//   - the never-ban list wins over everything;
//   - a ban that is enforced wins over a limit, that over a good registration, that over a ban in monitor mode;
//   - of two of the same rank the one that lasts longer wins.
//
// IPv4 hosts and IPv6 entries stand in buckets of one cache line, each in one of two buckets, the first unless that is full. IPv4
// networks of /24 and shorter are painted into an array with one rule number for each /24 (DIR-24); longer ones stand as their
// hosts. IPv6 networks are rounded up to a length of 32, 36, … 64 and stand as up to 8 entries (below /32: as their /32s). Hosts
// and lengths above 64 are looked for only where the entry of the /64 says so.
//
// Bucket tables and networks stand in generations: Rebuild makes all of them anew and changes over with one store. Presence filters
// (two bits for each IPv4 /24, one for each hash of an IPv6 /48 and /32) spare honest packets the tables; they may hold stale bits
// until the next Rebuild, which cost a look-up and change nothing.
//
// The package knows neither kernel nor clock. It imports nothing of this repository.
package table
