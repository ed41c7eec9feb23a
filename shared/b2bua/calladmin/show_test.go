package calladmin

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/verdict"
)

const drawn = `call c1, trace t1
1001 -> 1002, from access to core, started 2026-11-25 20:00:00.000
ended normal-clearing after 2.5s of talk
  SECONDS  A                            | B                            |
    0.000  --> INVITE 1 sdp             |                              | 198.51.100.7:5061
    0.002                               | --> INVITE 5 sdp             | exchange 192.0.2.10:5070
    0.010                               | <-- 180 INVITE 5             | exchange 192.0.2.10:5070
    0.011  <-- 180 INVITE 1             |                              | 198.51.100.7:5061
and 3 more
media A: AEAD_AES_256_GCM with 198.51.100.7:4000, 500 packets in (0 in kernel), 498 out
         hears 1.0 % loss, 2.5 ms jitter, round trip 30.0 ms, MOS 4.3 by 3 reports
         dropped 2: media-stranger
media B: RTP with nobody, 498 packets in (400 in kernel), 499 out
`

func TestShow(t *testing.T) {
	at := time.Date(2026, 11, 25, 20, 0, 0, 0, time.Local)
	after := func(ms int) time.Time { return at.Add(time.Duration(ms) * time.Millisecond) }
	caller, exchange := netip.MustParseAddrPort("198.51.100.7:5061"), netip.MustParseAddrPort("192.0.2.10:5070")
	r := b2bua.Record{
		Info:  b2bua.Info{ID: "c1", Trace: "t1", Caller: "1001", Callee: "1002\x1b[2J", From: "access", To: "core", Started: at, Answered: after(500)},
		Ended: after(3000), Code: 200, Reason: verdict.NormalClearing, Skipped: 3,
		Media: []b2bua.MediaSide{
			{
				Side: "a", Remote: netip.MustParseAddrPort("198.51.100.7:4000"), Crypto: "AEAD_AES_256_GCM", PacketsIn: 500, PacketsOut: 498,
				Dropped: map[verdict.Reason]uint64{verdict.MediaStranger: 2}, Reports: 3, Loss: 0.01, JitterMS: 2.5, RoundTripMS: 30, MOS: 4.3,
			},
			{Side: "b", PacketsIn: 498, PacketsOut: 499, InKernel: 400},
		},
		Steps: []b2bua.Step{
			{At: at, Side: "a", Method: sip.INVITE, CSeq: 1, SDP: true, Remote: caller},
			{At: after(2), Side: "b", Leg: "exchange", Sent: true, Method: sip.INVITE, CSeq: 5, SDP: true, Remote: exchange},
			{At: after(10), Side: "b", Leg: "exchange", Code: 180, Method: sip.INVITE, CSeq: 5, Remote: exchange},
			{At: after(11), Side: "a", Sent: true, Code: 180, Method: sip.INVITE, CSeq: 1, Remote: caller},
		},
	}
	run := serve(t, &calls{records: map[string][]b2bua.Record{"c1": {r}}})
	status, out, _ := run("show", "c1")
	if want := strings.Replace(drawn, "-> 1002,", "-> 1002[2J,", 1); status != 0 || strings.ReplaceAll(out, "?", "") != want {
		t.Errorf("%d\n%s", status, out)
	}
	if status, out, _ := run("show", "c1", "--json"); status != 0 || !strings.Contains(out, `"method": "INVITE"`) {
		t.Errorf("%d %s", status, out)
	}
	if status, _, errs := run("show", "c2"); status == 0 || !strings.Contains(errs, `no call has the ID or trace "c2"`) {
		t.Errorf("%d %q", status, errs)
	}
}

func TestDrain(t *testing.T) {
	x := &calls{list: []b2bua.Info{{ID: "c1"}}}
	run := serve(t, x)
	if status, out, _ := run("drain"); status != 0 || out != "no new calls are taken; 1 in hand\n" || !x.drain {
		t.Errorf("%d %q", status, out)
	}
	if status, out, _ := run("drain", "--off", "--json"); status != 0 || !strings.Contains(out, `"draining": false`) || x.drain {
		t.Errorf("%d %q", status, out)
	}
}
