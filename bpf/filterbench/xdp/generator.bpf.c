// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Writes another pseudo-random source into the frame at each repeat of a test run, and calls the program under test. Sources are
 * made by formula, so that the generator misses no cache of its own; addresses.go has the same formulas. */
#include "abi.h"
#include "parse.h"

/* Set before loading: the verifier then removes all that a set-up does not use. */
volatile const __u32 version;  /* 4 or 6 */
volatile const __u32 ip_at;    /* where the IP header begins: behind 0, 1 or 2 tags */
volatile const __u32 networks; /* 0: draw host numbers; 1: draw network numbers, and a host inside */
volatile const __u32 first;    /* the least number that is drawn */
volatile const __u32 count;    /* how many numbers there are to draw from */
volatile const __u32 ports;    /* destination ports to draw from, a power of two; 0: leave the port */
volatile const __u32 port;     /* the least destination port */

__u64 state; /* Weyl sequence */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} subject SEC(".maps");

static __always_inline __u64 draw(void)
{
	__u64 z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 32) * 0xd6e8feb86659fd93ull;
	return z ^ z >> 32;
}

/* One to one on 30 bits. */
static __always_inline __u32 scramble(__u32 k)
{
	__u32 x = k * 0x9e3779b1u & 0x3fffffff;

	x ^= x >> 15;
	x = x * 0x85ebca6bu & 0x3fffffff;
	return x ^ x >> 13;
}

/* First octet 1 to 126, 128 and 129; bit 16 is 0 for hosts and 1 for networks, so that no host lies in a network. */
static __always_inline __u32 spread4(__u32 k)
{
	__u32 x = scramble(k), octet = (x >> 23) + 1;

	octet += octet >= 127;
	return octet << 24 | (x >> 16 & 0x7f) << 17 | (x & 0xffff);
}

/* The site, the upper half of the address, in 2000::/3; bit 32 is 0 for hosts and 1 for networks. */
static __always_inline __u64 spread6(__u32 k)
{
	__u32 x = scramble(k);
	__u32 upper = 0x20000000 | (x >> 2) << 1, lower = (x & 3) << 30 | x * 0x9e3779b1u >> 2;

	return (__u64)upper << 32 | lower;
}

/* Of 16 networks: eleven /24, and one each of /23, /22, /20, /18, /16. */
static __always_inline __u32 host_bits4(__u32 k)
{
	return 16 - (0x8888888888876420ull >> (k & 15) * 4 & 15);
}

/* Of 16 networks: eleven /48, two /32, one each of /40, /44, /56; the bits of the site that are not the network's. */
static __always_inline __u32 site_bits6(__u32 k)
{
	return 32 - (0x4444444444463200ull >> (k & 15) * 4 & 15) * 4;
}

static __always_inline void write4(void *at, __u32 k, __u64 random)
{
	struct ipv4 *ip = at;
	__u32 a = spread4(k), hosts;

	if (networks) {
		hosts = (1u << host_bits4(k)) - 1;
		a = ((a | 1 << 16) & ~hosts) | ((__u32)(random >> 16) & hosts);
	}
	ip->source = bpf_htonl(a);
}

static __always_inline void write6(void *at, __u32 k, __u64 random)
{
	struct ipv6 *ip = at;
	__u64 site = spread6(k), others;

	random *= 0xff51afd7ed558ccdull;
	if (networks) {
		others = (1ull << site_bits6(k)) - 1;
		site = ((site | 1ull << 32) & ~others) | (random & others);
	}
	ip->source_site = bpf_htonll(site);
	ip->source_interface = random;
}

SEC("xdp.frags")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *ip;
	__u32 header = version == 4 ? sizeof(struct ipv4) : sizeof(struct ipv6);
	__u64 random = draw();
	__u32 k = first + (__u32)((random >> 32) * count >> 32);
	struct udp *udp;

	ip = data + ip_at;
	udp = ip + header;
	if ((void *)(udp + 1) > end)
		return XDP_ABORTED;
	if (version == 4)
		write4(ip, k, random);
	else
		write6(ip, k, random);
	udp->source = random;
	if (ports)
		udp->destination = bpf_htons(port + (random >> 8 & (ports - 1)));
	bpf_tail_call(ctx, &subject, 0);
	return XDP_ABORTED;
}

/* The unit of the table. */
SEC("xdp.frags")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

/* What reading the headers costs. */
SEC("xdp.frags")
int parse(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be16 proto = 0;
	void *next = parse_link(data, end, &proto);
	struct ipv4 *ip4;
	struct ipv6 *ip6;

	if (!next)
		return XDP_DROP;
	if (proto == bpf_htons(ETH_P_IP)) {
		ip4 = parse_ipv4(next, end);
		return ip4 && ip4->source ? XDP_PASS : XDP_DROP;
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = parse_ipv6(next, end);
		return ip6 && ip6->source_site ? XDP_PASS : XDP_DROP;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
