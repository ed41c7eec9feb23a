/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The little that the filter needs of the kernel's ABI and of the wire's formats. It stands here, and not in the system's
 * headers, so that the same compiler makes the same bytes on every machine. Names and numbers are those of linux/bpf.h. */
#ifndef KERNEL_H
#define KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;

#define NULL ((void *)0)
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))

/* What another CPU may be writing is read once, and in the order it stands there. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))

/* The program is compiled for little-endian machines only (bpfel). */
#define bpf_htons(x) ((__be16)__builtin_bswap16(x))
#define bpf_ntohs(x) ((__u16)__builtin_bswap16(x))
#define bpf_ntohl(x) ((__u32)__builtin_bswap32(x))
#define bpf_htonl(x) ((__be32)__builtin_bswap32(x))
#define bpf_be64toh(x) __builtin_bswap64(x)

/* How libbpf and cilium/ebpf read a map's definition out of the BTF. */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define PIN_BY_NAME 1

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_F_INNER_MAP = 1 << 12,
};

enum {
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
static void *(*bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
static __u32 (*bpf_get_prandom_u32)(void) = (void *)7;
static __u64 (*bpf_jiffies64)(void) = (void *)118;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
static __u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;

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

/* RFC 8200 §3. */
struct ipv6 {
	__be32 version_class_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

/* RFC 791 §3.1, "Flags" and "Fragment Offset". */
#define FRAGMENT_OFFSET 0x1fff

/* Protocol numbers of the IANA registry, and the extension headers of RFC 8200 §4 and of RFC 7045 §4 among them. */
#define PROTO_HOP_BY_HOP 0
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AUTHENTICATION 51
#define PROTO_OPTIONS 60
#define PROTO_MOBILITY 135
#define PROTO_HIP 139
#define PROTO_SHIM6 140

/* Those begin alike, but for the authentication header, whose length counts other units (RFC 4302 §2.2). */
struct extension {
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a fragment header: offset in units of 8, shifted by 3 (RFC 8200 §4.5) */
	__u32 more;
};

/* RFC 768. */
struct udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

/* RFC 9293 §3.1. */
struct tcp {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledgement;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

#define TCP_SYN 2
#define TCP_ACK 16

#endif
