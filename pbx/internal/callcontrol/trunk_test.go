package callcontrol

import (
	"errors"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/b2bua"
	"brickhouse/shared/cdr"
	"brickhouse/shared/sipmsg"
)

func TestTrunk(t *testing.T) {
	for name, c := range map[string]struct {
		trunk  Trunk
		number string
		from   string
	}{
		"caller":   {Trunk{Name: "carrier", Domain: "carrier.test"}, "1009", "sip:1009@carrier.test"},
		"fixed":    {Trunk{Name: "carrier", Domain: "carrier.test", FromUser: "4930", FromHost: "from.test"}, "1009", "sip:4930@from.test"},
		"nameless": {Trunk{Name: "carrier", Domain: "carrier.test"}, "", "sip:anonymous@carrier.test"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config, _ *b2bua.Config) { cfg.Trunks["carrier"] = c.trunk })
			r.set(func() {
				if r.who.Number = c.number; c.number == "" {
					r.who.Causer = "1009"
				}
			})
			asked, v := r.dial("030123456", nil)
			if !v.OK() {
				t.Fatal(v)
			}
			s := r.border.Next(sip.INVITE)
			req := s.Request()
			if got := req.Recipient.String(); got != "sip:30123456@carrier.test" {
				t.Errorf("start line names %s", got)
			}
			if got := req.From().Address.String(); got != c.from {
				t.Errorf("From: %s", got)
			}
			if got := req.To().Value(); got != "<sip:30123456@carrier.test>" {
				t.Errorf("To: %s", got)
			}
			if v, _ := sipmsg.Header(req, "Brickhouse-Trunk"); v != "carrier" {
				t.Errorf("trunk: %q", v)
			}
			r.border.Answer(s, 404, "")
			asked.Response(404)
			if rec := r.over(); rec.Direction != cdr.Outbound || rec.Trunk != "carrier" || rec.Callee != "30123456" || rec.Dialled != "030123456" {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// TestTrunkChallenge answers a carrier's challenge, once, and passes it on where it can't.
func TestTrunkChallenge(t *testing.T) {
	for name, fault := range map[string]error{"answered": nil, "no password": errors.New("no such secret")} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(cfg *Config, _ *b2bua.Config) {
				cfg.Trunks["carrier"] = Trunk{Name: "carrier", Domain: "carrier.test", Auth: func(*sip.Request, *sip.Response) (sip.Header, error) {
					return sip.NewHeader("Proxy-Authorization", "Digest right"), fault
				}}
			})
			asked, _ := r.dial("030", nil)
			r.border.Answer(r.border.Next(sip.INVITE), 407, "", "Proxy-Authenticate: Digest realm=\"x\", nonce=\"y\"")
			if fault != nil {
				asked.Response(407)
				r.over()
				return
			}
			again := r.border.Next(sip.INVITE)
			if v, _ := sipmsg.Header(again.Request(), "Proxy-Authorization"); v != "Digest right" {
				t.Errorf("credentials: %q", v)
			}
			r.border.Answer(again, 486, "")
			asked.Response(486)
			r.over()
		})
	}
}

func TestNoBorder(t *testing.T) {
	r := newRig(t, nil)
	r.set(func() { r.bFlow = nil })
	asked, _ := r.dial("030", nil)
	asked.Response(503)
	if rec := r.over(); rec.Code != 503 || rec.Disposition != cdr.Failed {
		t.Errorf("record %+v", rec)
	}
}
