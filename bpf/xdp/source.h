/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who sent it: addresses that nobody can send from, the never-ban list, bans of hosts and networks. Which entry wins where
 * several cover an address was decided when they were written (package bpf/table), so it costs nothing here. */
#ifndef SOURCE_H
#define SOURCE_H

#include "maps.h"
#include "parse.h"

#define HOT 128 /* heat from which on the hosts' table is asked first */
#define HOTTEST 255

static __always_inline struct line *line_of(void *table, __u32 i)
{
	return bpf_map_lookup_elem(table, &i);
}

/* All of a packet's look-ups are in one generation, whichever is in force when it comes. User space gives the other one back only
 * when no packet that began in it is left. */
static __always_inline void *table_of(const struct packet *p, __u32 table)
{
	__u32 i = p->generation * TABLES + table;

	return bpf_map_lookup_elem(&tables, &i);
}

/* Expiry is a comparison, so bans end by themselves, exact to a tick, also while no program runs. CLOCK_MONOTONIC stands still
 * while the machine sleeps, so a ban can only get longer by that, never shorter. */
static __always_inline int in_force(struct packet *p, __u32 meta)
{
	__u32 until = meta >> LIST_BITS;

	return until == FOREVER || until > now_of(p) >> TICK_SHIFT;
}

/* Notes what speaks against a packet; 1 if that decides, 0 if monitor mode only wants it counted. */
static __always_inline int against(const struct settings *s, struct packet *p, enum reason why, __u32 list)
{
	if (s->monitored_reasons >> why & 1 || (list && s->monitored_lists >> list & 1)) {
		if (!p->noted) {
			p->noted = why;
			p->noted_list = list;
		}
		return 0;
	}
	p->why = why;
	p->list = list;
	return 1;
}

/* Takes an entry into account; 1 if it decides. */
static __always_inline int apply(const struct settings *s, struct packet *p, __u32 meta, enum reason why)
{
	__u32 list = meta & LIST_MASK;

	if (!list || !in_force(p, meta))
		return 0;
	if (list == LIST_ALLOW) {
		p->class = list;
		return 1;
	}
	if (list <= LIST_LIMITED) {
		if (list > p->class) /* a limit wins over a good registration */
			p->class = list;
		return 0;
	}
	return against(s, p, why, list);
}

/* The upper half of a product spreads a number over n buckets. */
static __always_inline __u32 spread(__u32 h, __u64 n)
{
	return (__u64)h * n >> 32;
}

#define LANES 0x0001000100010001ull
#define LANE_HIGHS 0x8000800080008000ull

/* The high bit of each 16-bit lane of w that is zero; lanes above the first such one may be marked, too. */
static __always_inline __u64 zero_lanes(__u64 w)
{
	return (w - LANES) & ~w & LANE_HIGHS;
}

/* Where in a line a place's list stands, by the upper five bits of its mark times LIST_AT: they differ for each place. */
#define LIST_AT 0xb771eb2996775bc1ull
static const __u8 list_at[32] = {
	40, 43, 47, 44, 51, 40, 49, 48, 55, 41, 40, 40, 53, 40, 46, 52,
	59, 40, 40, 45, 40, 58, 40, 42, 40, 57, 54, 40, 40, 50, 56, 40,
};

/* Whether a host of a list stands in a line: 1, and its value. 0: it does not, and no other table has to be asked. -1: HOSTS4 has to. */
static __always_inline int listed4(const struct line *line, __u32 hash, __u32 rest, __u32 *meta)
{
	__u64 want = (rest & 0xffff) * LANES, same;
	__u8 v;

	same = zero_lanes(READ_ONCE(line->word[0]) ^ want) >> 4;
	same |= zero_lanes(READ_ONCE(line->word[1]) ^ want) >> 3;
	same |= zero_lanes(READ_ONCE(line->word[2]) ^ want) >> 2;
	same |= zero_lanes(READ_ONCE(line->word[3]) ^ want) >> 1;
	same |= zero_lanes(READ_ONCE(line->word[4]) ^ want);
	if (same) {
		v = READ_ONCE(((__u8 *)line)[list_at[(same & -same) * LIST_AT >> 59] & 63]);
		*meta = (v & LIST_MASK) | FOREVER << LIST_BITS;
		if (v & LIST_MASK && v >> LIST_BITS == rest >> 16)
			return 1;
	}
	return -(int)(READ_ONCE(((struct listed *)line)->ask) >> (hash & 31) & 1);
}

static __always_inline __u32 meta4(const struct line *b, __u32 addr)
{
	__u32 meta = 0;

#pragma unroll
	for (int i = 0; i < 8; i++) {
		__u64 w = READ_ONCE(b->word[i]);

		if ((__u32)w == addr)
			meta = w >> 32;
	}
	return meta;
}

/* Entries stand in one of two buckets, in the first unless that is full. A bucket whose last word was never used never was full. */
static __always_inline __u32 bucket4(const struct settings *s, const struct packet *p, __u32 addr)
{
	const struct geometry *h = &s->hosts4[p->generation & 1];
	void *table = table_of(p, TABLE_HOSTS4);
	struct line *b;
	__u32 meta;
	__u64 x;

	if (!table)
		return 0;
	x = addr * h->seed;
	b = line_of(table, 1 + spread(x >> 32, h->buckets));
	if (!b)
		return 0;
	meta = meta4(b, addr);
	if (meta || !READ_ONCE(b->word[7]))
		return meta;
	x = (x ^ x >> 32) * 0xbf58476d1ce4e5b9ull;
	b = line_of(table, 1 + spread(x >> 32, h->buckets));
	return b ? meta4(b, addr) : 0;
}

/* addr in network byte order. */
static __always_inline __u32 find4(const struct settings *s, const struct packet *p, __u32 addr)
{
	const struct geometry *h = &s->listed4[p->generation & 1];
	__u64 buckets = h->buckets, at;
	struct line *l;
	__u32 x, meta;
	void *table;
	int found;

	if (buckets) {
		table = table_of(p, TABLE_LISTED4);
		if (!table)
			return 0;
		x = (addr ^ addr >> 16) * (__u32)h->seed;
		x = (x ^ x >> 15) * 0x85ebca6b;
		at = x * buckets;
		l = line_of(table, 1 + (at >> 32));
		if (!l)
			return 0;
		found = listed4(l, x, (__u32)at >> (h->shift & 31), &meta);
		if (found >= 0)
			return found ? meta : 0;
	}
	return bucket4(s, p, addr);
}

/* What DIR-24 says about a /24; addr in host byte order. */
static __always_inline __u32 net4(const struct packet *p, __u32 addr)
{
	void *table = table_of(p, TABLE_NETS4);
	struct line *l;
	__u32 rule;

	if (!table)
		return 0;
	l = line_of(table, addr >> 13);
	if (!l)
		return 0;
	rule = ((__u16 *)l)[addr >> 8 & 31];
	if (!rule)
		return 0;
	table = table_of(p, TABLE_RULES4);
	if (!table)
		return 0;
	l = line_of(table, rule >> 4);
	return l ? ((__u32 *)l)[rule & 15] : 0;
}

static __always_inline int multicast4(__be32 a)
{
	return (a & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000);
}

/* RFC 1122 §3.2.1.3: a host that has no address yet (DHCP, IGMP) says 0.0.0.0, but never to a single host; multicast and
 * broadcast addresses send nothing. */
static __always_inline int martian4(struct ipv4 *ip)
{
	__be32 all = bpf_htonl(0xffffffff);

	if (ip->source == 0)
		return !(multicast4(ip->destination) || ip->destination == all);
	return multicast4(ip->source) || ip->source == all;
}

static __always_inline __u32 present4(__u32 addr)
{
	struct line *l = line_of(&dir4, addr >> 16);

	return l ? l->word[addr >> 13 & 7] >> (addr >> 7 & 62) & 3 : 0;
}

/* 1: the source decides, p->why and p->class say how. */
static __always_inline int check_ipv4(const struct settings *s, struct cpu *c, struct ipv4 *ip, struct packet *p)
{
	__u32 addr = bpf_htonl(ip->source), here;
	int hot = c->heat > HOT;

	if (martian4(ip))
		return against(s, p, REASON_MARTIAN_SOURCE, 0);
	if (addr == 0)
		return 0; /* nobody's address: can't be banned */
	if (hot && apply(s, p, find4(s, p, ip->source), REASON_HOST_BANNED))
		goto decided;
	here = present4(addr);
	if (!hot && here & DIR_HOSTS && apply(s, p, find4(s, p, ip->source), REASON_HOST_BANNED))
		goto decided;
	if (c->heat)
		c->heat--;
	return here & DIR_NETS ? apply(s, p, net4(p, addr), REASON_NETWORK_BANNED) : 0;
decided:
	if (p->class != LIST_ALLOW && c->heat < HOTTEST - 3)
		c->heat += 4;
	return 1;
}

/* How the entries of a length are told apart in HOSTS6. A host stands there by a hash, with a check of it above the tag. */
#define TAG_SITE 64
#define TAG_HOST 128
#define TAG_INSIDE 256 /* a /64: there are longer entries inside */
#define CHECK_SHIFT 9

/* Two words can't be read at once, so the key is read again: it is still the value's, unless the place was given away meanwhile. */
static __always_inline __u64 meta6(const struct line *b, __u64 key, __u32 tag)
{
	__u64 got = 0;

#pragma unroll
	for (int i = 0; i < 8; i += 2) {
		__u64 v;

		if (READ_ONCE(b->word[i]) != key)
			continue;
		v = READ_ONCE(b->word[i + 1]);
		if ((v >> 32 & ~TAG_INSIDE) == tag && READ_ONCE(b->word[i]) == key)
			got = v;
	}
	return got;
}

/* find6 returns meta | tag << 32, 0 if there is none. */
static __always_inline __u64 find6(void *table, const struct geometry *h, __u64 key, __u32 tag)
{
	__u64 x = (key ^ (__u64)tag << 7) * h->seed, got;
	struct line *b;

	x ^= x >> 32;
	x *= 0x94d049bb133111ebull;
	b = line_of(table, 1 + spread(x >> 32, h->buckets));
	if (!b)
		return 0;
	got = meta6(b, key, tag);
	if (got || !(READ_ONCE(b->word[6]) | READ_ONCE(b->word[7])))
		return got;
	b = line_of(table, 1 + spread(x, h->buckets));
	return b ? meta6(b, key, tag) : 0;
}

/* A host's key: both halves, mixed by a multiplier that no sender knows. */
static __always_inline __u64 fold(const struct geometry *h, __u64 high, __u64 low)
{
	__u64 x = high * h->seed, y = low * (h->seed ^ 0x9e3779b97f4a7c14ull);

	x ^= x >> 32;
	y ^= y >> 29;
	x = (x + y) * 0x94d049bb133111ebull;
	x ^= x >> 31;
	return x ? x : 1;
}

static __always_inline __u32 host_tag(__u64 high, __u64 low)
{
	__u64 x = (high + (low << 17 | low >> 47)) * 0xff51afd7ed558ccdull;

	return TAG_HOST | (__u32)(x >> 41) << CHECK_SHIFT;
}

static __always_inline int multicast6(__be32 first)
{
	return (first & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* RFC 4291 §2.5.2, §2.5.5.2, §2.7: the unspecified address speaks only to groups (neighbour discovery, MLD), mapped IPv4
 * addresses and groups never send. */
static __always_inline int martian6(struct ipv6 *ip)
{
	if (multicast6(ip->source[0]))
		return 1;
	if (ip->source[0] | ip->source[1])
		return 0;
	if (ip->source[2] == bpf_htonl(0xffff))
		return 1;
	return !(ip->source[2] | ip->source[3]) && !multicast6(ip->destination[0]);
}

/* prefix in host byte order, its lower bits clear. */
static __always_inline int present6(void *dir, __u64 prefix, __u32 lines)
{
	__u64 h = prefix * 0x9e3779b97f4a7c15ull;
	struct line *l;

	h ^= h >> 32;
	h *= 0xbf58476d1ce4e5b9ull;
	l = line_of(dir, h >> 48 & (lines - 1));
	return l ? l->word[h >> 32 & 7] >> (h >> 35 & 63) & 1 : 0;
}

/* inside: entries of less than /20 do not count, since those between /20 and /64 must be heard first. */
static __always_inline int check_trie6(const struct settings *s, struct packet *p, int inside)
{
	struct net6 key = {.bits = 128};
	__u64 *meta;

	__builtin_memcpy(key.addr, p->source, sizeof(key.addr));
	meta = bpf_map_lookup_elem(&deep6, &key);
	if (!meta || (inside && !(*meta & NET6_INSIDE)))
		return 0;
	return apply(s, p, *meta, REASON_NETWORK_BANNED);
}

/* Entries longer than /64: hosts, and the rare lengths between. */
static __always_inline int check_inside6(const struct settings *s, void *table, const struct geometry *h, __u64 high, struct packet *p)
{
	__u64 low = bpf_be64toh(*(__u64 *)&p->source[2]);

	return apply(s, p, find6(table, h, fold(h, high, low), host_tag(high, low)), REASON_HOST_BANNED) || check_trie6(s, p, 1);
}

/* How walk6 looks: the generation of the tables, and what the presence filters say. */
#define WALK_GENERATION 1
#define WALK_INSIDE 2
#define WALK_WIDE 4

static __always_inline int check_tables6(const struct settings *s, __u64 high, __u32 how, struct packet *p)
{
	const struct geometry *h = &s->hosts6[p->generation & 1];
	void *table = table_of(p, TABLE_HOSTS6);

	if (!table)
		return 0;
	if (how & WALK_INSIDE) {
		__u64 site = find6(table, h, high, TAG_SITE);

		if (site >> 32 & TAG_INSIDE && check_inside6(s, table, h, high, p))
			return 1;
		if (apply(s, p, site, REASON_HOST_BANNED))
			return 1;
	}
	for (int bits = 60; bits >= 32; bits -= 4) {
		if (!(s->levels >> (bits - 32) / 4 & 1) || !(how & (bits > 48 ? WALK_INSIDE : WALK_WIDE)))
			continue;
		if (apply(s, p, find6(table, h, high & ~0ull << (64 - bits), bits), REASON_NETWORK_BANNED))
			return 1;
	}
	return 0;
}

/* Some of the work is done in functions for the verifier's sake, which walks such a one once and for all, and not once for each way to
 * the call and on from there. So they take and return numbers only: these are what a packet's decision is packed into. */
#define FOUND_DECIDED 1
#define FOUND_WHY 8
#define FOUND_LIST 16
#define FOUND_CLASS 24
#define FOUND_NOTED 32
#define FOUND_NOTED_LIST 40

static __always_inline __u64 pack(const struct packet *p, __u64 decided)
{
	return decided | (__u64)p->why << FOUND_WHY | (__u64)p->list << FOUND_LIST | (__u64)p->class << FOUND_CLASS |
	       (__u64)p->noted << FOUND_NOTED | (__u64)p->noted_list << FOUND_NOTED_LIST;
}

static __always_inline int unpack(struct packet *p, __u64 found)
{
	p->why = found >> FOUND_WHY & 0xff;
	p->list = found >> FOUND_LIST & 0xff;
	p->class = found >> FOUND_CLASS & 0xff;
	if (!p->noted) { /* the first one is what counts */
		p->noted = found >> FOUND_NOTED & 0xff;
		p->noted_list = found >> FOUND_NOTED_LIST & 0xff;
	}
	return found & FOUND_DECIDED;
}

/* Looks an IPv6 source up in all tables; its halves are in host byte order. */
__noinline __u64 walk6(__u64 high, __u64 low, __u32 how)
{
	__u64 from[2] = {bpf_be64toh(high), bpf_be64toh(low)}, decided = 0;
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);
	struct packet p = {.generation = how & WALK_GENERATION, .cpu = bpf_map_lookup_elem(&cpus, &zero)};

	if (!s || !p.cpu)
		return 0; /* never */
	__builtin_memcpy(p.source, from, sizeof(p.source));
	if (how & (WALK_INSIDE | WALK_WIDE))
		decided = check_tables6(s, high, how, &p);
	if (!decided && s->short6)
		decided = check_trie6(s, &p, 0);
	return pack(&p, decided);
}

/* 1: the source decides, p->why and p->class say how. */
static __always_inline int check_ipv6(const struct settings *s, struct ipv6 *ip, struct packet *p)
{
	__u32 how = p->generation & WALK_GENERATION;
	__u64 high;

	if (martian6(ip))
		return against(s, p, REASON_MARTIAN_SOURCE, 0);
	high = bpf_be64toh(*(__u64 *)&p->source[0]);
	if (!high)
		return 0; /* ::/64 is no site: it holds the unspecified and the loopback address */
	if (present6(&dir6, high & ~0xffffull, DIR6_LINES))
		how |= WALK_INSIDE;
	if (present6(&dir6w, high & ~0xffffffffull, DIR6W_LINES))
		how |= WALK_WIDE;
	if (how <= WALK_GENERATION && !s->short6)
		return 0;
	return unpack(p, walk6(high, bpf_be64toh(*(__u64 *)&p->source[2]), how));
}

#endif
