// Package bpf is the kernel side of the border: an XDP program that drops packets of banned sources before the kernel's network
// stack sees them, and its exact Go mirror. It imports nothing else of this repository.
//
// The program (xdp/edge.bpf.c) reads the Ethernet header, at most two VLAN tags and the IP header and judges the source before it reads
// anything behind that: no fragment, option, extension header or transport protocol can carry a packet past a ban. What can't be
// parsed is dropped; ARP and whatever else is no IP passes. A source on the never-ban list passes then. Of all others it drops
// datagrams to closed media ports, what is not like SIP on the SIP ports, and what is over a rate. Each packet moves exactly one
// counter, named by address family, reason and action.
//
// What passes goes to the network stack unchanged, but for plain RTP that has a stream (Flow.Forward): that is rewritten and sent on to
// the other side of its call. Streams do not outlive the program by more than some seconds (ForwardUntil).
//
// What is known about sources stands in flat tables that package table writes in our memory and the program only reads.
//
// Maps and links are pinned below a directory of a BPF file system, under the number of their layout:
//
//	/sys/fs/bpf/NAME/v4/tables dir4 dir6 dir6w deep6   sources (xdp/maps.h)
//	                   /ports own cells strangers config   local ports and addresses, rates, settings
//	                   /streams flows                  media that is sent on here, and its counters
//	                   /cpus events                    counters, samples
//	                   /link_IFINDEX                   one for each interface
//
// So the filter goes on, and bans end in time, while no program runs. Open takes over what is pinned; Attach replaces the program
// of a pinned link atomically, without one packet passing unfiltered. Close leaves all that in place, Detach leaves nothing.
//
// The verifier walks 315,000 of the million instructions that it allows (6.18). Media are sent on by redirect, to interfaces of which the
// caller knows that their drivers take such frames.
//
// Kernel 5.11 or newer is needed, 5.18 for interfaces whose MTU is larger than a page. CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON
// are needed to load, and write access to the BPF file system; that is to say root, usually. Only little-endian machines.
//
// The clock of bans is CLOCK_MONOTONIC, which stands still while the machine sleeps: a ban may then last longer than it was
// given, never shorter.
package bpf

// The object is committed, so that building needs no C compiler; a test rebuilds it and compares every byte. -mcpu=v3 is what
// kernel 5.1 and newer run; -g makes the BTF that the loader needs; bpfel serves every little-endian machine.
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror" -go-package bpf -output-stem edge -type reason -type action -type family -type event -type net6 -type count -type settings -type rate -type geometry -type address -type cpu -type line -type endpoint -type stream -type flow edge xdp/edge.bpf.c
