package transport

import (
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

func binding(t testing.TB, more ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStunAnswer(t *testing.T) {
	for _, remote := range []string{"192.0.2.7:5061", "[2001:db8::7]:5061"} {
		f := &Flow{remote: netip.MustParseAddrPort(remote)}
		req := binding(t, stun.Fingerprint)
		out, ok := stunAnswer(f, req.Raw)
		var res stun.Message
		if err := stun.Decode(out, &res); !ok || err != nil {
			t.Fatal(ok, err)
		}
		var at stun.XORMappedAddress
		if err := at.GetFrom(&res); err != nil || res.Type != stun.BindingSuccess || res.TransactionID != req.TransactionID {
			t.Error(err, res)
		}
		if got, _ := netip.AddrFromSlice(at.IP); netip.AddrPortFrom(got.Unmap(), uint16(at.Port)) != f.remote {
			t.Errorf("seen as %s, is %s", at, f.remote)
		}
		if err := stun.Fingerprint.Check(&res); err != nil {
			t.Error(err)
		}
	}
}

// One that requires what we don't know gets no address, but is told.
func TestStunUnknownAttribute(t *testing.T) {
	f := &Flow{remote: netip.MustParseAddrPort("192.0.2.7:5061")}
	out, ok := stunAnswer(f, binding(t, stun.NewUsername("me"), stun.NewSoftware("phone")).Raw)
	var res stun.Message
	if err := stun.Decode(out, &res); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var code stun.ErrorCodeAttribute
	var unknown stun.UnknownAttributes
	if err := code.GetFrom(&res); err != nil || code.Code != stun.CodeUnknownAttribute || res.Contains(stun.AttrXORMappedAddress) {
		t.Error(err, res)
	}
	if err := unknown.GetFrom(&res); err != nil || len(unknown) != 1 || unknown[0] != stun.AttrUsername {
		t.Error(err, unknown)
	}
}

func TestStunIsNoAnswerToOthers(t *testing.T) {
	f := &Flow{remote: netip.MustParseAddrPort("192.0.2.7:5061")}
	res, err := stun.Build(stun.TransactionID, stun.BindingSuccess)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{res.Raw, binding(t).Raw[:19], append(binding(t).Raw, 0, 0, 0)} {
		if out, ok := stunAnswer(f, data); ok {
			t.Errorf("%x is answered with %x", data, out)
		}
	}
	if IsSTUN([]byte("OPTIONS sip:a@example.com SIP/2.0")) || !IsSTUN(binding(t).Raw) {
		t.Error("SIP and STUN are mixed up")
	}
}

func FuzzStunAnswer(f *testing.F) {
	flow := &Flow{remote: netip.MustParseAddrPort("192.0.2.7:5061")}
	f.Add(binding(f).Raw)
	f.Add(binding(f, stun.NewUsername("me"), stun.Fingerprint).Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxStun || !IsSTUN(data) {
			return
		}
		if out, ok := stunAnswer(flow, data); ok && (len(out) == 0 || len(out) > 2*maxStun || !IsSTUN(out)) {
			t.Errorf("%d bytes to %d", len(out), len(data))
		}
	})
}
