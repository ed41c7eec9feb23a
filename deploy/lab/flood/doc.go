// Package flood sends many datagrams in other people's names onto a wire of the lab, as an attacker on the same segment would.
//
// It writes whole Ethernet frames through a packet socket, so it is bound to one interface of the calling thread's network namespace and
// asks no route. Each flood is bounded in packets and time. It is test code only: run it in namespaces that the test made itself.
//
// Package bench beside it measures what a dropped packet costs; cmd/floodbench prints the table.
package flood
