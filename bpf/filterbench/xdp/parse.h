/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the frame's first byte to the IP header, as any careful program does it. */
#ifndef PARSE_H
#define PARSE_H

#include "abi.h"

#define MAX_TAGS 2

static __always_inline int is_tag(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Moves past the Ethernet header and its tags; proto is what follows at the address returned. NULL: not to be parsed. */
static __always_inline void *parse_link(void *data, void *end, __be16 *proto)
{
	struct ethernet *eth = data;
	void *next = eth + 1;

	if (next > end)
		return NULL;
	*proto = eth->proto;
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		struct tag *tag = next;

		if (!is_tag(*proto))
			break;
		next = tag + 1;
		if (next > end)
			return NULL;
		*proto = tag->proto;
	}
	return is_tag(*proto) ? NULL : next;
}

static __always_inline struct ipv4 *parse_ipv4(void *data, void *end)
{
	struct ipv4 *ip = data;
	__u32 header;

	if ((void *)(ip + 1) > end)
		return NULL;
	header = (ip->version_ihl & 0xf) * 4;
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || data + header > end)
		return NULL;
	return ip;
}

static __always_inline struct ipv6 *parse_ipv6(void *data, void *end)
{
	struct ipv6 *ip = data;

	if ((void *)(ip + 1) > end || *(__u8 *)data >> 4 != 6)
		return NULL;
	return ip;
}

#endif
