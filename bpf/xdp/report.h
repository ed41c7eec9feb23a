/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What becomes of the decision: a counter for each packet, and a sample for some. */
#ifndef REPORT_H
#define REPORT_H

#include "maps.h"
#include "parse.h"

#define SECOND 1000000000ull

static __always_inline void add(struct count *c, __u64 bytes)
{
	c->packets++;
	c->bytes += bytes;
}

static __always_inline __u64 frame_bytes(struct xdp_md *ctx)
{
	return (void *)(long)ctx->data_end - (void *)(long)ctx->data;
}

/* The barrier keeps the compiler from comparing something else than what the verifier sees used. */
static __always_inline __u32 at_most(__u64 n, __u32 most)
{
	if (n > most)
		n = most;
	asm volatile("" : "+r"(n));
	return n & 2047;
}

/* Whether this CPU has samples left for drops beside those that one in an interval is, which get the other half; or a new second. */
static __always_inline int may_sample(const struct cpu *c, __u32 samples, struct packet *p)
{
	return c->used < (samples + 1) >> 1 || (samples && now_of(p) - c->second >= SECOND);
}

/* Takes one of this CPU's samples; 0 if this second's are used up. */
static __always_inline int take_sample(struct cpu *c, __u32 samples, __u64 now)
{
	if (now - c->second >= SECOND) {
		c->second = now;
		c->used = 0;
	}
	if (c->used >= samples)
		return 0;
	c->used++;
	return 1;
}

/* Tells user space about a packet, unless there were too many or nobody reads. */
static __noinline int sample(struct xdp_md *ctx, const struct packet *p, __u32 action, __u32 weight)
{
	__u64 length = frame_bytes(ctx);
	__u32 zero = 0, snap = EVENT_HEAD;
	struct settings *s = bpf_map_lookup_elem(&config, &zero);
	struct cpu *c = bpf_map_lookup_elem(&cpus, &zero);
	__u64 now = bpf_ktime_get_coarse_ns();
	struct event *e;

	if (!p || !s || !c || !take_sample(c, s->samples, now))
		return 0;
	/* The sizes are constants, as the verifier wants it; the larger one only while somebody captures. */
	if (s->snap == EVENT_FULL && action == ACTION_DROP) {
		snap = EVENT_FULL;
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + EVENT_FULL, 0);
	} else {
		e = bpf_ringbuf_reserve(&events, sizeof(*e) + EVENT_HEAD, 0);
	}
	if (!e) {
		c->lost++;
		return 0;
	}
	e->time = now;
	e->ifindex = ctx->ingress_ifindex;
	e->length = length;
	e->reason = p->why;
	e->family = p->family;
	e->action = action;
	e->list = p->list;
	e->weight = weight;
	__builtin_memcpy(e->source, p->source, sizeof(e->source));
	e->captured = length < snap ? length : snap;
	e->pad = 0;
	if (snap == EVENT_FULL)
		bpf_probe_read_kernel(e->head, at_most(length, EVENT_FULL), (void *)(long)ctx->data);
	else
		bpf_probe_read_kernel(e->head, at_most(length, EVENT_HEAD), (void *)(long)ctx->data);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* passes is the XDP action for what nothing is against. */
static __always_inline int finish(struct xdp_md *ctx, const struct settings *s, struct cpu *c, struct packet *p, int passes)
{
	__u64 bytes = frame_bytes(ctx);
	__u32 action = ACTION_DROP, weight = 0;

	if (p->why == REASON_NONE) {
		action = passes != XDP_PASS ? ACTION_FORWARD : p->class == LIST_ALLOW ? ACTION_ALLOW : ACTION_PASS;
		if (p->noted) {
			action = ACTION_MONITOR;
			p->why = p->noted;
			p->list = p->noted_list;
			add(&c->monitored[p->list & LIST_MASK], bytes);
		}
	} else {
		add(&c->dropped[p->list & LIST_MASK], bytes);
	}
	add(&c->counts[((p->family & FAMILIES - 1) * REASONS + (p->why & REASONS - 1)) * ACTIONS + action], bytes);
	if (s->interval) {
		if (c->wait > 1) {
			c->wait--;
		} else {
			weight = s->interval;
			c->wait = 1 + (__u32)((__u64)bpf_get_prandom_u32() * (2 * weight - 1) >> 32);
		}
	}
	if (weight || (p->why && may_sample(c, s->samples, p)))
		sample(ctx, p, action, weight);
	return action == ACTION_DROP ? XDP_DROP : passes;
}

#endif
