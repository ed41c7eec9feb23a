package anchor

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"brickhouse/sbc/internal/media/keying"
	"brickhouse/sbc/internal/media/relay"
	"brickhouse/shared/sdp"
	"brickhouse/shared/verdict"
)

// previousLife is how long packets with the key before a change are still taken.
const previousLife = 5 * time.Second

// leg is what the session knows of one side. Its fields change only when an answer is taken, except those about what was
// written last.
type leg struct {
	endpoint Endpoint
	suites   []keying.Suite
	host     netip.Addr // where the ports are bound
	told     netip.Addr // what SDP says instead
	port     uint16

	origin sdp.Origin        // of what we write to it; Version as last written
	wrote  [sha256.Size]byte // hash of that, without the origin
	lines  []sdp.Media       // the m= lines between us, as last offered or answered; a later offer must have as many
	audio  int               // which of them is relayed
	bundle bool              // the far side groups its media (RFC 9143)

	end      relay.End   // its half of the rule in force
	mux      bool        // RTP and RTCP share a port
	secure   bool        // SRTP is in force; it never goes back
	theirs   *keying.Key // what the far side sends with
	receiver *keying.Receiver
	ours     *outKey   // what we send with
	offered  []*outKey // what we offered it and it has not chosen from
	link     *link     // nil unless keyed by DTLS, or offered so
}

// outKey is a key of ours with the context that counts what was sent with it. There is never a second one for the same key.
type outKey struct {
	keying.Param
	sender *keying.Sender
}

func newOutKey(tag uint32, s keying.Suite, random io.Reader) (*outKey, error) {
	k, err := keying.NewKey(s, random)
	if err != nil {
		return nil, err
	}
	sender, err := keying.NewSender(k)
	if err != nil {
		return nil, err
	}
	return &outKey{keying.Param{Tag: tag, Key: k}, sender}, nil
}

// prepare decides the leg's addresses and its origin.
func (l *leg) prepare(random io.Reader) *Error {
	r := &l.endpoint.Realm
	l.host = r.Bind.Unmap()
	if !l.host.IsValid() || l.host.IsUnspecified() {
		l.host = l.endpoint.Local.Unmap()
	}
	if !l.host.IsValid() {
		return fail(500, verdict.Internal, "realm "+r.Name+" has no media address")
	}
	l.told = r.Advertise.Unmap()
	if !l.told.IsValid() {
		l.told = l.host
	}
	var err error
	if l.suites, err = r.suites(); err != nil {
		return fail(500, verdict.Internal, err.Error())
	}
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return fail(500, verdict.Internal, err.Error())
	}
	l.origin.ID = binary.BigEndian.Uint64(b[:]) >> 2 // RFC 3264 §5: at most 62 bits
	return nil
}

// wipe overwrites all keys.
func (l *leg) wipe() {
	l.link.close()
	l.theirs.Wipe()
	if l.ours != nil {
		l.ours.Key.Wipe()
	}
	for _, k := range l.offered {
		k.Key.Wipe()
	}
	l.theirs, l.ours, l.offered, l.receiver, l.end = nil, nil, nil, nil, relay.End{}
}

func (l *leg) suite() keying.Suite {
	if l.ours == nil {
		return keying.None
	}
	return l.ours.Key.Suite
}

// keysToOffer returns the keys for an offer of ours: the one in use, or a fresh one for each suite.
func (l *leg) keysToOffer(random io.Reader) ([]*outKey, *Error) {
	if l.ours != nil {
		for _, k := range l.offered {
			if k != l.ours {
				k.Key.Wipe()
			}
		}
		l.offered = nil
		return []*outKey{l.ours}, nil
	}
	if len(l.offered) == 0 {
		for i, s := range l.suites {
			k, err := newOutKey(uint32(i+1), s, random)
			if err != nil {
				return nil, fail(500, verdict.Internal, err.Error())
			}
			l.offered = append(l.offered, k)
		}
	}
	return l.offered, nil
}

// write finishes a description for this leg: the version moves only if the content did (RFC 3264 §8).
func (l *leg) write(d *sdp.Session) []byte {
	d.Conn, d.Origin = l.told, sdp.Origin{}
	content := d.Bytes()
	hash := sha256.Sum256(content)
	clear(content) // it holds a key
	if hash != l.wrote {
		l.wrote = hash
		if l.origin.Version == 0 {
			l.origin.Version = l.origin.ID
		} else {
			l.origin.Version++
		}
	}
	d.Origin = l.origin
	return d.Bytes()
}
