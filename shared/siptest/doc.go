// Package siptest is a telephone and a carrier for tests: a second implementation of SIP, SDP, digest, RTP and SRTP, kept
// apart from the product's own on purpose. What the product reads and writes with its packages is here read and written by
// other code, so that a fault in a shared package can't hide behind itself. It imports nothing of the product but shared/tone.
//
// A Phone registers, calls, answers by a policy, holds, resumes, transfers and hangs up; it sends a tone and measures what it hears;
// it keeps every message that it sent or received. A Carrier is the far end of a trunk: it challenges calls, answers them
// and calls in. Attack tries wrong passwords from an address of choice and tells what came of each try.
//
//	alice, err := siptest.NewPhone(siptest.Config{User: "101", Password: pw, Domain: "example.test",
//		Transport: siptest.TLS, Server: "127.0.0.1:5061", TLS: roots, SRTP: []siptest.Suite{siptest.AESGCM}, Tone: 440})
//	…
//	err = alice.Register(ctx, 10*time.Minute)
//	call, err := alice.Call(ctx, "102")
//	heard, err := call.AwaitTone(ctx, 880)
//	err = call.Hangup(ctx)
//	ladder.Print(os.Stdout, …alice.Ladder()…)
//
// Everything that waits has a deadline or a context; Close ends all that a phone started.
package siptest
