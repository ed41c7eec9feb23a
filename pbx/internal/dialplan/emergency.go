package dialplan

import (
	"fmt"

	"brickhouse/shared/conffile"
)

// Emergency names the numbers that pass every cap, right, block and limit.
type Emergency struct {
	Numbers []string `yaml:"numbers" doc:"Emergency numbers. Empty: 112 and 911; add those of the exchange's country, as 110 in Germany or 999 in Britain."`
	Trunks  []string `yaml:"trunks" doc:"Trunks to call them through, tried in this order, before any rule is asked. Empty: a rule must send the number to a trunk."`
}

// Validate says what is wrong with the numbers.
func (e *Emergency) Validate() []conffile.Fault {
	var fs []conffile.Fault
	for i, n := range e.Numbers {
		if n == "" || len(n) > maxEmergency || !numberOnly(n) {
			fs = append(fs, conffile.Bad(fmt.Sprintf("numbers[%d]", i), "is no emergency number", "give 2 to 6 digits, as 112"))
		}
	}
	return fs
}

// maxEmergency is the longest emergency number. They are short everywhere; a long one would be a hole.
const maxEmergency = 6

func (p *Plan) compileEmergency(e Emergency) {
	if len(e.Numbers) == 0 {
		e.Numbers = defaultEmergency()
	}
	p.emergency = map[string]bool{}
	for _, n := range e.Numbers {
		p.emergency[n] = true
	}
	p.emergencyTrunks = e.Trunks
}

// defaultEmergency are the numbers that phones know everywhere.
func defaultEmergency() []string { return []string{"112", "911"} }

// EmergencyTrunks are those to call emergency numbers through, in this order; empty where rules say so.
func (p *Plan) EmergencyTrunks() []string { return p.emergencyTrunks }

// markEmergency marks an action that leads to emergency services: what was dialled, or what the trunk gets, is their
// number, whole and nothing more.
func (p *Plan) markEmergency(a Action, dialled string) Action {
	a.Emergency = a.Kind == Trunk && (p.emergency[dialled] || p.emergency[a.Number])
	return a
}
