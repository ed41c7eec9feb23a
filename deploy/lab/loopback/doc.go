// Package loopback tests the whole product, as its users get it, without any rights: both real programs on addresses of
// 127/8, and phones and carriers of another make (shared/siptest) around them. It is test code only.
//
// Every test lays out a site of its own, so tests run side by side:
//
//	outside                                  │ border │                     inside
//	phones      127.a.b.100 and up ── TLS ──►│ .1     │ ── mutual TLS ──► exchange .10 ◄── UDP, TCP ── phones .150 and up
//	gateways    127.a.b.60, .61    ── UDP ──►│ .2     │    media from .3
//
// What is asserted was seen from outside the programs: by the phones, in the call records, over the admin sockets, in
// /metrics, in what the programs wrote and how they ended.
package loopback
