package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func pad(n int) []byte { return make([]byte, n) }

// udp is a UDP datagram from port 5060 to 5062.
func udp(payload string) []byte {
	return join(be16(5060), be16(5062), be16(8+len(payload)), pad(2), []byte(payload))
}

func tcp(src, dst int, seq uint32, flags byte, payload string) []byte {
	return join(be16(src), be16(dst), binary.BigEndian.AppendUint32(nil, seq), pad(4), []byte{5 << 4, flags}, pad(6), []byte(payload))
}

// ipv4 is a packet from 198.18.0.1 to 198.18.0.2.
func ipv4(proto byte, frag int, body []byte) []byte {
	return join([]byte{0x45, 0}, be16(20+len(body)), pad(2), be16(frag), []byte{64, proto, 0, 0}, []byte{198, 18, 0, 1, 198, 18, 0, 2}, body)
}

// ipv6 is a packet from 2001:db8::1 to 2001:db8::2.
func ipv6(next byte, body []byte) []byte {
	a, b := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8::2").As16()
	return join([]byte{0x60, 0, 0, 0}, be16(len(body)), []byte{next, 64}, a[:], b[:], body)
}

func ether(etype int, body []byte) []byte { return join(pad(12), be16(etype), body) }

func frame(link LinkType, data []byte) Frame { return Frame{Link: link, Data: data, Len: len(data)} }

func TestDecode(t *testing.T) {
	frag := func(off int, more bool) int {
		if more {
			off |= 0x2000
		}
		return off
	}
	cases := []struct {
		name  string
		frame Frame
		want  Packet // Payload as compared; Odd by its beginning
	}{
		{"udp", frame(Ethernet, ether(0x0800, ipv4(17, 0, udp("hi")))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"ethernet padding is no payload", frame(Ethernet, join(ether(0x0800, ipv4(17, 0, udp("hi"))), pad(14))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"tagged", frame(Ethernet, ether(0x8100, join(be16(0x6064), be16(0x0800), ipv4(17, 0, udp("hi"))))), Packet{Proto: UDP, Payload: []byte("hi"), VLANs: []uint16{100}}},
		{"twice tagged", frame(Ethernet, ether(0x88a8, join(be16(7), be16(0x8100), be16(100), be16(0x0800), ipv4(17, 0, udp("hi"))))), Packet{Proto: UDP, Payload: []byte("hi"), VLANs: []uint16{7, 100}}},
		{"tcp", frame(Ethernet, ether(0x0800, ipv4(6, 0, tcp(5060, 5062, 7, ACK|PSH, "hi")))), Packet{Proto: TCP, Seq: 7, Flags: ACK | PSH, Payload: []byte("hi")}},
		{"ipv6", frame(Ethernet, ether(0x86dd, ipv6(17, udp("hi")))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"ipv6 options", frame(Ethernet, ether(0x86dd, ipv6(60, join([]byte{17, 0}, pad(6), udp("hi"))))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"ipv6 first fragment", frame(Ethernet, ether(0x86dd, ipv6(44, join([]byte{17, 0, 0, 1}, pad(4), udp("hi"))))), Packet{Proto: UDP, Fragment: true, Payload: []byte("hi")}},
		{"first fragment", frame(Ethernet, ether(0x0800, ipv4(17, frag(0, true), udp("hi")))), Packet{Proto: UDP, Fragment: true, Payload: []byte("hi")}},
		{"cooked", frame(CookedV1, join(pad(14), be16(0x0800), ipv4(17, 0, udp("hi")))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"cooked v2", frame(CookedV2, join(be16(0x0800), pad(18), ipv4(17, 0, udp("hi")))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"raw", frame(RawIP, ipv4(17, 0, udp("hi"))), Packet{Proto: UDP, Payload: []byte("hi")}},
		{"raw ipv6", frame(RawIP, ipv6(17, udp("hi"))), Packet{Proto: UDP, Payload: []byte("hi")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Decode(c.frame)
			if got.Odd != "" || got.Proto != c.want.Proto || !bytes.Equal(got.Payload, c.want.Payload) || !slices.Equal(got.VLANs, c.want.VLANs) ||
				got.Seq != c.want.Seq || got.Flags != c.want.Flags || got.Fragment != c.want.Fragment {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.Src.Port() != 5060 || got.Dst.Port() != 5062 || !got.Src.Addr().IsValid() {
				t.Errorf("from %s to %s", got.Src, got.Dst)
			}
		})
	}
}

// What cannot be read is kept and marked: an assertion about bytes must still find them.
func TestDecodeOdd(t *testing.T) {
	secret := []byte("198.19.0.10")
	cases := []struct {
		name  string
		frame Frame
		odd   string
	}{
		{"later fragment", frame(Ethernet, ether(0x0800, ipv4(17, 185, secret))), ""},
		{"arp", frame(Ethernet, ether(0x0806, secret)), ""},
		{"unknown link", frame(LinkType(147), secret), "link header"},
		{"short ethernet", frame(Ethernet, secret[:10]), "link header"},
		{"short tag", frame(Ethernet, join(pad(12), be16(0x8100), []byte{1})), "link header"},
		{"short cooked", frame(CookedV2, secret), "link header"},
		{"short ip", frame(Ethernet, ether(0x0800, secret)), "IPv4 header"},
		{"ip lengths", frame(Ethernet, ether(0x0800, join([]byte{0x4f, 0, 0, 60}, pad(20)))), "IPv4 lengths"},
		{"short ipv6", frame(Ethernet, ether(0x86dd, secret)), "IPv6 header"},
		{"ipv6 extension", frame(Ethernet, ether(0x86dd, ipv6(0, []byte{17, 9, 0, 0, 0, 0, 0, 0}))), "IPv6 extension"},
		{"ipv6 fragment", frame(Ethernet, ether(0x86dd, ipv6(44, []byte{17}))), "IPv6 fragment"},
		{"ipv6 endless", frame(Ethernet, ether(0x86dd, ipv6(0, pad(200)))), "too many"},
		{"short udp", frame(Ethernet, ether(0x0800, ipv4(17, 0, []byte("x")))), "UDP header"},
		{"short tcp", frame(Ethernet, ether(0x0800, ipv4(6, 0, secret))), "TCP header"},
		{"cut off", Frame{Link: RawIP, Data: ipv4(17, 0, udp("hi")), Len: 2000}, "cut off"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Decode(c.frame)
			if !strings.HasPrefix(got.Odd, c.odd) || (c.odd == "") != (got.Odd == "") {
				t.Errorf("odd is %q, want %q", got.Odd, c.odd)
			}
			if !bytes.Equal(got.Frame, c.frame.Data) {
				t.Error("the frame is lost")
			}
		})
	}
}

// capture writes frames as tcpdump does.
func capture(order binary.AppendByteOrder, magic uint32, link LinkType, frames ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, pad(8)...)
	b = order.AppendUint32(b, 262144)
	b = order.AppendUint32(b, uint32(link))
	for i, f := range frames {
		b = order.AppendUint32(b, 1000+uint32(i))
		b = order.AppendUint32(b, 500)
		b = order.AppendUint32(b, uint32(len(f)))
		b = order.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

func TestReadFrames(t *testing.T) {
	for _, c := range []struct {
		name  string
		order binary.AppendByteOrder
		magic uint32
		unit  time.Duration
	}{
		{"little, micro", binary.LittleEndian, 0xa1b2c3d4, time.Microsecond},
		{"big, nano", binary.BigEndian, 0xa1b23c4d, time.Nanosecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := capture(c.order, c.magic, Ethernet, []byte("one"), []byte("three"))
			frames, err := ReadFrames(bytes.NewReader(file))
			if err != nil || len(frames) != 2 {
				t.Fatalf("%v, %v", frames, err)
			}
			if f := frames[1]; string(f.Data) != "three" || f.Link != Ethernet || !f.Time.Equal(time.Unix(1001, int64(500*c.unit))) {
				t.Errorf("%+v", f)
			}
			// A capture that still runs ends anywhere.
			for cut := 25; cut < len(file); cut++ {
				frames, err := ReadFrames(bytes.NewReader(file[:cut]))
				whole := cut == 24+16+3
				if whole != (err == nil) || err != nil && !errors.Is(err, ErrTruncated) {
					t.Errorf("cut at %d: %v", cut, err)
				}
				if want := map[bool]int{true: 1, false: 0}[cut >= 24+16+3]; len(frames) != want {
					t.Errorf("cut at %d: %d frames", cut, len(frames))
				}
			}
		})
	}
}

func TestReadFramesRefuses(t *testing.T) {
	huge := capture(binary.LittleEndian, 0xa1b2c3d4, Ethernet, nil)
	binary.LittleEndian.PutUint32(huge[24+8:], 1<<30)
	for name, file := range map[string][]byte{"empty": nil, "not a capture": bytes.Repeat([]byte("x"), 40), "huge frame": huge} {
		if _, err := ReadFrames(bytes.NewReader(file)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzReadAndDecode(f *testing.F) {
	f.Add(capture(binary.LittleEndian, 0xa1b2c3d4, Ethernet, ether(0x0800, ipv4(17, 0, udp("hi"))), ether(0x86dd, ipv6(44, join([]byte{17, 0, 0, 1}, pad(4), udp("hi"))))))
	f.Add(capture(binary.BigEndian, 0xa1b23c4d, CookedV2, join(be16(0x0800), pad(18), ipv4(6, 0, tcp(1, 2, 3, SYN, "x")))))
	f.Add(capture(binary.LittleEndian, 0xa1b2c3d4, RawIP, ipv4(17, 0, udp(string(rtp(0, 1, make([]byte, 160)))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames, _ := ReadFrames(bytes.NewReader(b))
		packets := make([]Packet, 0, len(frames))
		for _, fr := range frames {
			p := Decode(fr)
			if len(p.Payload) > len(fr.Data) {
				t.Fatal("a payload longer than its frame")
			}
			packets = append(packets, p)
		}
		Streams(packets)
		Flows(packets)
	})
}
