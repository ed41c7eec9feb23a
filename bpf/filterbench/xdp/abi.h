/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The little that these programs need of the kernel's ABI and of the wire's formats; as bpf/xdp/kernel.h, and apart from it, so that
 * the filter can change without the baseline's object changing. Names and numbers are those of linux/bpf.h. */
#ifndef ABI_H
#define ABI_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;

#define NULL ((void *)0)
#define __always_inline inline __attribute__((always_inline))

/* The programs are compiled for little-endian machines only (bpfel). */
#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))
#define bpf_htonll(x) ((__be64)__builtin_bswap64(x))

/* How libbpf and cilium/ebpf read a map's definition out of the BTF. */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
};

enum {
	BPF_F_NO_PREALLOC = 1,
};

enum {
	XDP_ABORTED = 0,
	XDP_DROP = 1,
	XDP_PASS = 2,
};

struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
	__u32 rx_queue_index;
	__u32 egress_ifindex;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_tail_call)(void *ctx, void *programs, __u32 index) = (void *)12;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;

/* IEEE 802.3 §3.2, IEEE 802.1Q §9.6; EtherTypes of the IEEE registry. */
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__be16 proto;
};

struct tag {
	__be16 control;
	__be16 proto;
};

/* RFC 791 §3.1. */
struct ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

/* RFC 8200 §3. The addresses are split as sites (RFC 6177 §2) and interfaces are. */
struct ipv6 {
	__be32 version_class_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__be64 source_site;
	__be64 source_interface;
	__be64 destination[2];
};

/* RFC 768. */
struct udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

#endif
