/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the filter decides, and why. The words behind the reasons are those of Go's package verdict; bpf/verdict.go and a
 * test hold them together. The numbers stand in pinned maps: they are never given away twice. */
#ifndef VERDICT_H
#define VERDICT_H

enum reason {
	REASON_NONE = 0,            /* "" */
	REASON_HOST_BANNED = 1,     /* host-banned */
	REASON_NETWORK_BANNED = 2,  /* network-banned */
	REASON_BAD_PACKET = 3,      /* bad-packet */
	REASON_TOO_MANY_TAGS = 4,   /* too-many-tags */
	REASON_MARTIAN_SOURCE = 5,  /* martian-source */
	REASON_FRAGMENT = 6,        /* fragment */
	REASON_EXTENSION_CHAIN = 7, /* extension-chain */
	REASON_PORT_CLOSED = 8,     /* port-closed */
	REASON_NOT_SIP = 9,         /* not-sip */
	REASON_SOURCE_RATE = 10,    /* source-rate */
	REASON_STRANGERS_RATE = 11, /* strangers-rate */
	REASON_CONNECTION_RATE = 12, /* connection-rate */
};

enum action {
	ACTION_PASS = 0,    /* nothing was against it */
	ACTION_DROP = 1,    /* dropped */
	ACTION_MONITOR = 2, /* would be dropped, but monitor mode lets it pass */
	ACTION_ALLOW = 3,   /* its source is on the never-ban list, and nothing more was asked */
	ACTION_FORWARD = 4, /* media of a call, sent on to the other side */
};

enum family {
	FAMILY_OTHER = 0, /* neither IPv4 nor IPv6, or not parsed as far */
	FAMILY_IPV4 = 1,
	FAMILY_IPV6 = 2,
};

/* Room for counters: more reasons can come without a new layout. */
#define FAMILIES 4
#define REASONS 32
#define ACTIONS 8

#endif
