package sanitize

import (
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
)

func TestScannerAgents(t *testing.T) {
	for agent, want := range map[string]string{
		"friendly-scanner":                      "friendly-scanner",
		"Friendly-Scanner":                      "friendly-scanner",
		"Asterisk friendly-scanner 1":           "friendly-scanner",
		"sipvicious":                            "sipvicious",
		"SIPVicious PRO v6":                     "sipvicious",
		"sundayddr":                             "sundayddr",
		"sipcli/v1.8":                           "sipcli",
		"sip-scan":                              "sip-scan",
		"iWar":                                  "iwar",
		"sipsak 0.9.7":                          "sipsak",
		"smap 0.6.0":                            "smap",
		"VaxSIPUserAgent/3.1":                   "vaxsipuseragent",
		"pplsip":                                "pplsip",
		"sippts":                                "sippts",
		"\"sipcli\"":                            "sipcli",
		"siparmyknife":                          "siparmyknife",
		"":                                      "",
		"Linphone/5.2.0 (belle-sip/5.3)":        "",
		"baresip v3.10.1 (x86_64/linux)":        "",
		"Yealink SIP-T46S 66.86.0.15":           "",
		"Zoiper v2.10.20":                       "",
		"SIPp":                                  "",
		"Smapphone 1":                           "",
		"iWarrior Softphone":                    "",
		"my sipsak":                             "",
		strings.Repeat("x", 128) + "sipvicious": "",
	} {
		got, ok := scannerAgent(agent)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", agent, got, ok, want)
		}
	}
}

func TestScanner(t *testing.T) {
	const plain = "From: <sip:1001@example.com>;tag=1\r\nTo: <sip:1002@example.com>\r\n"
	for name, c := range map[string]struct{ lines, want string }{
		"a phone":         {plain + "User-Agent: Linphone/5.2.0\r\nContact: <sip:1001@10.1.1.1>\r\n", ""},
		"no names at all": {"", ""},
		"agent":           {plain + "user-agent: Friendly-Scanner\r\n", "friendly-scanner"},
		"From":            {"From: \"x\" <sip:100@1.1.1.1>;tag=1\r\nTo: <sip:1002@example.com>\r\n", signatureAddress},
		"To":              {"From: <sip:1001@example.com>;tag=1\r\nTo: <sip:100@1.1.1.1>\r\n", signatureAddress},
		"Contact":         {plain + "Contact: <sip:a@10.0.0.1>, <sip:100@1.1.1.1:5060>\r\n", signatureAddress},
		"display name":    {"From: \"SipVicious\" <sip:100@192.0.2.1>;tag=1\r\nTo: <sip:1002@example.com>\r\n", "sipvicious"},
		"nmap":            {"From: <sip:nm@nm>;tag=root\r\nTo: <sip:nm2@nm2>\r\n", signatureProbe},
		"another network": {"From: <sip:100@1.1.1.10>;tag=1\r\nTo: <sip:1.1.1.1@example.com>\r\n", ""},
		"wildcard":        {plain + "Contact: *\r\n", ""},
	} {
		msg, err := sipmsg.Parse([]byte("OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa\r\n" + c.lines + "Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, ok := Scanner(msg.(*sip.Request))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q %v, want %q", name, got, ok, c.want)
		}
	}
	if got, ok := Scanner(sip.NewRequest(sip.OPTIONS, sip.Uri{})); ok {
		t.Errorf("an empty request: %q", got)
	}
}

// FuzzScanner holds that whatever comes is looked at without harm, that only our own words come out, and that letters' case does
// not matter.
func FuzzScanner(f *testing.F) {
	f.Add("friendly-scanner", "\"sipvicious\" <sip:100@1.1.1.1>;tag=1", "<sip:100@10.0.0.1>")
	f.Add("sipcli/v1.8", "<sip:nm@nm>;tag=root", "*")
	f.Add("", "", "")
	words := []string{signatureAddress, signatureProbe}
	for _, a := range agents {
		words = append(words, a.name)
	}
	f.Fuzz(func(t *testing.T, agent, from, contact string) {
		req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: "x"})
		for _, h := range [][2]string{{"User-Agent", agent}, {"From", from}, {"Contact", contact}} {
			if err := sipmsg.Add(req, h[0], h[1]); err != nil {
				continue // it would not have become a message
			}
		}
		got, ok := Scanner(req)
		if ok != (got != "") || ok && !slices.Contains(words, got) {
			t.Errorf("%q %v", got, ok)
		}
		if isASCII(agent) {
			a, _ := scannerAgent(agent)
			if b, _ := scannerAgent(strings.ToUpper(agent)); a != b {
				t.Errorf("%q: %q, in capitals %q", agent, a, b)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}
