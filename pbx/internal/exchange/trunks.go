package exchange

import (
	"context"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/pbx/internal/callcontrol"
	"brickhouse/pbx/internal/store"
	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
)

// trunks makes what call control must know of the carriers.
func (x *Exchange) trunks(ctx context.Context) (map[string]callcontrol.Trunk, error) {
	out := map[string]callcontrol.Trunk{}
	var rows []*store.Trunk
	for _, t := range x.cfg.Trunks {
		c := callcontrol.Trunk{Name: t.Name, Domain: t.Domain, FromUser: t.FromUser, FromHost: t.FromHost}
		if t.Username != "" {
			c.Auth = x.trunkAuth(t)
		}
		out[t.Name] = c
		rows = append(rows, &store.Trunk{Name: t.Name, Username: t.Username, AuthRealm: t.AuthRealm, FromUser: t.FromUser, FromHost: t.FromHost})
	}
	return out, x.store.SetTrunks(ctx, rows)
}

// secretTimeout bounds the look-up of a password while a call waits for it.
const secretTimeout = 2 * time.Second

// trunkAuth answers a carrier's challenge (RFC 3261 §22.2). The border never sees the password.
func (x *Exchange) trunkAuth(t Trunk) func(*sip.Request, *sip.Response) (sip.Header, error) {
	return func(req *sip.Request, res *sip.Response) (sip.Header, error) {
		name, answer := "WWW-Authenticate", "Authorization"
		if res.StatusCode == sip.StatusProxyAuthRequired {
			name, answer = "Proxy-Authenticate", "Proxy-Authorization"
		}
		ctx, cancel := context.WithTimeout(context.Background(), secretTimeout)
		defer cancel()
		s, err := x.secrets.Get(ctx, trunkSecrets+t.Name)
		if err != nil {
			return nil, fmt.Errorf("password of trunk %s: %w", t.Name, err)
		}
		if s[trunkPassword] == "" {
			return nil, fmt.Errorf("password of trunk %s is empty; store it with pbx trunk passwd %s", t.Name, t.Name)
		}
		value, _, err := digest.Answer(sipmsg.Headers(res, name), digest.Password(t.Username, s[trunkPassword]), digest.Asked{
			Username: t.Username, Realm: t.AuthRealm, Method: string(req.Method), URI: req.Recipient.String(), Body: req.Body(),
			Cnonce: sipmsg.NewTag(), NC: 1,
		})
		if err != nil {
			return nil, err
		}
		return sip.NewHeader(answer, value), nil
	}
}
