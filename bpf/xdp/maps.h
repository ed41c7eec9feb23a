/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, their keys and values. All are pinned, so that bans hold while no program of ours runs; any change of a name, a
 * type or a size here is a new layout and needs a new number in bpf/load.go. Addresses are in network byte order. */
#ifndef MAPS_H
#define MAPS_H

#include "kernel.h"
#include "verdict.h"

#define MAX_BANS 131072
#define MAX_NETWORKS 16384
#define MAX_ALLOWED 4096

/* ban is what the filter knows about a banned host or network. */
struct ban {
	__u64 until; /* CLOCK_MONOTONIC in ns; all ones: until it is lifted */
	__u32 list;  /* which list it is from; 0 now */
	__u32 flags; /* none yet */
};

/* LPM_TRIE keys. */
struct net4 {
	__u32 bits;
	__u32 addr;
};

struct net6 {
	__u32 bits;
	__u32 addr[4];
};

struct addr6 {
	__u32 word[4];
};

struct count {
	__u64 packets;
	__u64 bytes; /* of the frame's first buffer, which holds all of it unless it is larger than a page */
};

/* settings are what user space may change while the filter runs. */
struct settings {
	__u32 monitor; /* 1: drop nothing, count what would be dropped */
	__u32 samples; /* most events per second and CPU */
};

/* budget keeps a CPU within its samples. */
struct budget {
	__u64 second; /* begin of the second that is counted, CLOCK_MONOTONIC in ns */
	__u64 used;
};

#define EVENT_HEAD 128

/* event is a sample of what was dropped. */
struct event {
	__u64 time; /* CLOCK_MONOTONIC in ns */
	__u32 ifindex;
	__u32 length;
	__u8 reason;
	__u8 family;
	__u8 action;
	__u8 captured; /* bytes of head that are filled */
	__u32 source[4]; /* IPv4: the first word */
	__u8 head[EVENT_HEAD];
	__u32 pad;
};

#define PINNED __uint(pinning, PIN_BY_NAME)

/* Never LRU_HASH for bans: it loses entries before it is full. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BANS);
	__type(key, __u32);
	__type(value, struct ban);
	PINNED;
} host4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BANS);
	__type(key, struct addr6);
	__type(value, struct ban);
	PINNED;
} host6 SEC(".maps");

/* Keyed by the upper 64 bits: one site, RFC 6177 §2; the lower ones cost a sender nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BANS);
	__type(key, __u64);
	__type(value, struct ban);
	PINNED;
} site6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_NETWORKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net4);
	__type(value, struct ban);
	PINNED;
} network4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_NETWORKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net6);
	__type(value, struct ban);
	PINNED;
} network6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_ALLOWED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net4);
	__type(value, __u32);
	PINNED;
} allow4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_ALLOWED);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct net6);
	__type(value, __u32);
	PINNED;
} allow6 SEC(".maps");

/* Index: (family * REASONS + reason) * ACTIONS + action. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FAMILIES *REASONS *ACTIONS);
	__type(key, __u32);
	__type(value, struct count);
	PINNED;
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
	PINNED;
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
	PINNED;
} budgets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	PINNED;
} events SEC(".maps");

#endif
