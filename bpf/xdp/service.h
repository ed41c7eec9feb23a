/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What it wants, once its source may be here: fragments, extension headers, closed media ports, and on the SIP ports what no
 * phone would send, or not so much of it. A source on the never-ban list does not come here. */
#ifndef SERVICE_H
#define SERVICE_H

#include "maps.h"
#include "parse.h"
#include "source.h"

#define MAX_EXTENSIONS 6

/* Classes of rate cells. */
#define CELL_DATAGRAM 0
#define CELL_CONNECTION 1

/* Takes one packet's room of a cell; 0 if there is none. No lock: two CPUs at once may take one's room for two, a packet too many. */
static __always_inline int take(__u64 *tat, const struct rate *r, __u64 now)
{
	__u64 was = *tat, from = was > now ? was : now;

	if (from - now > r->slack)
		return 0;
	*tat = from + r->gap;
	return 1;
}

/* The rate that a class of source is held to, at most datagrams or connections. */
static __always_inline const struct rate *rate_of(const struct settings *s, const struct packet *p, __u32 what)
{
	if (p->class == LIST_LIMITED)
		return &s->limited;
	if (p->class == LIST_KNOWN)
		return &s->known;
	return what == CELL_CONNECTION ? &s->connections : &s->source;
}

/* Sources are told apart by address, IPv6 by /64. Where two share a cell, the seed parts them again after the next restart. */
static __always_inline __u64 *cell_of(const struct settings *s, const struct packet *p, __u32 what)
{
	__u64 x = p->family == FAMILY_IPV4 ? p->source[0] : *(__u64 *)&p->source[0];
	__u32 i;

	x = (x ^ s->seed ^ (__u64)what << 62) * 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	x *= 0xbf58476d1ce4e5b9ull;
	i = x >> (64 - CELLS_BITS);
	return bpf_map_lookup_elem(&cells, &i);
}

/* The limits of one source. */
static __always_inline int check_rate(const struct settings *s, struct packet *p, __u32 what, __u64 now)
{
	const struct rate *r = rate_of(s, p, what);
	__u64 *tat;

	if (!r->gap)
		return 0;
	tat = cell_of(s, p, what);
	if (!tat || take(tat, r, now))
		return 0;
	return against(s, p, what == CELL_CONNECTION ? REASON_CONNECTION_RATE : REASON_SOURCE_RATE, 0);
}

/* The limits of a SIP datagram, or of what may be one. That of all strangers together is looked at before that of the source, since
 * under a flood with made-up sources it says no without another line of memory, and taken from after it, so that one source's
 * flood does not use it up. */
static __always_inline int check_datagram(const struct settings *s, struct packet *p)
{
	__u64 now = now_of(p), *all = NULL;
	__u32 zero = 0;

	if (p->class != LIST_KNOWN && s->all.gap)
		all = bpf_map_lookup_elem(&strangers, &zero);
	if (all && *all > now && *all - now > s->all.slack && against(s, p, REASON_STRANGERS_RATE, 0))
		return 1;
	if (check_rate(s, p, CELL_DATAGRAM, now))
		return 1;
	if (all)
		take(all, &s->all, now);
	return 0;
}

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* The high bit of each byte of w that is zero; bytes above the first such one may be marked, too. */
static __always_inline __u64 zeros(__u64 w)
{
	return (w - ONES) & ~w & HIGHS;
}

/* The high bit of each byte of w that is a letter, as long as no byte below it is above 0x7f. */
static __always_inline __u64 letters(__u64 w)
{
	w |= 0x20 * ONES;
	return (w + (0x80 - 'a') * ONES) & ~(w + (0x7f - 'z') * ONES) & ~w & HIGHS;
}

/* The first bytes of a request (RFC 3261 §7.1): a method, which is a token and may be longer than what is looked at, a space, and a
 * URI, which begins with a letter. The slash is no token's: it stands in "HTTP/1.1". */
static __always_inline int is_request(__u64 w, __u8 ninth)
{
	__u64 space = zeros(w ^ 0x20 * ONES), method, bad;

	space &= -space; /* the first one */
	if (space == 0x80)
		return 0;
	method = space ? space - 1 : ~0ull;
	bad = (w | (w + 0x01 * ONES)) & HIGHS;                      /* above 0x7e */
	bad |= ~(w + 0x5f * ONES) & HIGHS;                          /* below 0x21 */
	bad |= zeros(w ^ '/' * ONES);
	if (bad & method)
		return 0;
	if (space >> 63)
		return letters(ninth) & 0x80;
	return !space || letters(w) & space << 8;
}

/* How a datagram begins: its first nine bytes, and whether it has them. One without may be what phones send to keep a NAT open. */
struct start {
	__u64 first;
	__u32 ninth;
	__u32 is; /* one of these */
};
#define START_FINE 0
#define START_SHORT 1 /* and nothing that phones send */
#define START_READ 2  /* to be judged by first and ninth */

/* length is that of the datagram: what follows it in the frame is padding. */
static __always_inline struct start start_of(const __u8 *at, const void *end, __u32 length)
{
	struct start d = {.is = START_READ};

	if ((void *)at + 9 > end || length < 9) {
		d.is = START_FINE;
		if ((void *)at + 1 <= end && length && *at != '\r' && *at != 0)
			d.is = START_SHORT;
		return d;
	}
	d.first = *(__u64 *)at;
	d.ninth = at[8];
	return d;
}

/* Whether a datagram begins like SIP, or like what phones send to keep a NAT open (RFC 5626 §3.5: CRLF, STUN; some send zeros). */
static __always_inline int like_sip(struct start d)
{
	if (d.is != START_READ)
		return d.is == START_FINE;
	if (d.first == 0x20302e322f504953ull) /* "SIP/2.0 " */
		return 1;
	if ((d.first & 0xffff) == 0x0a0d)
		return 1;
	if (d.first >> 32 == 0x42a41221 && (d.first & 0xc0) == 0) /* RFC 8489 §5: the magic cookie */
		return 1;
	return is_request(d.first, d.ninth);
}

static __always_inline int check_sip(const struct settings *s, struct start d, struct packet *p)
{
	return (!like_sip(d) && against(s, p, REASON_NOT_SIP, 0)) || check_datagram(s, p);
}

/* check_sip for IPv6, where the verifier comes by once for each extension header. */
__noinline __u64 sip6(__u64 site, __u64 first, __u32 ninth, __u32 is, __u32 class)
{
	struct start d = {.first = first, .ninth = ninth & 0xff, .is = is};
	struct packet p = {.family = FAMILY_IPV6, .class = class};
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);

	p.cpu = bpf_map_lookup_elem(&cpus, &zero);
	if (!s || !p.cpu)
		return 0; /* never */
	__builtin_memcpy(p.source, &site, sizeof(site));
	return pack(&p, check_sip(s, d, &p));
}

static __always_inline int judge_sip(const struct settings *s, struct start d, int words, struct packet *p)
{
	if (words == 1)
		return check_sip(s, d, p);
	return unpack(p, sip6(*(__u64 *)&p->source[0], d.first, d.ninth, d.is, p->class));
}

static __always_inline __u64 port_of(__be16 port)
{
	__u32 i = bpf_ntohs(port);
	__u64 *what = bpf_map_lookup_elem(&ports, &i);

	return what ? *what : 0;
}

/* Whether media ports are closed at a packet's destination, of one word or four; the verifier knows how far it may read. */
static __always_inline int is_own(const struct settings *s, const __be32 *destination, int words)
{
	struct address to = {};

	if (!s->own_only)
		return 1;
	to.word[2] = bpf_htonl(0xffff);
#pragma unroll
	for (int i = 0; i < words; i++)
		to.word[4 - words + i] = destination[i];
	return bpf_map_lookup_elem(&own, &to) != NULL;
}

static __always_inline int check_udp(const struct settings *s, const __be32 *destination, int words, struct udp *u, void *end, struct packet *p)
{
	__u64 what;

	if ((void *)(u + 1) > end)
		return against(s, p, REASON_BAD_PACKET, 0);
	what = port_of(u->destination);
	if ((what & (PORT_MEDIA | PORT_OPEN)) == PORT_MEDIA && is_own(s, destination, words))
		return against(s, p, REASON_PORT_CLOSED, 0);
	p->forward = what & PORT_FORWARD;
	if (!(what & PORT_SIP_UDP))
		return 0;
	return judge_sip(s, start_of((__u8 *)(u + 1), end, bpf_ntohs(u->length) - sizeof(*u)), words, p);
}

static __always_inline int check_tcp(const struct settings *s, struct tcp *t, void *end, struct packet *p)
{
	if ((void *)(t + 1) > end)
		return against(s, p, REASON_BAD_PACKET, 0);
	if ((t->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN || !(port_of(t->destination) & PORT_SIP_TCP))
		return 0;
	return check_rate(s, p, CELL_CONNECTION, now_of(p));
}

/* A later fragment has no port, so nobody knows what it wants. */
static __always_inline int check_fragment(const struct settings *s, int words, struct packet *p)
{
	if (s->fragments == FRAGMENTS_PASS)
		return 0;
	if (s->fragments == FRAGMENTS_DROP)
		return against(s, p, REASON_FRAGMENT, 0);
	return judge_sip(s, (struct start){.is = START_FINE}, words, p);
}

static __always_inline int is_extension(__u8 proto)
{
	switch (proto) {
	case PROTO_HOP_BY_HOP:
	case PROTO_ROUTING:
	case PROTO_FRAGMENT:
	case PROTO_AUTHENTICATION:
	case PROTO_OPTIONS:
	case PROTO_MOBILITY:
	case PROTO_HIP:
	case PROTO_SHIM6:
		return 1;
	}
	return 0;
}

static __always_inline int check_transport(const struct settings *s, const __be32 *destination, int words, void *at, __u8 proto, void *end, struct packet *p)
{
	if (proto == PROTO_UDP)
		return check_udp(s, destination, words, at, end, p);
	if (proto == PROTO_TCP)
		return check_tcp(s, at, end, p);
	return 0;
}

static __always_inline int service_ipv4(const struct settings *s, struct ipv4 *ip, void *end, struct packet *p)
{
	if (ip->fragment & bpf_htons(FRAGMENT_OFFSET))
		return check_fragment(s, 1, p);
	return check_transport(s, &ip->destination, 1, (void *)ip + (ip->version_ihl & 0xf) * 4, ip->protocol, end, p);
}

static __always_inline int service_ipv6(const struct settings *s, struct ipv6 *ip, void *end, struct packet *p)
{
	void *at = ip + 1;
	__u8 proto = ip->next;

	for (int i = 0; i < MAX_EXTENSIONS && is_extension(proto); i++) {
		struct extension *e = at;

		if ((void *)(e + 1) > end)
			return against(s, p, REASON_BAD_PACKET, 0);
		if (proto == PROTO_FRAGMENT) {
			if (e->fragment & bpf_htons(0xfff8))
				return check_fragment(s, 4, p);
			at += sizeof(*e);
		} else {
			at += proto == PROTO_AUTHENTICATION ? (e->length + 2) * 4 : (e->length + 1) * 8;
		}
		proto = e->next;
	}
	if (is_extension(proto))
		return against(s, p, REASON_EXTENSION_CHAIN, 0);
	return check_transport(s, ip->destination, 4, at, proto, end, p);
}

#endif
