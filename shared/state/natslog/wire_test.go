package natslog

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

func TestSubject(t *testing.T) {
	for id, want := range map[string]string{
		"1001":                "state.rows.0.1001",
		"a.b*c>d e":           "state.rows.0.a=2Eb=2Ac=3Ed=20e",
		"1001 sip:u@10.0.0.1": "state.rows.0.1001=20sip:u@10=2E0=2E0=2E1",
		"=\x00\xff":           "state.rows.0.=3D=00=FF",
	} {
		k := state.Key{Table: "rows", Shard: "0", ID: id}
		if got := subject(k); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
		if got, err := parseSubject(want); got != k || err != nil {
			t.Errorf("%s: %v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "state.", "other.rows.0.a", "state.rows.a", "state.rows.0.a.b", "state.rows.0.=", "state.rows.0.=4", "state.rows.0.=zz"} {
		if k, err := parseSubject(bad); !errors.Is(err, errWire) {
			t.Errorf("%q is %v, %v", bad, k, err)
		}
	}
}

func TestMessageRoundTrip(t *testing.T) {
	for _, c := range []state.Change{
		{Key: state.Key{Table: "rows", Shard: "1", ID: "x"}, Ver: state.Ver{Epoch: 3, Seq: 1 << 63}, Rev: 9, Val: []byte("v"), By: "a", Expires: time.UnixMilli(5)},
		{Key: state.Key{Table: "rows", Shard: "1", ID: "x"}, Ver: state.Ver{Seq: 1}, Rev: 9, Del: true, By: "a"},
	} {
		m := message(c, 8, "reply")
		if m.Header.Get(headerExpect) != "8" || m.Reply != "reply" || c.Del != (m.Header.Get(headerTTL) != "") {
			t.Errorf("%+v", m)
		}
		if got, err := change(m.Subject, m.Header, m.Data, 9); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, c)
		}
	}
	for _, h := range []nats.Header{
		{}, {headerVer: {"1"}}, {headerVer: {"1.x"}}, {headerVer: {"-1.1"}}, {headerVer: {"1.1"}, headerExpires: {"soon"}},
	} {
		if c, err := change("state.rows.0.a", h, nil, 1); !errors.Is(err, errWire) {
			t.Errorf("%v is %+v, %v", h, c, err)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	f.Add("state.rows.0.a=2Eb")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseSubject(s)
		if err != nil || k.ID == "" || strings.ContainsAny(k.Table+k.Shard, ".") {
			return
		}
		if again, err := parseSubject(subject(k)); err != nil || again != k {
			t.Errorf("%q is %v, then %v, %v", s, k, again, err)
		}
	})
}

// FuzzScanBlock reads what may stand in a damaged file.
func FuzzScanBlock(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte("\x1e\x00\x00\x00" + strings.Repeat("x", 26)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, ok := scanBlock(b, "state-rows", 1); ok != (at == len(b)) {
			t.Errorf("stopped at %d of %d, %v", at, len(b), ok)
		}
		anyRecord(b, "state-rows", 1)
	})
}
