package border

import (
	"strconv"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/telemetry"
	"brickhouse/shared/transport"
)

// answers counts the final answers to requests, by realm, method and code. Whoever sends can't make it grow.
type answers struct {
	counts [len(answerRealms)][len(answerMethods) + 1][maxCode + 1 - minCode]atomic.Uint64
}

var (
	answerRealms  = [...]realmName{access, peer, core}
	answerMethods = [...]sip.RequestMethod{
		sip.INVITE, sip.BYE, sip.CANCEL, sip.REGISTER, sip.OPTIONS, sip.INFO, sip.PRACK, sip.UPDATE, sip.REFER, sip.NOTIFY, sip.SUBSCRIBE, sip.MESSAGE, sip.PUBLISH,
	}
)

// otherMethod is the label of a method that has no own.
const otherMethod = "other"

// Final codes.
const minCode, maxCode = 200, 699

// count takes one final answer.
func (a *answers) count(realm realmName, method sip.RequestMethod, code int) {
	if code < minCode || code > maxCode {
		return
	}
	r, m := 0, len(answerMethods)
	for i, name := range answerRealms {
		if name == realm {
			r = i
		}
	}
	for i, name := range answerMethods {
		if name == method {
			m = i
		}
	}
	a.counts[r][m][code-minCode].Add(1)
}

// families names what emit shows.
func (a *answers) families() []telemetry.Family {
	return []telemetry.Family{{Name: "answers_total", Help: "Final answers to requests, by realm, method and code.", Labels: []string{"realm", "method", "code"}}}
}

func (a *answers) emit(emit telemetry.Emit) {
	for r, realm := range answerRealms {
		for m := range a.counts[r] {
			method := otherMethod
			if m < len(answerMethods) {
				method = string(answerMethods[m])
			}
			for c := range a.counts[r][m] {
				if n := a.counts[r][m][c].Load(); n > 0 {
					emit("answers_total", float64(n), string(realm), method, strconv.Itoa(minCode+c))
				}
			}
		}
	}
}

// answered takes the news of an answer from the transaction layer.
func (b *Border) answered(f *transport.Flow, method sip.RequestMethod, code int) {
	b.metrics.answers.count(b.realmOf(f), method, code)
}

// trunkFamilies are the metrics of the trunks.
func trunkFamilies() []telemetry.Family {
	return []telemetry.Family{
		{Name: "trunk_enabled", Help: "1 for a trunk that calls may use, 0 for one that a person has disabled.", Labels: []string{"trunk"}},
		{Name: "trunk_gateway_up", Help: "1 for a gateway that is used: it has answered, or was not asked yet.", Labels: []string{"trunk", "gateway"}},
	}
}

func (b *Border) trunkMetrics(emit telemetry.Emit) {
	for _, s := range b.carriers.List() {
		emit("trunk_enabled", flag(s.State != trunk.Disabled), s.Name)
		seen := map[string]bool{}
		for _, g := range s.Gateways {
			if name := g.Transport + " " + g.Address; !seen[name] {
				seen[name] = true
				emit("trunk_gateway_up", flag(g.State != trunk.Down), s.Name, name)
			}
		}
	}
}
