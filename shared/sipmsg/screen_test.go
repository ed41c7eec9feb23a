package sipmsg

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/verdict"
)

// invite is a message that nothing is wrong with. Lines may be replaced by edit.
const invite = "INVITE sip:1002@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\n" +
	"Max-Forwards: 70\r\n" +
	"From: \"Alice\" <sip:1001@example.com>;tag=1928301774\r\n" +
	"To: Bob <sip:1002@example.com>\r\n" +
	"Call-ID: a84b4c76e66710@192.0.2.1\r\n" +
	"CSeq: 314159 INVITE\r\n" +
	"Contact: <sip:1001@192.0.2.1:5060>\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Content-Length: 4\r\n" +
	"\r\n" +
	"v=0\n"

const response = "SIP/2.0 200 OK\r\n" +
	"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport=5060\r\n" +
	"From: <sip:1001@example.com>;tag=1928301774\r\n" +
	"To: <sip:1002@example.com>;tag=zz\r\n" +
	"Call-ID: a84b4c76e66710@192.0.2.1\r\n" +
	"CSeq: 314159 INVITE\r\n" +
	"Contact: <sip:1002@192.0.2.9>\r\n" +
	"Content-Length: 0\r\n" +
	"\r\n"

// edit puts new in the place of old, which must be there.
func edit(t testing.TB, msg, old, new string) string {
	t.Helper()
	if !strings.Contains(msg, old) {
		t.Fatalf("%q is not in the message", old)
	}
	return strings.Replace(msg, old, new, 1)
}

// judge is the whole road of a foreign message.
func judge(b []byte, datagram bool) (sip.Message, verdict.Verdict) {
	lim := DefaultLimits()
	if v := ScreenRaw(b, datagram, lim); !v.OK() {
		return nil, v
	}
	msg, err := Parse(b)
	if err != nil {
		return nil, VerdictOf(err)
	}
	return msg, Screen(msg, lim)
}

func TestGoodMessagesPass(t *testing.T) {
	for _, text := range []string{invite, response,
		edit(t, invite, "Content-Length: 4\r\n", ""),
		edit(t, invite, "SIP/2.0\r\n", "sip/2.0\r\n"),
		edit(t, invite, "Max-Forwards: 70\r\n", ""),
		edit(t, invite, "Call-ID", "i"),
		edit(t, invite, "To: Bob", "t: Bob\r\n \t"),
		edit(t, invite, "Contact: ", "Contact: sip:1001@192.0.2.1\r\nX-Contact: "),
		edit(t, response, "200 OK", "200 "),
		edit(t, response, "200 OK", "200 = 2**3 * 5**2 но сто"),
		edit(t, response, "To: <sip:1002@example.com>", "To: <tel:+4930123456>"),
	} {
		if msg, v := judge([]byte(text), true); !v.OK() || msg == nil {
			t.Errorf("%v:\n%s", v, text)
		}
	}
}

func TestRefusals(t *testing.T) {
	type edits [][2]string
	for name, c := range map[string]struct {
		base     string
		edits    edits
		datagram bool
		want     string
	}{
		// bytes
		"empty":                   {"", nil, true, "drop: not-sip"},
		"keep-alive":              {"\r\n\r\n", nil, true, "drop: not-sip"},
		"noise":                   {"\x00\x01\x02\x03\r\n\r\n", nil, true, "drop: not-sip"},
		"HTTP":                    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", nil, true, "drop: not-sip"},
		"no line end":             {"INVITE sip:a@b SIP/2.0", nil, true, "drop: not-sip"},
		"bare LF in a value":      {invite, edits{{"To: Bob", "To: Bob\n"}}, true, "reject 400: control-bytes"},
		"bare LF ends a line":     {invite, edits{{"Max-Forwards: 70\r\n", "Max-Forwards: 70\n"}}, true, "reject 400: control-bytes"},
		"bare CR":                 {invite, edits{{"To: Bob", "To: Bob\r"}}, true, "reject 400: control-bytes"},
		"NUL":                     {invite, edits{{"Bob", "B\x00b"}}, true, "reject 400: control-bytes"},
		"NUL escaped in quotes":   {invite, edits{{"Alice", "A\\\x00lice"}}, true, "reject 400: control-bytes"},
		"DEL":                     {invite, edits{{"Bob", "B\x7fb"}}, true, "reject 400: control-bytes"},
		"NUL in a response":       {response, edits{{"OK", "O\x00K"}}, true, "drop: control-bytes"},
		"not UTF-8":               {invite, edits{{"Alice", "Al\xffice"}}, true, "reject 400: bad-utf8"},
		"overlong UTF-8":          {invite, edits{{"Alice", "Al\xc0\x80ice"}}, true, "reject 400: bad-utf8"},
		"no empty line":           {invite, edits{{"\r\n\r\nv=0\n", "\r\n"}}, true, "reject 400: bad-header"},
		"space before colon":      {invite, edits{{"Max-Forwards:", "Max-Forwards :"}}, true, "reject 400: bad-header"},
		"tab before colon":        {invite, edits{{"Max-Forwards:", "Max-Forwards\t:"}}, true, "reject 400: bad-header"},
		"no colon":                {invite, edits{{"Max-Forwards: 70", "Max-Forwards 70"}}, true, "reject 400: bad-header"},
		"no name":                 {invite, edits{{"Max-Forwards: 70", ": 70"}}, true, "reject 400: bad-header"},
		"folded start line":       {invite, edits{{"Via:", " x\r\nVia:"}}, true, "reject 400: bad-header"},
		"two blanks in the start": {invite, edits{{"INVITE sip:", "INVITE  sip:"}}, true, "reject 400: bad-start-line"},
		"blank behind the start":  {invite, edits{{"SIP/2.0\r\n", "SIP/2.0 \r\n"}}, true, "reject 400: bad-start-line"},
		"URI in brackets":         {invite, edits{{"sip:1002@example.com SIP", "<sip:1002@example.com> SIP"}}, true, "reject 400: bad-start-line"},
		"method is no token":      {invite, edits{{"INVITE sip:", "INV@TE sip:"}}, true, "reject 400: bad-start-line"},
		"version 7":               {invite, edits{{"SIP/2.0\r\n", "SIP/7.0\r\n"}}, true, "reject 505: bad-version"},
		"version 2.00":            {invite, edits{{"SIP/2.0\r\n", "SIP/2.00\r\n"}}, true, "reject 505: bad-version"},
		"version x":               {invite, edits{{"SIP/2.0\r\n", "SIP/x.0\r\n"}}, true, "reject 400: bad-start-line"},
		"status 99":               {response, edits{{"200", "99"}}, true, "drop: bad-number"},
		"status 700":              {response, edits{{"200", "700"}}, true, "drop: bad-number"},
		"status of ten digits":    {response, edits{{"200", "4294967301"}}, true, "drop: bad-number"},
		"response version":        {response, edits{{"SIP/2.0 200", "SIP/3.0 200"}}, true, "drop: bad-version"},
		// lengths and counts
		"Content-Length 4294967328": {invite, edits{{"Content-Length: 4", "Content-Length: 4294967328"}}, true, "reject 400: bad-content-length"},
		"Content-Length -1":         {invite, edits{{"Content-Length: 4", "Content-Length: -1"}}, true, "reject 400: bad-content-length"},
		"Content-Length +4":         {invite, edits{{"Content-Length: 4", "Content-Length: +4"}}, true, "reject 400: bad-content-length"},
		"Content-Length 0x4":        {invite, edits{{"Content-Length: 4", "Content-Length: 0x4"}}, true, "reject 400: bad-content-length"},
		"Content-Length none":       {invite, edits{{"Content-Length: 4", "Content-Length:"}}, true, "reject 400: bad-content-length"},
		"Content-Length two values": {invite, edits{{"Content-Length: 4", "Content-Length: 4, 4"}}, true, "reject 400: bad-content-length"},
		"Content-Length too large":  {invite, edits{{"Content-Length: 4", "Content-Length: 5"}}, true, "reject 400: bad-content-length"},
		"Content-Length too small":  {invite, edits{{"Content-Length: 4", "Content-Length: 3"}}, true, "reject 400: bad-content-length"},
		"Content-Length missing":    {invite, edits{{"Content-Length: 4\r\n", ""}}, false, "reject 400: bad-content-length"},
		"Content-Length twice":      {invite, edits{{"Content-Length: 4", "Content-Length: 4\r\nContent-Length: 4"}}, true, "reject 400: duplicate-header"},
		"compact duplicate":         {invite, edits{{"Content-Length: 4", "Content-Length: 4\r\nl: 0"}}, true, "reject 400: duplicate-header"},
		"From twice":                {invite, edits{{"To: Bob", "f: <sip:x@y.z>;tag=1\r\nTo: Bob"}}, true, "reject 400: duplicate-header"},
		"CSeq twice, other case":    {invite, edits{{"To: Bob", "cSEQ: 314159 INVITE\r\nTo: Bob"}}, true, "reject 400: duplicate-header"},
		"51 Accepts":                {invite, edits{{"To: Bob", strings.Repeat("Accept: a/b\r\n", 51) + "To: Bob"}}, true, "reject 400: too-many-headers"},
		"129 headers":               {invite, edits{{"To: Bob", manyHeaders(129) + "To: Bob"}}, true, "reject 400: too-many-headers"},
		"33 Vias":                   {invite, edits{{"Max-", "v: " + strings.TrimSuffix(strings.Repeat("SIP/2.0/UDP a.b,", 32), ",") + "\r\nMax-"}}, true, "reject 400: too-many-headers"},
		"17 Routes":                 {invite, edits{{"Max-", strings.Repeat("Route: <sip:a.b;lr>\r\n", 9) + strings.Repeat("Record-Route: <sip:a.b;lr>\r\n", 8) + "Max-"}}, true, "reject 400: too-many-headers"},
		"17 Contacts":               {invite, edits{{"Contact: ", "Contact: " + strings.Repeat("<sip:a@b.c>,", 16)}}, true, "reject 400: too-many-headers"},
		"long line":                 {invite, edits{{"To: Bob", "Subject: " + strings.Repeat("x", 8<<10) + "\r\nTo: Bob"}}, true, "reject 400: header-too-long"},
		"long folded line":          {invite, edits{{"To: Bob", "Subject: x" + strings.Repeat("\r\n yyyyyyyy", 1000) + "\r\nTo: Bob"}}, true, "reject 400: header-too-long"},
		"long start line":           {invite, edits{{"1002@", strings.Repeat("1", 9000) + "@"}}, true, "drop: not-sip"},
		"large datagram":            {invite, edits{{"v=0\n", strings.Repeat("v", 66000)}}, true, "reject 513: oversize"},
		"large on a stream":         {invite, edits{{"v=0\n", strings.Repeat("v", 256<<10)}}, false, "reject 513: oversize"},
		// grammar
		"port -1 in Via":          {invite, edits{{"192.0.2.1:5060;branch", "192.0.2.1:-1;branch"}}, true, "reject 400: bad-uri"},
		"port 99999 in the URI":   {invite, edits{{"example.com SIP", "example.com:99999 SIP"}}, true, "reject 400: bad-uri"},
		"port 0":                  {invite, edits{{"example.com SIP", "example.com:0 SIP"}}, true, "reject 400: bad-uri"},
		"port 65536 in Contact":   {invite, edits{{"1001@192.0.2.1:5060", "1001@192.0.2.1:65536"}}, true, "reject 400: bad-uri"},
		"open quote":              {invite, edits{{"\"Alice\"", "\"Alice"}}, true, "reject 400: bad-header"},
		"comma in a display name": {invite, edits{{"\"Alice\"", "Bell, Alice"}}, true, "reject 400: bad-header"},
		"blank in addr-spec":      {invite, edits{{"<sip:1002@example.com>", "<sip:1002@example.com >"}}, true, "reject 400: bad-uri"},
		"two To in one":           {invite, edits{{"To: Bob <sip:1002@example.com>", "To: <sip:a@b.c>, <sip:d@e.f>"}}, true, "reject 400: bad-header"},
		"parameter twice":         {invite, edits{{"tag=1928301774", "tag=1;tag=2"}}, true, "reject 400: bad-header"},
		"parameter twice by case": {invite, edits{{"tag=1928301774", "tag=1;TAG=2"}}, true, "reject 400: bad-header"},
		"CSeq too large":          {invite, edits{{"314159", "2147483648"}}, true, "reject 400: bad-number"},
		"CSeq negative":           {invite, edits{{"314159", "-1"}}, true, "reject 400: bad-number"},
		"Max-Forwards 256":        {invite, edits{{"70", "256"}}, true, "reject 400: bad-number"},
		"asterisk as host":        {invite, edits{{"1002@example.com SIP", "* SIP"}}, true, "reject 400: bad-uri"},
		"Contact without URI":     {invite, edits{{"<sip:1001@192.0.2.1:5060>", "\"x\""}}, true, "reject 400: bad-header"},
		// agreement and must-haves
		"no Via":                {invite, edits{{"Via:", "X-Via:"}}, true, "reject 400: missing-header"},
		"no From":               {invite, edits{{"From:", "X-From:"}}, true, "reject 400: missing-header"},
		"no To":                 {invite, edits{{"To:", "X-To:"}}, true, "reject 400: missing-header"},
		"no Call-ID":            {invite, edits{{"Call-ID:", "X-ID:"}}, true, "reject 400: missing-header"},
		"no CSeq":               {invite, edits{{"CSeq:", "X-CSeq:"}}, true, "reject 400: missing-header"},
		"no Contact":            {invite, edits{{"Contact:", "X-Contact:"}}, true, "reject 400: missing-header"},
		"two Contacts":          {invite, edits{{"Contact: ", "Contact: <sip:z@y.x>,"}}, true, "reject 400: duplicate-header"},
		"Contact *":             {invite, edits{{"<sip:1001@192.0.2.1:5060>", "*"}}, true, "reject 400: bad-header"},
		"no branch":             {invite, edits{{"branch=z9hG4bK776asdhds;", ""}}, true, "reject 400: missing-header"},
		"branch without cookie": {invite, edits{{"z9hG4bK776asdhds", "776asdhds"}}, true, "reject 400: missing-header"},
		"branch only cookie":    {invite, edits{{"z9hG4bK776asdhds", "z9hG4bK"}}, true, "reject 400: missing-header"},
		"no tag":                {invite, edits{{";tag=1928301774", ""}}, true, "reject 400: missing-header"},
		"empty tag":             {invite, edits{{";tag=1928301774", ";tag"}}, true, "reject 400: bad-header"},
		"CSeq of another":       {invite, edits{{"314159 INVITE", "314159 OPTIONS"}}, true, "reject 400: cseq-mismatch"},
		"method in small":       {invite, edits{{"INVITE sip", "invite sip"}}, true, "reject 400: cseq-mismatch"},
		"Via of HTTP":           {invite, edits{{"Via: SIP/2.0", "Via: HTTP/2.0"}}, true, "reject 400: bad-version"},
		"unknown scheme":        {invite, edits{{"sip:1002@example.com SIP", "nobody:knows SIP"}}, true, "reject 416: bad-uri"},
		"From of the web":       {invite, edits{{"sip:1001@example.com", "http://example.com"}}, true, "reject 400: bad-uri"},
		"Contact by mail":       {invite, edits{{"sip:1001@192.0.2.1:5060", "mailto:a@b.c"}}, true, "reject 400: bad-uri"},
		"headers in the URI":    {invite, edits{{"1002@example.com SIP", "1002@example.com?Route=x SIP"}}, true, "reject 400: embedded-headers"},
		"headers in To":         {invite, edits{{"<sip:1002@example.com>", "<sip:1002@example.com?a=b>"}}, true, "reject 400: embedded-headers"},
		"headers in Contact":    {invite, edits{{"<sip:1001@192.0.2.1:5060>", "<sip:1001@192.0.2.1?a=b>"}}, true, "reject 400: embedded-headers"},
		"headers in Route":      {invite, edits{{"Contact:", "Route: <sip:a.b?a=b>\r\nContact:"}}, true, "reject 400: embedded-headers"},
		"Route by tel":          {invite, edits{{"Contact:", "Route: <tel:1>\r\nContact:"}}, true, "reject 400: bad-uri"},
		"long URI":              {invite, edits{{"1002@example.com SIP", strings.Repeat("1", 2000) + "@example.com SIP"}}, true, "reject 414: bad-uri"},
		"long Call-ID":          {invite, edits{{"a84b4c76e66710", strings.Repeat("a", 600)}}, true, "reject 400: header-too-long"},
		"long tag":              {invite, edits{{"1928301774", strings.Repeat("a", 600)}}, true, "reject 400: header-too-long"},
		"long branch":           {invite, edits{{"776asdhds", strings.Repeat("a", 600)}}, true, "reject 400: header-too-long"},
		"body without type":     {invite, edits{{"Content-Type:", "X-Type:"}}, true, "reject 400: bad-body"},
		"Expires of words":      {invite, edits{{"Contact:", "Expires: soon\r\nContact:"}}, true, "reject 400: bad-number"},
		"Expires too large":     {invite, edits{{"Contact:", "Expires: 4294967296\r\nContact:"}}, true, "reject 400: bad-number"},
		"Expires with a tail":   {invite, edits{{"Contact:", "Expires: 60x\r\nContact:"}}, true, "reject 400: bad-number"},
		"expires of Contact":    {invite, edits{{"5060>", "5060>;expires=99999999999"}}, true, "reject 400: bad-number"},
		"q of Contact":          {invite, edits{{"5060>", "5060>;q=1.5"}}, true, "reject 400: bad-number"},
		"Date of elsewhere":     {invite, edits{{"Contact:", "Date: Fri, 01 Jan 2010 16:00:00 EST\r\nContact:"}}, true, "reject 400: bad-header"},
		"response with 2 Vias":  {response, edits{{"From:", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx\r\nFrom:"}}, true, "drop: stray-response"},
		"response without To":   {response, edits{{"To:", "X-To:"}}, true, "drop: missing-header"},
		"response, bad Contact": {response, edits{{"<sip:1002@192.0.2.9>", "<mailto:a@b>"}}, true, "drop: bad-uri"},
	} {
		text := c.base
		for _, e := range c.edits {
			text = edit(t, text, e[0], e[1])
		}
		if strings.HasPrefix(name, "large") {
			_, body, _ := strings.Cut(text, "\r\n\r\n")
			text = edit(t, text, "Content-Length: 4", fmt.Sprintf("Content-Length: %d", len(body)))
		}
		if _, v := judge([]byte(text), c.datagram); v.String() != c.want {
			t.Errorf("%s: %v, want %s", name, v, c.want)
		}
	}
}

func manyHeaders(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: 1\r\n", i)
	}
	return b.String()
}

func TestScreenTakesWhatIsAllowed(t *testing.T) {
	register := strings.ReplaceAll(edit(t, invite, "INVITE sip:1002@", "REGISTER sip:"), "INVITE", "REGISTER")
	for name, text := range map[string]string{
		"Contact * in REGISTER":       edit(t, register, "<sip:1001@192.0.2.1:5060>", "*"),
		"two Contacts in REGISTER":    edit(t, register, "Contact: ", "Contact: <sip:z@y.x>;q=0.25;expires=60, "),
		"no Contact in REGISTER":      edit(t, register, "Contact: <sip:1001@192.0.2.1:5060>\r\n", ""),
		"Contact of a redirection":    edit(t, edit(t, response, "200 OK", "302 Moved"), "<sip:1002@192.0.2.9>", "<mailto:a@b.c>"),
		"q=1.000":                     edit(t, invite, "5060>", "5060>;q=1.000"),
		"Session-Expires with params": edit(t, invite, "Contact:", "Session-Expires: 1800;refresher=uac\r\nContact:"),
		"Retry-After with a comment":  edit(t, response, "Contact:", "Retry-After: 30 (busy);duration=3\r\nContact:"),
		"Date":                        edit(t, invite, "Contact:", "Date: Sat, 13 Nov 2010 23:29:00 GMT\r\nContact:"),
		"Refer-To with headers":       edit(t, invite, "Contact:", "r: <sip:a@b.c?Replaces=x%40y>\r\nContact:"),
	} {
		if _, v := judge([]byte(text), true); !v.OK() {
			t.Errorf("%s: %v", name, v)
		}
	}
}

func TestScreenIsTotal(t *testing.T) {
	lim := DefaultLimits()
	var req *sip.Request
	var res *sip.Response
	for _, msg := range []sip.Message{nil, req, res, sip.NewRequest("", sip.Uri{}), sip.NewResponse(0, "")} {
		if v := Screen(msg, lim); v.OK() {
			t.Errorf("Screen(%T) passes", msg)
		}
	}
}

func TestScreenRawAllocatesNothing(t *testing.T) {
	lim := DefaultLimits()
	for _, text := range []string{invite, response, edit(t, invite, "Bob", "B\x00b")} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() { ScreenRaw(b, true, lim) }); n != 0 {
			t.Errorf("%v allocations for\n%s", n, text)
		}
	}
}

func TestVerdictOfForeignError(t *testing.T) {
	if v := VerdictOf(errors.New("x")); v != verdict.Rejected(400, verdict.BadHeader) {
		t.Errorf("got %v", v)
	}
	_, err := Parse([]byte("x"))
	var f *Fault
	if !errors.As(err, &f) || f.Unwrap() == nil || !strings.Contains(err.Error(), "bad-header") {
		t.Errorf("got %v", err)
	}
}

func TestKnownHeadersFitTheirRoom(t *testing.T) {
	if len(known) >= maxKnown {
		t.Fatalf("%d known headers, room for %d", len(known), maxKnown)
	}
	seen := map[uint8]string{}
	for lower, k := range known {
		if strings.ToLower(k.name) != lower || len(k.name) > 32 {
			t.Errorf("%q stands under %q", k.name, lower)
		}
		if other := seen[k.index]; other != "" {
			t.Errorf("%s and %s have one index", other, k.name)
		}
		seen[k.index] = k.name
	}
}

func BenchmarkScreenRaw(b *testing.B) {
	data, lim := []byte(invite), DefaultLimits()
	b.ReportAllocs()
	for b.Loop() {
		if v := ScreenRaw(data, true, lim); !v.OK() {
			b.Fatal(v)
		}
	}
}

func BenchmarkScreen(b *testing.B) {
	msg, err := Parse([]byte(invite))
	if err != nil {
		b.Fatal(err)
	}
	lim := DefaultLimits()
	b.ReportAllocs()
	for b.Loop() {
		if v := Screen(msg, lim); !v.OK() {
			b.Fatal(v)
		}
	}
}
