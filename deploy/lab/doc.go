// Package lab runs both real binaries against programs that nobody here wrote, on a little internet that the test builds
// itself. It is test code only.
//
//	                     carrier 198.18.3.1                    vault 198.19.0.20        desk, desk2 198.19.64.101, .102
//	                          │                                     │                          │
//	remote 198.18.1.1 ──┬─ Internet ─┬── DMZ (border) ──┬──────── Core ──┬── exchange ──┬─── Voice
//	remote2 198.18.2.1 ─┘            │  198.18.0.1      │  198.19.0.1    │  198.19.0.10 │  198.19.64.10
//	                     attacker 198.18.66.1
//
// A scenario reads like a story:
//
//	l := lab.New(t)
//	wire := l.Internet.Capture()
//	sbc := l.DMZ.Run(lab.Program{Path: "sbc", Args: …, Ready: lab.Listening("tcp", l.DMZ.Port(l.Internet, 5061))})
//	alice := l.Remote.Baresip(lab.Account{User: "1001", …, TLS: true, SRTP: true, Tone: 440})
//	bob := l.Desk.Baresip(lab.Account{User: "1002", …, Tone: 700})
//	alice.Register()
//	bob.Register()
//	alice.Call("1002")
//	bob.Answer()
//	alice.Hears(700)
//	bob.Hears(440)
//	wire.HoldsNoHost(l.Exchange.Addrs()...)
//	wire.HoldsNoPlainAudio()
//
// New builds namespaces and needs root; NewLoopback lays the same hosts on addresses of 127/8 and needs nothing, so the
// same story runs for everybody. Every wait has a deadline and fails the test with what was waited for.
package lab
