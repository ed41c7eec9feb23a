package sanitize

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// The tables as they are, without configuration.

func builtin(realm string) *Realm { return NewRealm(realm, DefaultMessages()) }

var anyRealm = builtin("access")

func Raw(data []byte, datagram bool) verdict.Verdict { return anyRealm.Raw(data, datagram) }

func Message(realm string, msg sip.Message) verdict.Verdict { return builtin(realm).Message(msg) }

func Allow(realm string) string { return builtin(realm).Allow() }

func Refusal(req *sip.Request, realm string, v verdict.Verdict) *sip.Response {
	return builtin(realm).Refusal(req, v)
}

func Explain(res *sip.Response, realm string, v verdict.Verdict) { builtin(realm).Explain(res, v) }
