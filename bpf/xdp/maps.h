/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, their keys and values. All are pinned, so that bans hold while no program of ours runs; any change of a name, a
 * type or a size here is a new layout and needs a new number in bpf/load.go. Addresses are in network byte order.
 *
 * The tables of sources are arrays of cache lines that user space maps into its memory and alone writes (package bpf/table);
 * the program only reads them. Those that a change of a whole list replaces stand in two generations, and one store of
 * settings.generation changes over from one to the other. */
#ifndef MAPS_H
#define MAPS_H

#include "kernel.h"
#include "verdict.h"

#define PINNED __uint(pinning, PIN_BY_NAME)

/* One cache line: the unit of every table. */
struct line {
	__u64 word[8];
};

/* An entry's meta word, 32 bits: what list it is from, and until when it holds. */
#define LIST_BITS 6
#define LISTS (1 << LIST_BITS)
#define LIST_MASK (LISTS - 1)
#define LIST_ALLOW 1   /* the never-ban list */
#define LIST_KNOWN 2   /* a good registration lives behind it */
#define LIST_LIMITED 3 /* not banned, but held to a strict rate */
#define TICK_SHIFT 30  /* an entry's time is CLOCK_MONOTONIC in units of 2^30 ns */
#define FOREVER 0x3ffffff

/* Of the million IPv4 hosts that lists hold, a line of LISTED4 has 20: the address is hashed one to one, and as the hash says the line,
 * only what is left of it need stand there. So most of the table stays in the processor's cache. */
#define LISTED_PLACES 20
struct listed {
	__u16 rest[LISTED_PLACES]; /* the lower 16 bits of what is left; 0: nobody */
	__u8 list[LISTED_PLACES];  /* LIST_MASK: the list, for ever, or 0; above that the upper bits of what is left */
	__u32 ask;                 /* bit i: for hosts whose hash ends in i HOSTS4 has to be asked, too */
};

/* Tables of one generation. */
#define TABLE_HOSTS4 0 /* line 0 is user space's own; then buckets of eight u64: address | meta << 32 */
#define TABLE_HOSTS6 1 /* line 0 is user space's own; then buckets of four pairs of u64: key, meta | tag << 32 */
#define TABLE_NETS4 2  /* 32 u16 a line: the rule of each IPv4 /24; 0: none */
#define TABLE_RULES4 3 /* 16 u32 a line: the meta words of the rules */
#define TABLE_LISTED4 4 /* line 0 is user space's own; then, in each line, 20 hosts of lists (struct listed) */
#define TABLES 5

struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__type(key, __u32);
	__type(value, struct line);
};

/* Index: generation * TABLES + table. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2 * TABLES);
	__type(key, __u32);
	PINNED;
	__array(values, struct table);
} tables SEC(".maps");

/* Presence filters: a clear bit spares the tables. A set one may be stale. */
#define DIR4_LINES 65536 /* line: an IPv4 /16; two bits for each /24: DIR_HOSTS, DIR_NETS */
#define DIR_HOSTS 1
#define DIR_NETS 2
#define DIR6_LINES 65536 /* a bit for each hash of an IPv6 /48 that has entries longer than /48 */
#define DIR6W_LINES 4096 /* a bit for each hash of an IPv6 /32 that has entries of /32 to /48 */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIR4_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct line);
	PINNED;
} dir4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIR6_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct line);
	PINNED;
} dir6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DIR6W_LINES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct line);
	PINNED;
} dir6w SEC(".maps");

/* IPv6 entries of /65 to /127, asked only where the /64's entry says that there are some, and of less than /20, asked only if
 * settings.short6 says so: both are rare. */
#define MAX_DEEP6 131072 /* old and new ones stand side by side while they are replaced */

#define NET6_INSIDE (1ull << 32) /* it is longer than /64 */

struct net6 {
	__u32 bits;
	__u32 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_DEEP6);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net6);
	__type(value, __u64); /* meta; NET6_INSIDE */
	PINNED;
} deep6 SEC(".maps");

/* What stands behind a local port. */
#define PORT_SIP_UDP 1
#define PORT_SIP_TCP 2
#define PORT_MEDIA 4 /* closed for UDP, unless PORT_OPEN */
#define PORT_OPEN 8  /* a call uses it */
#define PORT_FORWARD 16 /* at one address at least it has a stream */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
	PINNED;
} ports SEC(".maps");

/* The addresses that media ports are closed at, IPv4 ones mapped (RFC 4291 §2.5.5.2): those of other machines behind this one are not
 * ours to close. Asked only if settings.own_only says so, and only for what would be dropped. */
#define MAX_OWN 1024

struct address {
	__be32 word[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_OWN);
	__type(key, struct address);
	__type(value, __u32);
	PINNED;
} own SEC(".maps");

/* Streams of plain RTP that are sent on in the kernel, by the address and port of ours that they come to. */
#define MAX_STREAMS 32768

/* An IPv4 address is mapped, as in own. */
struct endpoint {
	struct address at;
	__be16 port;
	__u16 pad;
};

struct stream {
	struct endpoint from;   /* the one source that user space has latched */
	struct endpoint source; /* ours, towards the other side */
	struct endpoint target; /* the other side's */
	__u32 slot;             /* of flows */
	__u64 types[2];         /* payload types that may pass, a bit for each */
	__u32 ifindex;          /* where it leaves */
	__u32 mtu;              /* of IP packets there */
	__u8 next_hop[6];
	__u8 interface_mac[6];
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STREAMS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, struct stream);
	PINNED;
} streams SEC(".maps");

/* What user space reads about a stream; a line each. It never begins anew: user space keeps what it was. */
struct flow {
	__u64 packets;
	__u64 bytes;     /* of UDP payload */
	__u32 ssrc;      /* of the last packet, RFC 3550 §5.1 */
	__u32 timestamp;
	__u32 sequence;
	__u32 pad;
	__u64 unused[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_STREAMS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow);
	PINNED;
} flows SEC(".maps");

/* Rate cells (GCRA): the theoretical arrival time of the next packet, CLOCK_MONOTONIC in ns, by hash of source and class. */
#define CELLS_BITS 18 /* 2 MiB: strangers would have to send ten million packets a second to use up each other's */
#define CELLS (1 << CELLS_BITS)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CELLS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
	PINNED;
} cells SEC(".maps");

/* The one cell of all strangers together. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	PINNED;
} strangers SEC(".maps");

/* rate is a limit for a cell. */
struct rate {
	__u64 gap;   /* ns between packets; 0: no limit */
	__u64 slack; /* ns that a source may be ahead: (burst - 1) * gap */
};

/* geometry is how entries are spread over a table of buckets. It stands here, beside generation, and not in the table: a look-up less. */
struct geometry {
	__u64 buckets; /* of LISTED4: 0 if there is none */
	__u64 seed;    /* odd */
	__u64 shift;   /* LISTED4: the binary logarithm of buckets, rounded down */
};

#define FRAGMENTS_RATE 0
#define FRAGMENTS_DROP 1
#define FRAGMENTS_PASS 2

/* settings are what user space may change while the filter runs. */
struct settings {
	__u32 generation; /* of the tables: 0 or 1 */
	__u32 interval;   /* one packet in so many is sampled, whatever becomes of it; 0: none */
	__u32 samples;    /* most events per second and CPU */
	__u32 snap;       /* bytes of a dropped packet that an event carries: EVENT_HEAD or EVENT_FULL */
	__u64 monitored_lists;   /* bit i: list i drops nothing */
	__u32 monitored_reasons; /* bit i: reason i drops nothing */
	__u32 fragments;         /* FRAGMENTS_…: what becomes of later fragments */
	__u64 seed;   /* of the rate cells */
	__u64 short6; /* 1: deep6 has prefixes shorter than /20 */
	__u64 own_only; /* 1: media ports are closed only at the addresses in own */
	__u64 levels; /* bit i: HOSTS6 has entries of length 32 + 4 i */
	__u64 forward_until; /* CLOCK_MONOTONIC in ns: user space says again and again that streams are sent on; 0: they are not */
	struct geometry hosts4[2]; /* by generation */
	struct geometry hosts6[2];
	struct geometry listed4[2];
	struct rate source;      /* SIP datagrams of one stranger */
	struct rate known;       /* … of a source with a good registration; its TCP connections, too */
	struct rate limited;     /* … of one that is held to a strict rate; its TCP connections, too */
	struct rate all;         /* … of all strangers together */
	struct rate connections; /* new TCP connections of one stranger */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct settings);
	PINNED;
} config SEC(".maps");

struct count {
	__u64 packets;
	__u64 bytes; /* of the frame's first buffer, which holds all of it unless it is larger than a page */
};

/* cpu is what one CPU counts and remembers. */
struct cpu {
	__u32 heat;    /* rises while banned hosts send: then their table is asked before the presence filter */
	__u32 wait;    /* packets until the next sample */
	__u64 second;  /* begin of the second that samples are counted in, CLOCK_MONOTONIC in ns */
	__u64 used;    /* samples in it */
	__u64 lost;    /* samples that found no room */
	__u64 jiffies; /* when now was asked for */
	__u64 now;     /* CLOCK_MONOTONIC in ns, coarse */
	__u64 unused[2];
	struct count counts[FAMILIES * REASONS * ACTIONS]; /* (family * REASONS + reason) * ACTIONS + action */
	struct count dropped[LISTS];   /* by list */
	struct count monitored[LISTS]; /* by list */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
	PINNED;
} cpus SEC(".maps");

#define EVENT_HEAD 128
#define EVENT_FULL 1536

/* event is a sample of what was dropped, or of any packet. */
struct event {
	__u64 time; /* CLOCK_MONOTONIC in ns */
	__u32 ifindex;
	__u32 length;
	__u8 reason;
	__u8 family;
	__u8 action;
	__u8 list;
	__u32 weight; /* how many packets it stands for; 0: it is one drop more than the samples */
	__u32 source[4]; /* IPv4: the first word */
	__u32 captured;  /* bytes of head that are filled */
	__u32 pad;
	__u8 head[];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	PINNED;
} events SEC(".maps");

#endif
