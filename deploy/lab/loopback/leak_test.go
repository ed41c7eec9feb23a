package loopback

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"brickhouse/shared/siptest"
	"brickhouse/shared/siptest/ladder"
)

// marker stands in everything that a phone invents.
const marker = "zz4711"

// invented are header fields that a stranger may think of. Each value holds the marker.
var invented = [][2]string{
	{"P-Asserted-Identity", `"Boss" <sip:zz4711-pai@brickhouse.test>`}, {"P-Preferred-Identity", "<sip:zz4711-ppi@brickhouse.test>"},
	{"Remote-Party-ID", "<sip:zz4711-rpid@brickhouse.test>;party=calling"}, {"P-Access-Network-Info", "zz4711"},
	{"P-Charging-Vector", "icid-value=zz4711"}, {"P-Zz4711", "1"}, {"X-Zz4711", "1"}, {"X-Forwarded-For", "zz4711"},
	{"Diversion", "<sip:zz4711-div@brickhouse.test>;reason=unconditional"}, {"History-Info", "<sip:zz4711-hi@brickhouse.test>;index=1"},
	{"Brickhouse-Realm", "peer"}, {"Brickhouse-Trunk", "zz4711"}, {"Brickhouse-Flow", "zz4711"}, {"Brickhouse-Trace", "zz4711"},
	{"Brickhouse-Verdict", `ok;aor="zz4711@brickhouse.test"`}, {"brickhouse-realm", "core"}, {"BRICKHOUSE-ZZ4711", "1"},
	{"Record-Route", "<sip:zz4711-rr.example.net;lr>"}, {"Path", "<sip:zz4711-path.example.net;lr>"},
	{"Service-Route", "<sip:zz4711-sr.example.net;lr>"}, {"Via", "SIP/2.0/TCP zz4711-via.example.net;branch=z9hG4bKzz4711"},
	{"v", "SIP/2.0/UDP zz4711-via2.example.net;branch=z9hG4bKzz4711b"},
	{"Call-Info", "<http://zz4711.example.net/>;purpose=icon"}, {"Alert-Info", "<http://zz4711.example.net/ring.wav>"},
	{"Error-Info", "<sip:zz4711@example.net>"}, {"Organization", "zz4711"}, {"Subject", "zz4711"}, {"Server", "zz4711"},
	{"Warning", `399 zz4711 "zz4711"`}, {"In-Reply-To", "zz4711"}, {"Reply-To", "<sip:zz4711@example.net>"}, {"Priority", "zz4711"},
	{"Accept-Language", "zz4711"}, {"Geolocation", "<cid:zz4711@example.net>"}, {"Identity", "zz4711;info=<https://zz4711.example.net>"},
	{"Session-ID", "zz4711"}, {"Supported", "zz4711, timer"}, {"k", "zz4711-k"}, {"Allow-Events", "zz4711"}, {"MIME-Version", "1.0"},
	{"User-to-User", "zz4711"}, {"Target-Dialog", "zz4711;local-tag=a;remote-tag=b"}, {"Accept-Contact", "*;zz4711"},
	{"NewFangledHeader", "zz4711"}, {"Recv-Info", "zz4711"}, {"Answer-Mode", "zz4711"}, {"Request-Disposition", "zz4711"},
	{"Timestamp", "4711.4711"}, {"Referred-By", "<sip:zz4711@example.net>"}, {"Hide", "zz4711"},
}

// stuffed are options of an INVITE that holds all that.
func stuffed(number string) []siptest.InviteOption {
	opts := []siptest.InviteOption{siptest.WithFrom("sip:" + number + "@" + domain + ";user=phone;zz4711=1"), siptest.WithSDP(stuffSDP)}
	for _, h := range invented {
		opts = append(opts, siptest.WithHeader(h[0], h[1]))
	}
	return opts
}

// stuffSDP adds lines to a session description, and says whose it is.
func stuffSDP(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
	var out []string
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "o="):
			f := strings.Fields(l)
			f[0] = "o=zz4711"
			out = append(out, strings.Join(f, " "))
		case strings.HasPrefix(l, "s="):
			out = append(out, "s=zz4711", "i=zz4711", "u=http://zz4711.example.net/", "e=zz4711@example.net", "p=+1 zz4711")
		case strings.HasPrefix(l, "t="):
			out = append(out, l, "a=tool:zz4711", "a=zz4711", "a=group:BUNDLE zz4711")
		default:
			out = append(out, l)
		}
	}
	out = append(out, "a=label:zz4711", "a=mid:zz4711", "a=zz4711:x", "a=candidate:1 1 UDP 1 zz4711.example.net 9 typ host", "a=ssrc:4711 cname:zz4711",
		"a=msid:zz4711 zz4711")
	return strings.Join(out, "\r\n") + "\r\n"
}

// names are what one party's messages of a call are known by: Call-IDs, tags and branches.
func names(messages []ladder.Message) []string {
	var out []string
	for _, m := range messages {
		for _, re := range []*regexp.Regexp{callIDs, tags, branches} {
			for _, f := range re.FindAllStringSubmatch(m.Text, -1) {
				if !slices.Contains(out, f[1]) && !strings.Contains(f[1], marker) { // the marker is looked for by itself
					out = append(out, f[1])
				}
			}
		}
	}
	return out
}

var (
	callIDs  = regexp.MustCompile(`(?m)^Call-ID: (\S+)\r$`)
	tags     = regexp.MustCompile(`;tag=([\w.~-]+)`)
	branches = regexp.MustCompile(`;branch=z9hG4bK([\w.~-]+)`)
)

// without leaves messages of some calls out.
func without(messages []ladder.Message, callIDs ...string) []ladder.Message {
	return slices.DeleteFunc(slices.Clone(messages), func(m ladder.Message) bool {
		return slices.ContainsFunc(callIDs, func(id string) bool { return strings.Contains(m.Text, "Call-ID: "+id+"\r\n") })
	})
}

// holdsNone wants that what a party received holds none of the words. An address counts only as a whole.
func holdsNone(t testing.TB, who string, messages []ladder.Message, words ...string) {
	t.Helper()
	for _, m := range ladder.Received(messages) {
		for _, w := range words {
			at := strings.Index(strings.ToLower(m.Text), strings.ToLower(w))
			for at >= 0 {
				end := at + len(w)
				if end == len(m.Text) || !isDigit(w[len(w)-1]) || !isDigit(m.Text[end]) {
					t.Errorf("%s received %q:\n%s", who, w, m.Text)
					break
				}
				next := strings.Index(strings.ToLower(m.Text[end:]), strings.ToLower(w))
				if next < 0 {
					break
				}
				at = end + next
			}
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// listed are the header fields that anybody may receive from us. All else is a leak or must be put here on purpose.
var listed = []string{"Supported", "Require", "Session-Expires", "Min-SE", "RSeq", "RAck", "Max-Breadth", "Min-Expires", "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Type", "Content-Length", "Allow",
	"WWW-Authenticate", "Proxy-Authenticate", "Proxy-Authorization", "Expires", "Reason", "Accept", "Retry-After", "Date"}

// onlyListed wants that all fields are on that list.
func onlyListed(t testing.TB, who string, messages []ladder.Message, also ...string) {
	t.Helper()
	for _, m := range ladder.Received(messages) {
		msg, err := siptest.ParseMessage([]byte(m.Text))
		if err != nil {
			t.Errorf("%s received\n%s\n%v", who, m.Text, err)
			continue
		}
		for _, n := range msg.Names() {
			if !slices.Contains(listed, n) && !slices.Contains(also, n) {
				t.Errorf("%s received the header %s:\n%s", who, n, m.Text)
			}
		}
		for line := range strings.SplitSeq(string(msg.Body), "\r\n") {
			if line != "" && !sdpLine.MatchString(line) && msg.Method != "INFO" {
				t.Errorf("%s received the line %q:\n%s", who, line, m.Text)
			}
		}
	}
}

// sdpLine is what a session description of ours may hold. A name of a medium is that of who gets it: another's is found by the marker.
var sdpLine = regexp.MustCompile(`^(v=0|o=- \d+ \d+ IN IP4 \S+|s=-|c=IN IP4 \S+|t=0 0|m=audio \d+ RTP/S?AVP [\d ]+|` +
	`a=(rtpmap|fmtp|ptime|maxptime|rtcp|crypto):.+|a=(mid:|group:BUNDLE )\S+|a=(sendrecv|sendonly|recvonly|inactive|rtcp-mux))$`)

// live does everything that a call can hold, from either side.
func (p pair) live(t testing.TB) {
	t.Helper()
	p.talk(t)
	for _, c := range []*siptest.Call{p.a, p.b} {
		if err := c.Hold(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		if err := c.Resume(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Info(within(t, patience), "application/dtmf-relay", []byte("Signal=1\r\nDuration=100\r\n")); err != nil || !r.OK() {
			t.Fatalf("INFO: %v, %v", r, err)
		}
		if _, err := c.Options(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	p.hangup(t, true)
}

// What one side invents does not reach the other, nor does anything of the inside reach the outside.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	s := trunked(t, "udp")
	inside := []string{s.addr(10), s.addr(3), "127.0.0.1", fmt.Sprint(corePort), "Brickhouse-", "InsidePhone", "pbx", "sbc.",
		"User-Agent", "Server:", trunkSecret}
	scenes := []struct {
		name     string
		from, to place
	}{{"remote to inside", remote, insideUDP}, {"inside to remote", insideTCP, remoteCM}, {"remote to remote", remote, remoteCM}}
	for i, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			x, y := fmt.Sprint(1810+2*i), fmt.Sprint(1811+2*i)
			s.extension(x, y)
			ca, cb := s.config(sc.from, x), s.config(sc.to, y)
			a, b := s.register(ca), s.register(cb)
			p := connect(t, a, b, y, stuffed(x)...)
			p.live(t)
			for _, side := range []struct {
				at         place
				own, other *siptest.Phone
				host       string
			}{{sc.from, a, b, cb.Bind.String()}, {sc.to, b, a, ca.Bind.String()}} {
				words := []string{side.host, side.other.Name() + "@" + side.host}
				if side.at.outside() {
					words = append(words, inside...)
				} else {
					words = append(words, "OutsidePhone", "InsidePhone", "TLS")
				}
				seesNothing(t, side.own.Name(), side.own.Ladder(), side.other.Ladder(), []string{p.a.ID()}, words...)
				onlyListed(t, side.own.Name(), side.own.Ladder(), "Route", "Record-Route", "Timestamp") // its own, where the RFC demands an echo
			}
		})
	}
	t.Run("trunk", func(t *testing.T) { leaksToTrunk(t, s.in(t), inside) })
	t.Run("refusals", func(t *testing.T) { leaksInRefusals(t, s.in(t), inside) })
}

// leaksToTrunk calls out and in.
func leaksToTrunk(t *testing.T, s *site, inside []string) {
	t.Parallel()
	gw := s.gateway(60, siptest.UDP, func(c *siptest.CarrierConfig) { c.Challenge = 407 })
	var own []string
	for i, at := range []place{insideUDP, remote} {
		n := fmt.Sprint(1801 + i)
		c := s.config(at, n)
		p := s.register(c)
		out := connect(t, p, gw.Phone, "0123456", stuffed(n)...)
		out.live(t)
		in := connect(t, gw.Phone, p, "493012340"+n[3:], stuffed("4989555")...)
		in.live(t)
		own = append(own, in.a.ID())
		words := append(slices.Clone(inside), c.Bind.String(), "OutsidePhone", p.Name()+"@"+domain)
		seesNothing(t, "the carrier", gw.Ladder(), p.Ladder(), own, words...)
		seesNothing(t, n, p.Ladder(), gw.Ladder(), []string{out.a.ID()}, s.addr(60), "CarrierSwitch", "4989555@"+s.addr(60))
	}
}

// leaksInRefusals wants that what failed does not tell either.
func leaksInRefusals(t *testing.T, s *site, inside []string) {
	t.Parallel()
	s.extension("1830", "1831")
	a, b := s.register(s.config(remote, "1830")), s.register(s.config(insideUDP, "1831"))
	var own []string
	for _, code := range []int{486, 404, 500, 603, 302} {
		b.SetAnswer(siptest.RefuseWith(code))
		c, err := a.Call(within(t, patience), "1831", stuffed("1830")...)
		if err == nil {
			t.Fatal("answered")
		}
		own = append(own, c.ID())
	}
	fails(t, a, "7777", 404)
	seesNothing(t, "1830", a.Ladder(), b.Ladder(), own, append(slices.Clone(inside), b.Addr().Addr().String())...)
	seesNothing(t, "1831", b.Ladder(), a.Ladder(), nil, "OutsidePhone")
}

// seesNothing wants a party to have received none of the words, nothing that the other side's messages are known by, and
// neither the marker nor an unlisted header. In the calls that it stuffed itself, a phone is answered with its own words.
func seesNothing(t *testing.T, who string, seen []ladder.Message, other []ladder.Message, own []string, words ...string) {
	t.Helper()
	holdsNone(t, who, seen, append(words, names(other)...)...)
	holdsNone(t, who, without(seen, own...), marker)
	onlyListed(t, who, without(seen, own...))
}
