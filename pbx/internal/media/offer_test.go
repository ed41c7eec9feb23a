package media

import (
	"strings"
	"testing"

	"brickhouse/shared/sdp"
)

// Offer is fresh whatever was agreed on before: who takes the place of a phone that had its call on hold is asked for all that we speak.
func TestOfferAfterHold(t *testing.T) {
	e := newEngine(t, 26300, nil)
	p := newPhone(t, "127.0.0.1")
	s, first := call(t, e, Milliwatt, p, "a=sendonly", "m=video 4000 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
	if first.Direction != sdp.RecvOnly {
		t.Fatalf("a hold is answered %s", first.Direction)
	}
	offer, err := sdp.Parse(s.Offer())
	if err != nil {
		t.Fatal(err)
	}
	again, err := sdp.Parse(s.Offer())
	if err != nil {
		t.Fatal(err)
	}
	if offer.Origin.Version <= offer.Origin.ID || again.Origin.Version != offer.Origin.Version {
		t.Errorf("versions %d and %d of %d", offer.Origin.Version, again.Origin.Version, offer.Origin.ID)
	}
	if len(offer.Media) != 2 || offer.Media[1].Type != "video" || offer.Media[1].Port != 0 {
		t.Fatalf("offer %+v", offer.Media)
	}
	if m := offer.Media[0]; m.Direction != sdp.SendRecv || strings.Join(m.Formats, " ") != "0 8 101" || m.Port != first.Port {
		t.Errorf("audio is offered as %+v", m)
	}
	other := newPhone(t, "127.0.0.1")
	if err := s.Accept(other.offer("m=video 0 RTP/AVP 96")); err != nil {
		t.Fatal(err)
	}
	other.take(s.Offer())
	other.receive(other.rtp)
}
