package transport

import (
	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

// parse turns the bytes of one message into a message. What is wrong with it is in sipmsg.VerdictOf(err).
func parse(data []byte) (sip.Message, error) { return sipmsg.Parse(data) }
