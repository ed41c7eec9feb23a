/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who sent it: addresses that nobody can send from, bans of hosts and networks, and the allow list, which wins over each
 * ban. The allow list is asked only when a ban was found: the answer is the same, and honest packets don't pay for it. */
#ifndef SOURCE_H
#define SOURCE_H

#include "maps.h"
#include "parse.h"

/* Expiry is a comparison, so bans end by themselves, exact to a tick (coarse clock), also while no program runs.
 * CLOCK_MONOTONIC stands still while the machine sleeps, so a ban can only get longer by that, never shorter. */
static __always_inline int in_force(struct ban *b)
{
	return b && b->until > bpf_ktime_get_coarse_ns();
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

static __always_inline void check_ipv4(struct ipv4 *ip, struct packet *p)
{
	struct net4 key = {.bits = 32, .addr = ip->source};
	__u32 addr = ip->source;

	if (martian4(ip)) {
		p->why = REASON_MARTIAN_SOURCE;
		return;
	}
	if (addr == 0)
		return; /* nobody's address: can't be banned */
	if (in_force(bpf_map_lookup_elem(&host4, &addr)))
		p->why = REASON_HOST_BANNED;
	else if (in_force(bpf_map_lookup_elem(&network4, &key)))
		p->why = REASON_NETWORK_BANNED;
	else
		return;
	p->allowed = bpf_map_lookup_elem(&allow4, &key) != NULL;
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

static __always_inline void check_ipv6(struct ipv6 *ip, struct packet *p)
{
	struct net6 key = {.bits = 128};
	struct addr6 addr;
	__u64 site;

	if (martian6(ip)) {
		p->why = REASON_MARTIAN_SOURCE;
		return;
	}
	__builtin_memcpy(&addr, ip->source, sizeof(addr));
	__builtin_memcpy(&site, ip->source, sizeof(site));
	__builtin_memcpy(key.addr, ip->source, sizeof(key.addr));
	if (!(addr.word[0] | addr.word[1] | addr.word[2] | addr.word[3]))
		return; /* nobody's address: can't be banned */
	/* ::/64 is no site: it holds the loopback address. */
	if (in_force(bpf_map_lookup_elem(&host6, &addr)) || (site && in_force(bpf_map_lookup_elem(&site6, &site))))
		p->why = REASON_HOST_BANNED;
	else if (in_force(bpf_map_lookup_elem(&network6, &key)))
		p->why = REASON_NETWORK_BANNED;
	else
		return;
	p->allowed = bpf_map_lookup_elem(&allow6, &key) != NULL;
}

#endif
