package border

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/topology"
)

// moved is what the exchange hears of a phone's redirection: numbers in our domain. Where else it points is nobody's
// business inside, and what it costs the exchange decides by the phone's rights.
func (b *Border) moved(contacts []sip.Uri) []sip.Uri {
	var out []sip.Uri
	for _, c := range contacts {
		if number, err := topology.User(c); err == nil {
			out = append(out, topology.Address(number, b.cfg.Domain))
		}
	}
	return out
}
