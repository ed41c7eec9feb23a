// Package filterbench measures what XDP filters cost per packet: ours, a baseline of the kernel's stock maps that is kept here, and
// foreign ones, all by the same code. It is for tests and benchmarks only, and needs root.
//
// A packet is one repeat of an unattached test run (BPF_PROG_TEST_RUN). A generator (xdp/generator.bpf.c) writes a pseudo-random
// source into the frame at each repeat, so that caches miss as under a flood, and calls the program under test. The unit of
// all results is "drop", the same generator with a program that only says XDP_DROP, measured alternately in the same run.
//
// Cost is counted in cycles of the processor's PMU, given as ns of a 4 GHz processor. Where a virtual machine has no PMU, it
// is the thread's CPU time, and the results say so. Absolute figures hold for one machine only, ratios to drop elsewhere too, but for
// one thing: the kernel's own loop around each repeat is part of drop, and where mitigations make returns dear (Spectre, SRSO) it
// is most of it, which flatters every ratio. So the loop is measured too, and all ratios are told without it as well ("net").
package filterbench

// The objects are committed, as those of package bpf are, and a test rebuilds them.
//
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror" -go-package filterbench -output-stem generator generator xdp/generator.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Werror" -go-package filterbench -output-stem baseline -type ban -type net4 -type net6 baseline xdp/baseline.bpf.c
