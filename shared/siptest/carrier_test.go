package siptest

import (
	"errors"
	"strings"
	"testing"

	"brickhouse/shared/siptest/ladder"
)

func TestCarrierChallenges(t *testing.T) {
	for _, tt := range []struct {
		name     string
		code     int
		algo     string
		password string
		stale    int
		refuse   bool
		want     int
		counts   CarrierCounts
	}{
		{"no challenge", 0, "", "", 0, false, 200, CarrierCounts{Accepted: 1}},
		{"401", 401, "", "secret", 0, false, 200, CarrierCounts{Challenged: 1, Accepted: 1}},
		{"407 SHA-256", 407, SHA256, "secret", 0, false, 200, CarrierCounts{Challenged: 1, Accepted: 1}},
		{"stale once", 407, "", "secret", 1, false, 200, CarrierCounts{Challenged: 1, Stale: 1, Accepted: 1}},
		{"wrong password", 401, "", "guess", 0, false, 401, CarrierCounts{Challenged: 1, Wrong: 1}},
		{"wrong password, 403", 401, "", "guess", 0, true, 403, CarrierCounts{Challenged: 1, Wrong: 1}},
		{"no password", 407, "", "", 0, false, 407, CarrierCounts{Challenged: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewCarrier(CarrierConfig{Config: Config{Bind: loopback, Tone: 700}, Challenge: tt.code, TrunkUser: "trunk",
				TrunkSecret: "secret", TrunkAlgo: tt.algo, AlwaysStale: tt.stale, RefuseLogins: tt.refuse})
			must(t, err)
			defer c.Close()
			p := open(t, Config{User: "alice", AuthUser: "trunk", Password: tt.password, Server: c.Addr().String()})
			ctx := within(t)
			call, err := p.Call(ctx, "0123")
			var no *RefusedError
			if errors.As(err, &no) != (tt.want != 200) || err != nil && no == nil {
				t.Fatal(err)
			}
			if call.Result().Code != tt.want || c.Counts() != tt.counts {
				t.Errorf("result %v, counts %+v, want %d, %+v", call.Result(), c.Counts(), tt.want, tt.counts)
			}
			if tt.want == 200 {
				if !strings.HasPrefix(incoming(t, c.Phone).Request().URI, "sip:0123@") {
					t.Error("another number was called")
				}
				_, err = call.AwaitTone(ctx, 700)
				must(t, err)
				must(t, call.Hangup(ctx))
			}
			faultless(t, p, c.Phone)
		})
	}
	if _, err := NewCarrier(CarrierConfig{Config: Config{Bind: loopback}, Challenge: 403}); err == nil {
		t.Error("a challenge with 403 was accepted")
	}
	if _, err := NewCarrier(CarrierConfig{}); err == nil {
		t.Error("a carrier without an address was accepted")
	}
}

func TestCarrierCallsIn(t *testing.T) {
	border := open(t, Config{User: "border", Transport: TCP})
	c, err := NewCarrier(CarrierConfig{Config: Config{Bind: loopback, Transport: TCP, Server: border.Addr().String(), User: "+15551234"}})
	must(t, err)
	defer c.Close()
	ctx := within(t)
	call, err := c.Call(ctx, "sip:200@example.test", WithFrom("sip:anonymous@anonymous.invalid"))
	must(t, err)
	in := incoming(t, border)
	if in.Request().URI != "sip:200@example.test" || address(in.Request().Header("From")) != "sip:anonymous@anonymous.invalid" {
		t.Errorf("%s", in.Request().Raw)
	}
	must(t, in.Hangup(ctx))
	over(t, call, EndBye)
	if n := len(ladder.Containing(border.Ladder(), "+15551234@"+c.Addr().String())); n == 0 {
		t.Error("the contact is not the carrier's listener")
	}
}
