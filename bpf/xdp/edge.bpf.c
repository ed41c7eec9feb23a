// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The border's edge filter: link header, IP header, source; then drop with a reason or pass. It never changes a packet. */
#include "kernel.h"
#include "report.h"
#include "source.h"

/* Types that user space shares, kept in the BTF for bpf2go. */
const enum reason *keep_reason __attribute__((unused));
const enum action *keep_action __attribute__((unused));
const enum family *keep_family __attribute__((unused));
const struct event *keep_event __attribute__((unused));

static __always_inline void judge(void *data, void *end, struct packet *p)
{
	struct ipv6 *ip6;
	struct ipv4 *ip4;
	__be16 proto = 0;
	void *next = parse_link(data, end, &proto, p);

	if (!next)
		return;
	if (proto == bpf_htons(ETH_P_IP)) {
		ip4 = parse_ipv4(next, end, p);
		if (ip4)
			check_ipv4(ip4, p);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = parse_ipv6(next, end, p);
		if (ip6)
			check_ipv6(ip6, p);
	} /* ARP and whatever else is no IP passes */
}

/* frags: else a driver with a large MTU refuses the program. Where the kernel is too old for them, the loader says so. */
SEC("xdp.frags")
int edge(struct xdp_md *ctx)
{
	struct packet p = {};

	judge((void *)(long)ctx->data, (void *)(long)ctx->data_end, &p);
	return finish(ctx, &p);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
