package transport

import "github.com/emiago/sipgo/sip"

// parse turns the bytes of one message into a message.
func parse(data []byte) (sip.Message, error) { return sip.ParseMessage(data) }
