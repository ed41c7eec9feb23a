// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The border's edge filter: link header, IP header, source, then what the packet wants; it is dropped with a reason or passes, unchanged.
 * Only what a call has a stream for is changed, and sent on. */
#include "forward.h"
#include "kernel.h"
#include "report.h"
#include "service.h"
#include "source.h"

/* Types that user space shares, kept in the BTF for bpf2go. */
const enum reason *keep_reason __attribute__((unused));
const enum action *keep_action __attribute__((unused));
const enum family *keep_family __attribute__((unused));
const struct event *keep_event __attribute__((unused));
const struct line *keep_line __attribute__((unused));
const struct stream *keep_stream __attribute__((unused));

/* What can't be parsed is dropped, unless monitor mode lets the reason only count. */
static __always_inline void unparsed(const struct settings *s, struct packet *p)
{
	enum reason why = p->why;

	p->why = REASON_NONE;
	against(s, p, why, 0);
}

static __always_inline void judge(const struct settings *s, struct cpu *c, void *data, void *end, struct packet *p)
{
	struct ipv6 *ip6;
	struct ipv4 *ip4;
	__be16 proto = 0;
	void *next = parse_link(data, end, &proto, p);

	if (!next) {
		unparsed(s, p);
	} else if (proto == bpf_htons(ETH_P_IP)) {
		ip4 = parse_ipv4(next, end, p);
		if (!ip4)
			unparsed(s, p);
		else if (!check_ipv4(s, c, ip4, p))
			service_ipv4(s, ip4, end, p);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = parse_ipv6(next, end, p);
		if (!ip6)
			unparsed(s, p);
		else if (!check_ipv6(s, ip6, p))
			service_ipv6(s, ip6, end, p);
	} /* ARP and whatever else is no IP passes */
}

/* frags: else a driver with a large MTU refuses the program. Where the kernel is too old for them, the loader says so. */
SEC("xdp.frags")
int edge(struct xdp_md *ctx)
{
	struct packet p = {};
	__u32 zero = 0;
	int passes = XDP_PASS;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);
	struct cpu *c = bpf_map_lookup_elem(&cpus, &zero);

	if (!s || !c)
		return XDP_PASS; /* never: both have one entry */
	p.generation = READ_ONCE(s->generation) & 1;
	p.cpu = c;
	judge(s, c, (void *)(long)ctx->data, (void *)(long)ctx->data_end, &p);
	if (!p.why && s->forward_until && (p.forward || p.class == LIST_ALLOW))
		passes = forward(ctx);
	return finish(ctx, s, c, &p, passes);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
