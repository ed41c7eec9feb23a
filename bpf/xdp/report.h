/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What becomes of the decision: a counter for each packet, and a sample for some of those that are dropped. */
#ifndef REPORT_H
#define REPORT_H

#include "maps.h"
#include "parse.h"

#define SECOND 1000000000ull

static __always_inline void count(const struct packet *p, __u32 action, __u64 bytes)
{
	__u32 i = (p->family * REASONS + p->why) * ACTIONS + action;
	struct count *c = bpf_map_lookup_elem(&counts, &i);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

/* Takes one of this CPU's samples; 0 if this second's are used up. */
static __always_inline int take_sample(__u32 samples, __u64 now)
{
	__u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&budgets, &zero);

	if (!b)
		return 0;
	if (now - b->second >= SECOND) {
		b->second = now;
		b->used = 0;
	}
	if (b->used >= samples)
		return 0;
	b->used++;
	return 1;
}

static __always_inline __u8 copy_head(__u8 *to, const void *from, const void *end)
{
	__u8 n = 0;

#pragma unroll
	for (int i = 0; i < EVENT_HEAD; i += 8) {
		if (from + i + 8 > end)
			break;
		__builtin_memcpy(to + i, from + i, 8);
		n = i + 8;
	}
	return n;
}

/* Tells user space about a dropped packet, unless there were too many of them or nobody reads. */
static __noinline int sample(struct xdp_md *ctx, const struct packet *p, __u32 action, __u32 samples)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 now = bpf_ktime_get_coarse_ns();
	struct event *e;

	if (!p || !take_sample(samples, now))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = now;
	e->ifindex = ctx->ingress_ifindex;
	e->length = end - data;
	e->reason = p->why;
	e->family = p->family;
	e->action = action;
	__builtin_memcpy(e->source, p->source, sizeof(e->source));
	e->captured = copy_head(e->head, data, end);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

static __always_inline int finish(struct xdp_md *ctx, const struct packet *p)
{
	__u64 bytes = ctx->data_end - ctx->data;
	__u32 zero = 0, action = ACTION_DROP;
	struct settings *s;

	if (p->why == REASON_NONE) {
		count(p, ACTION_PASS, bytes);
		return XDP_PASS;
	}
	if (p->allowed) {
		count(p, ACTION_ALLOW, bytes);
		return XDP_PASS;
	}
	s = bpf_map_lookup_elem(&config, &zero);
	if (s && s->monitor)
		action = ACTION_MONITOR;
	count(p, action, bytes);
	if (s && s->samples)
		sample(ctx, p, action, s->samples);
	return action == ACTION_DROP ? XDP_DROP : XDP_PASS;
}

#endif
