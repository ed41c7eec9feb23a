// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the filter is compared with: the same duties done with the kernel's stock maps, in the usual order and with care. Allow list
 * (LPM_TRIE), banned hosts (HASH, expiry), banned networks (LPM_TRIE, expiry), a token bucket for each source (LRU_HASH), counters for
 * each CPU. Each source is looked up by four bytes, or by its site of eight. Ports, payload and pinholes are not looked at. */
#include "abi.h"
#include "parse.h"

enum reason {
	REASON_NONE = 0,
	REASON_ALLOWED = 1,
	REASON_HOST_BANNED = 2,
	REASON_NETWORK_BANNED = 3,
	REASON_RATE = 4,
	REASON_BAD_PACKET = 5,
};

#define FAMILIES 3
#define REASONS 8
#define LISTS 64

struct ban {
	__u64 until; /* CLOCK_MONOTONIC in ns */
	__u32 list;
	__u32 pad;
};

struct net4 {
	__u32 bits;
	__be32 addr;
};

struct net6 {
	__u32 bits;
	__be32 addr[2]; /* nothing longer than a site */
};

struct bucket {
	__u64 filled; /* when tokens was right, CLOCK_MONOTONIC in ns */
	__u64 tokens; /* in ns of waiting */
};

struct tally {
	__u64 packets;
	__u64 bytes;
};

/* Set before loading. */
volatile const __u64 interval = 1; /* ns between packets of one source in the long run; 0: no limit */
volatile const __u64 burst = 1;    /* what a source may save up, in ns */
volatile const __u32 fine_clock;   /* 1: ask the clock itself, not the last tick's time */

/* The capacities are set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net4);
	__type(value, __u32);
} allow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net6);
	__type(value, __u32);
} allow6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, struct ban);
} host4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __be64);
	__type(value, struct ban);
} site6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net4);
	__type(value, struct ban);
} network4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net6);
	__type(value, struct ban);
} network6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __be32);
	__type(value, struct bucket);
} rate4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __be64);
	__type(value, struct bucket);
} rate6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAMILIES *REASONS);
	__type(key, __u32);
	__type(value, struct tally);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LISTS);
	__type(key, __u32);
	__type(value, struct tally);
} lists SEC(".maps");

static __always_inline __u64 now(void)
{
	return fine_clock ? bpf_ktime_get_ns() : bpf_ktime_get_coarse_ns();
}

static __always_inline void add(void *map, __u32 i, __u64 bytes)
{
	struct tally *t = bpf_map_lookup_elem(map, &i);

	if (t) {
		t->packets++;
		t->bytes += bytes;
	}
}

static __always_inline int in_force(struct ban *b, __u64 bytes)
{
	if (!b || b->until <= now())
		return 0;
	add(&lists, b->list, bytes);
	return 1;
}

/* A token bucket as most programs have it: racing CPUs may lose a token, no lock is taken. */
static __always_inline int over_limit(void *buckets, const void *source)
{
	__u64 t = now(), tokens;
	struct bucket *b, fresh;

	if (!interval)
		return 0;
	b = bpf_map_lookup_elem(buckets, source);
	if (!b) {
		fresh.filled = t;
		fresh.tokens = burst - interval;
		bpf_map_update_elem(buckets, source, &fresh, 0);
		return 0;
	}
	tokens = b->tokens + (t - b->filled);
	if (tokens > burst)
		tokens = burst;
	b->filled = t;
	if (tokens < interval) {
		b->tokens = tokens;
		return 1;
	}
	b->tokens = tokens - interval;
	return 0;
}

static __always_inline enum reason judge4(void *at, void *end, __u64 bytes)
{
	struct ipv4 *ip = parse_ipv4(at, end);
	struct net4 key = {.bits = 32};
	__be32 source;

	if (!ip)
		return REASON_BAD_PACKET;
	source = key.addr = ip->source;
	if (bpf_map_lookup_elem(&allow4, &key))
		return REASON_ALLOWED;
	if (in_force(bpf_map_lookup_elem(&host4, &source), bytes))
		return REASON_HOST_BANNED;
	if (in_force(bpf_map_lookup_elem(&network4, &key), bytes))
		return REASON_NETWORK_BANNED;
	return over_limit(&rate4, &source) ? REASON_RATE : REASON_NONE;
}

static __always_inline enum reason judge6(void *at, void *end, __u64 bytes)
{
	struct ipv6 *ip = parse_ipv6(at, end);
	struct net6 key = {.bits = 64};
	__be64 site;

	if (!ip)
		return REASON_BAD_PACKET;
	site = ip->source_site;
	__builtin_memcpy(key.addr, &site, sizeof(key.addr));
	if (bpf_map_lookup_elem(&allow6, &key))
		return REASON_ALLOWED;
	if (in_force(bpf_map_lookup_elem(&site6, &site), bytes))
		return REASON_HOST_BANNED;
	if (in_force(bpf_map_lookup_elem(&network6, &key), bytes))
		return REASON_NETWORK_BANNED;
	return over_limit(&rate6, &site) ? REASON_RATE : REASON_NONE;
}

SEC("xdp.frags")
int baseline(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum reason why = REASON_BAD_PACKET;
	__u64 bytes = end - data;
	__u32 family = 0;
	__be16 proto = 0;
	void *next = parse_link(data, end, &proto);

	if (next && proto == bpf_htons(ETH_P_IP)) {
		family = 1;
		why = judge4(next, end, bytes);
	} else if (next && proto == bpf_htons(ETH_P_IPV6)) {
		family = 2;
		why = judge6(next, end, bytes);
	} else if (next) {
		why = REASON_NONE;
	}
	add(&reasons, family * REASONS + why, bytes);
	return why <= REASON_ALLOWED ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
