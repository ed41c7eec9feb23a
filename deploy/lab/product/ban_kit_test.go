package product

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"brickhouse/deploy/lab"
	"brickhouse/deploy/lab/pcap"
	"brickhouse/shared/siptest"
)

// banStats is what `sbc ban stats --json` prints, as far as it is looked at here.
type banStats struct {
	Mode       string
	Interfaces []struct{ Name, Mode string }
	Bans       int
	Holds      int
	Offences   int

	MediaInKernel int `json:"media_in_kernel"`

	Counts []struct {
		Where, Family, Reason, Action string
		Packets                       int
	}
}

// explanation is what `sbc ban why --json` prints.
type explanation struct {
	Outcome string
	Allowed string `json:"allowed_by"`
	Bans    []struct {
		Prefix       netip.Prefix
		Reason, Rule string
		Until        time.Time
		Evidence     []struct{ Reason, AOR string }
	}
	History []struct {
		Rule    string
		EndedBy string `json:"ended_by"`
	}
}

// ask runs a command of a program that prints JSON.
func (p *Product) ask(t *testing.T, into any, program string, args ...string) {
	t.Helper()
	out := p.Command(program, "", append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

func (p *Product) banStats(t *testing.T) (s banStats) {
	t.Helper()
	p.ask(t, &s, "sbc", "ban", "stats")
	return s
}

func (p *Product) whyBanned(t *testing.T, a netip.Addr) (e explanation) {
	t.Helper()
	p.ask(t, &e, "sbc", "ban", "why", a.String())
	return e
}

// nobodyBanned wants an empty list of bans.
func (p *Product) nobodyBanned(t *testing.T) {
	t.Helper()
	var bans []struct{ Prefix netip.Prefix }
	if p.ask(t, &bans, "sbc", "ban", "list"); len(bans) > 0 {
		t.Errorf("banned: %v", bans)
	}
}

// dropped is how many packets the kernel has dropped because their source is banned.
func (s banStats) dropped() int {
	n := 0
	for _, c := range s.Counts {
		if c.Where == "kernel" && c.Reason == "host-banned" && c.Action == "drop" {
			n += c.Packets
		}
	}
	return n
}

// guess tries wrong passwords over TLS, each on a connection of its own.
func (p *Product) guess(t *testing.T, h *lab.Host, from netip.Addr, tries int, user func(int) string) []siptest.Try {
	t.Helper()
	c := p.outsider(t, h, "1001", 0)
	c.Bind = from
	got, _, err := siptest.Attack{Config: c, Tries: tries, Users: user, Timeout: waits}.Run(bounded(t, 2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// knock connects from an address and port to the border and tells what came of it.
func (p *Product) knock(h *lab.Host, from netip.AddrPort) error {
	return h.Do(func() error {
		d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(from)}
		c, err := d.Dial("tcp", p.Outside().String())
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// answers counts what a capture saw on its way to an address and port, and asks comes from it.
func answers(packets []pcap.Packet, to netip.AddrPort) (asks, answers int) {
	for _, pk := range packets {
		switch to {
		case pk.Src:
			asks++
		case pk.Dst:
			answers++
		}
	}
	return asks, answers
}

// forge sends a datagram in somebody else's name.
func forge(h *lab.Host, from, to netip.AddrPort, payload []byte) error {
	const ipHeader, udpHeader, ttl = 20, 8, 64
	b := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(payload))
	b[0], b[8], b[9] = 0x45, ttl, unix.IPPROTO_UDP // RFC 791 §3.1; the kernel fills in length and checksum
	src, dst := from.Addr().As4(), to.Addr().As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(udpHeader+len(payload))) // RFC 768; a checksum of 0 is none
	return h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("opening a raw socket: %w", err)
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: dst})
	})
}

// login is a REGISTER with a wrong answer to a challenge.
func login(user, nonce, mark string, n int, via netip.AddrPort) []byte {
	return []byte(strings.ReplaceAll(fmt.Sprintf(`REGISTER sip:%[1]s SIP/2.0
Via: SIP/2.0/UDP %[2]s;branch=z9hG4bK%[3]s%[4]d;rport
From: <sip:%[5]s@%[1]s>;tag=%[3]s%[4]d
To: <sip:%[5]s@%[1]s>
Call-ID: %[3]s%[4]d
CSeq: %[6]d REGISTER
Max-Forwards: 70
Contact: <sip:%[5]s@%[2]s>
Authorization: Digest username="%[5]s",realm="%[1]s",nonce="%[7]s",uri="sip:%[1]s",algorithm=MD5,qop=auth,nc=%08[6]x,cnonce="c",response="%032[6]x"
Expires: 600
Content-Length: 0

`, Domain, via, mark, n, user, n, nonce), "\n", "\r\n"))
}
