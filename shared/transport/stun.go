package transport

import (
	"encoding/binary"

	"github.com/pion/stun/v3"

	"brickhouse/shared/verdict"
)

const (
	stunHeader = 20         // bytes (RFC 8489 §5)
	stunCookie = 0x2112a442 // where SIP has text
	maxStun    = 128        // bytes of a keep-alive: a header, and perhaps a SOFTWARE and a FINGERPRINT
)

// IsSTUN reports whether a datagram is a STUN message and no SIP (RFC 8489 §5, RFC 5626 §8).
func IsSTUN(data []byte) bool {
	return len(data) >= stunHeader && data[0]&0xc0 == 0 && binary.BigEndian.Uint32(data[4:]) == stunCookie
}

// stun answers the keep-alive of a phone: where we see it, so that it notices when its NAT has given it another address (RFC 5626
// §4.4.2). Nobody but a registered phone has an answer, since that is longer than what it asked with.
func (i *Interface) stun(f *Flow, data []byte) {
	if i.cfg.Registered == nil || len(data) > maxStun || !i.cfg.Registered(f) {
		i.dropped(f.remote, verdict.NotSIP, data)
		return
	}
	answer, ok := stunAnswer(f, data)
	if !ok {
		i.dropped(f.remote, verdict.NotSIP, data)
		return
	}
	_ = f.Send(answer) // the phone asks again
}

// stunAnswer makes the answer to a binding request; false if it is none. One that requires what we don't know is told so (RFC 8489
// §6.3.1).
func stunAnswer(f *Flow, data []byte) (answer []byte, ok bool) {
	if len(data) != stunHeader+int(binary.BigEndian.Uint16(data[2:])) {
		return nil, false
	}
	var req stun.Message
	if err := stun.Decode(data, &req); err != nil || req.Type != stun.BindingRequest {
		return nil, false
	}
	reply := []stun.Setter{
		stun.NewTransactionIDSetter(req.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: f.remote.Addr().AsSlice(), Port: int(f.remote.Port())},
	}
	var unknown stun.UnknownAttributes
	for _, a := range req.Attributes {
		if a.Type.Required() {
			unknown = append(unknown, a.Type)
		}
	}
	if len(unknown) > 0 {
		reply = append(reply[:1], stun.BindingError, stun.CodeUnknownAttribute, unknown)
	}
	res, err := stun.Build(append(reply, stun.Fingerprint)...)
	if err != nil {
		return nil, false
	}
	return res.Raw, true
}
