/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the frame's first byte to the IP header, and no further: a ban depends on nothing behind it. */
#ifndef PARSE_H
#define PARSE_H

#include "kernel.h"
#include "maps.h"
#include "verdict.h"

#define MAX_TAGS 2

/* packet is what the filter learns about a frame, and its decision. */
struct packet {
	enum reason why;   /* what is against it */
	__u32 list;        /* of the ban */
	__u32 family;
	__u32 class;       /* what its source is: 0, LIST_ALLOW, LIST_KNOWN or LIST_LIMITED */
	__u32 noted;       /* what would have dropped it but for monitor mode */
	__u32 noted_list;
	__u32 source[4];   /* IPv4: the first word */
	__u32 forward;     /* it came to a port that has a stream */
	__u32 generation;  /* of the tables, for all look-ups of this packet */
	struct cpu *cpu;
};

/* The clock. It moves with the jiffies, and asking costs more than to look whether they did. */
static __always_inline __u64 now_of(const struct packet *p)
{
	__u64 jiffies = bpf_jiffies64();

	if (p->cpu->jiffies != jiffies) {
		p->cpu->jiffies = jiffies;
		p->cpu->now = bpf_ktime_get_coarse_ns();
	}
	return p->cpu->now;
}

/* Exactly the tags that the kernel itself looks behind (eth_type_vlan); any other EtherType can't reach its IP stack. */
static __always_inline int is_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Moves past the Ethernet header and its tags; proto is what follows at the address returned. NULL: p->why says why. */
static __always_inline void *parse_link(void *data, void *end, __be16 *proto, struct packet *p)
{
	struct ethernet *eth = data;
	void *next = eth + 1;

	if (next > end) {
		p->why = REASON_BAD_PACKET;
		return NULL;
	}
	*proto = eth->proto;
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		struct tag *tag = next;

		if (!is_tag(*proto))
			break;
		next = tag + 1;
		if (next > end) {
			p->why = REASON_BAD_PACKET;
			return NULL;
		}
		*proto = tag->proto;
	}
	if (is_tag(*proto)) {
		p->why = REASON_TOO_MANY_TAGS;
		return NULL;
	}
	return next;
}

/* RFC 791 §3.1. */
static __always_inline struct ipv4 *parse_ipv4(void *data, void *end, struct packet *p)
{
	struct ipv4 *ip = data;
	__u32 header, total;

	p->family = FAMILY_IPV4;
	p->why = REASON_BAD_PACKET;
	if ((void *)(ip + 1) > end)
		return NULL;
	p->source[0] = ip->source;
	header = (ip->version_ihl & 0xf) * 4;
	total = bpf_ntohs(ip->length); /* 0: a merged packet larger than 64 KiB, which only this machine can make */
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || data + header > end || (total && total < header))
		return NULL;
	p->why = REASON_NONE;
	return ip;
}

/* RFC 8200 §3. */
static __always_inline struct ipv6 *parse_ipv6(void *data, void *end, struct packet *p)
{
	struct ipv6 *ip = data;

	p->family = FAMILY_IPV6;
	p->why = REASON_BAD_PACKET;
	if ((void *)(ip + 1) > end)
		return NULL;
	__builtin_memcpy(p->source, ip->source, sizeof(p->source));
	if (*(__u8 *)data >> 4 != 6)
		return NULL;
	p->why = REASON_NONE;
	return ip;
}

#endif
