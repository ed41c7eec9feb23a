// Package bench measures, on a veth between two namespaces that it makes itself, what a dropped packet costs the machine that drops it:
// with the border's filter, with a program that drops everything, and with what else an operator might use.
//
// The packets come from the kernel's own generator (BPF_PROG_TEST_RUN with live frames, 5.18) and reach the other end as XDP frames, as
// they would come from a network card's driver. That end receives in a kernel thread of its own on another CPU than the sender's; what
// that thread and the receiving program use is the cost: cycles where the machine lets them be counted, CPU time else.
//
// Figures hold within one run. A virtual machine's neighbours and other work on the CPU show as the distance of minimum and median.
package bench
