/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Plain RTP of a call is sent on from here, without a turn through user space: from the one source that user space has latched, to where
 * the other side has its media. All else that comes to a media port goes up as before: RTCP, STUN, SRTP, other payload types, other
 * sources, what has options, fragments or VLAN tags, and what is longer or shorter than it says. */
#ifndef FORWARD_H
#define FORWARD_H

#include "maps.h"
#include "parse.h"

#define RTP_HEADER 12 /* RFC 3550 §5.1, without sources and extension */
#define HOPS 64
#define EXPEDITED 0xb8 /* the class EF (RFC 3246), as user space marks what it sends */
#define DONT_FRAGMENT 0x4000
#define SHORT_FRAME 60 /* the least that Ethernet carries: a shorter packet is filled up to it */

/* 16 bits of a sum of 16- and 32-bit words (RFC 1071); it does not matter in which byte order they are. */
static __always_inline __u16 ones_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The frame holds the packet and nothing behind it. */
static __always_inline int exact(void *data, void *end, __u32 length)
{
	__u32 frame = end - data;

	return frame == length || (frame == SHORT_FRAME && length < SHORT_FRAME);
}

/* Whether length bytes are an RTP packet (RFC 3550 §5.1) of a type that may pass. One with padding goes up, where its end is looked at. */
static __always_inline int is_rtp(const struct stream *t, __u8 *at, void *end, __u32 length)
{
	__u32 n = RTP_HEADER, type;
	__u8 *extension;

	if ((void *)at + RTP_HEADER > end || (at[0] & 0xe0) != 0x80)
		return 0;
	type = at[1] & 0x7f;
	if (!(t->types[type >> 6] >> (type & 63) & 1))
		return 0;
	n += (at[0] & 15) * 4;
	if (at[0] & 0x10) {
		extension = at + n;
		if ((void *)extension + 4 > end)
			return 0;
		n += 4 + bpf_ntohs(*(__be16 *)(extension + 2)) * 4;
	}
	return n <= length;
}

/* The stream that a datagram belongs to; NULL: it goes up. at is what the IP header is followed by, length what it has room for. */
static __always_inline struct stream *stream_of(const struct settings *s, struct endpoint *to, const struct address *from, struct udp *u, void *end, __u32 length)
{
	struct packet clock = {};
	struct stream *t;
	__u32 zero = 0, port = bpf_ntohs(u->destination);
	__u64 *what = bpf_map_lookup_elem(&ports, &port);

	if (!what || !(*what & PORT_FORWARD) || bpf_ntohs(u->length) != length || length < sizeof(*u) + RTP_HEADER)
		return NULL;
	clock.cpu = bpf_map_lookup_elem(&cpus, &zero);
	if (!clock.cpu || now_of(&clock) > s->forward_until) /* nobody is there who would end it */
		return NULL;
	to->port = u->destination;
	t = bpf_map_lookup_elem(&streams, to);
	if (!t || t->from.port != u->source || t->from.at.word[3] != from->word[3] || t->from.at.word[2] != from->word[2] ||
	    t->from.at.word[1] != from->word[1] || t->from.at.word[0] != from->word[0])
		return NULL;
	return is_rtp(t, (__u8 *)(u + 1), end, length - sizeof(*u)) ? t : NULL;
}

/* Counts for user space, which watches for silence and makes records. Another CPU may count the same stream. */
static __always_inline int count_flow(const struct stream *t, const __u8 *rtp, __u32 length)
{
	__u32 slot = t->slot;
	struct flow *f = bpf_map_lookup_elem(&flows, &slot);

	if (!f)
		return 0;
	__sync_fetch_and_add(&f->packets, 1);
	__sync_fetch_and_add(&f->bytes, length);
	f->sequence = bpf_ntohs(*(__be16 *)(rtp + 2));
	f->timestamp = bpf_ntohl(*(__be32 *)(rtp + 4));
	f->ssrc = bpf_ntohl(*(__be32 *)(rtp + 8));
	return 1;
}

/* Also where it came in: user space knows of each driver whether it takes redirected frames, and not whether XDP_TX arrives (a veth
 * keeps such a frame for ever unless the far end has a program of its own). */
static __always_inline int send_on(const struct stream *t, struct ethernet *eth)
{
	__builtin_memcpy(eth->destination, t->next_hop, sizeof(eth->destination));
	__builtin_memcpy(eth->source, t->interface_mac, sizeof(eth->source));
	return bpf_redirect(t->ifindex, 0);
}

static __always_inline int forward_ipv4(const struct settings *s, struct ethernet *eth, void *end)
{
	struct ipv4 *ip = (void *)(eth + 1);
	struct udp *u = (void *)(ip + 1);
	struct endpoint to = {};
	struct address from = {};
	struct stream *t;
	__u32 length;
	__u64 sum;

	if ((void *)(u + 1) + RTP_HEADER > end || ip->version_ihl != 0x45 || ip->protocol != PROTO_UDP || ip->fragment & bpf_htons(0xbfff))
		return XDP_PASS;
	length = bpf_ntohs(ip->length);
	if (length < sizeof(*ip) || !exact(eth, end, sizeof(*eth) + length))
		return XDP_PASS;
	to.at.word[2] = from.word[2] = bpf_htonl(0xffff);
	to.at.word[3] = ip->destination;
	from.word[3] = ip->source;
	t = stream_of(s, &to, &from, u, end, length - sizeof(*ip));
	if (!t || length > t->mtu || !count_flow(t, (__u8 *)(u + 1), length - sizeof(*ip) - sizeof(*u)))
		return XDP_PASS;
	if (u->checksum) { /* none: it stays so (RFC 768) */
		sum = (__u16)~u->checksum;
		sum += (__u64)(__u32)~ip->source + t->source.at.word[3] + (__u32)~ip->destination + t->target.at.word[3];
		sum += (__u64)(__u16)~u->source + t->source.port + (__u16)~u->destination + t->target.port; /* RFC 1624 §3 */
		u->checksum = ~ones_sum(sum);
		if (!u->checksum)
			u->checksum = 0xffff;
	}
	u->source = t->source.port;
	u->destination = t->target.port;
	ip->tos = EXPEDITED;
	ip->id = 0; /* RFC 6864 §4.1: it means nothing where nothing may be fragmented */
	ip->fragment = bpf_htons(DONT_FRAGMENT);
	ip->ttl = HOPS;
	ip->source = t->source.at.word[3];
	ip->destination = t->target.at.word[3];
	sum = 0x45 | EXPEDITED << 8; /* as they stand in memory */
	sum += ip->length;
	sum += bpf_htons(DONT_FRAGMENT);
	sum += HOPS | PROTO_UDP << 8;
	sum += (__u64)ip->source + ip->destination;
	ip->checksum = ~ones_sum(sum);
	return send_on(t, eth);
}

static __always_inline int forward_ipv6(const struct settings *s, struct ethernet *eth, void *end)
{
	struct ipv6 *ip = (void *)(eth + 1);
	struct udp *u = (void *)(ip + 1);
	struct endpoint to;
	struct address from;
	struct stream *t;
	__u32 length;
	__u64 sum;

	if ((void *)(u + 1) + RTP_HEADER > end || ip->next != PROTO_UDP || !u->checksum) /* RFC 8200 §8.1 wants one */
		return XDP_PASS;
	length = bpf_ntohs(ip->length);
	if (!exact(eth, end, sizeof(*eth) + sizeof(*ip) + length))
		return XDP_PASS;
	__builtin_memset(&to, 0, sizeof(to));
	__builtin_memcpy(&to.at, ip->destination, sizeof(to.at));
	__builtin_memcpy(&from, ip->source, sizeof(from));
	t = stream_of(s, &to, &from, u, end, length);
	if (!t || sizeof(*ip) + length > t->mtu || !count_flow(t, (__u8 *)(u + 1), length - sizeof(*u)))
		return XDP_PASS;
	sum = (__u16)~u->checksum;
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~ip->source[i] + t->source.at.word[i] + (__u32)~ip->destination[i] + t->target.at.word[i];
	sum += (__u64)(__u16)~u->source + t->source.port + (__u16)~u->destination + t->target.port;
	u->checksum = ~ones_sum(sum);
	if (!u->checksum)
		u->checksum = 0xffff;
	u->source = t->source.port;
	u->destination = t->target.port;
	ip->version_class_flow = bpf_htonl(0x60000000 | EXPEDITED << 20);
	ip->hops = HOPS;
	__builtin_memcpy(ip->source, &t->source.at, sizeof(ip->source));
	__builtin_memcpy(ip->destination, &t->target.at, sizeof(ip->destination));
	return send_on(t, eth);
}

/* The XDP action for a packet that nothing is against. A function of its own, which the verifier walks once. */
__noinline int forward(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethernet *eth = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);

	if (!s || (void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->proto == bpf_htons(ETH_P_IP))
		return forward_ipv4(s, eth, end);
	if (eth->proto == bpf_htons(ETH_P_IPV6))
		return forward_ipv6(s, eth, end);
	return XDP_PASS;
}

#endif
