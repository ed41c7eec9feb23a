package sipmsg

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// A second reader, written on its own in another manner (regular expressions of the grammar), which knows only the narrow
// dialect that we write: CRLF, no folding, long names, one Content-Length, name-addr in brackets. It shares no code with
// the package, so a mistake would have to be made twice.

const (
	reToken   = "[-.!%*_+`'~0-9A-Za-z]+"
	reQuoted  = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\x20-\x7e])*"`
	reEscape  = `%[0-9A-Fa-f]{2}`
	reHost    = `(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z](?:[-0-9A-Za-z.]*[0-9A-Za-z.])?)`
	reParam   = "(?:[-_.!~*'()\\[\\]/:&+$0-9A-Za-z]|" + reEscape + ")+"
	reHName   = "(?:[-_.!~*'()\\[\\]/?:+$0-9A-Za-z]|" + reEscape + ")"
	reSIP     = "[sS][iI][pP][sS]?:(?:(?:[-_.!~*'()&=+$,;?/0-9A-Za-z]|" + reEscape + ")+(?::(?:[-_.!~*'()&=+$,0-9A-Za-z]|" + reEscape + ")*)?@)?" + reHost + `(?::[0-9]{1,5})?(?:;` + reParam + "(?:=" + reParam + `)?)*(?:\?` + reHName + "+=" + reHName + "*(?:&" + reHName + "+=" + reHName + "*)*)?"
	reOther   = "[A-Za-z][-+.0-9A-Za-z]*:(?:[-_.!~*'();/?:@&=+$,\\[\\]0-9A-Za-z]|" + reEscape + ")+"
	reURI     = "(?:" + reSIP + "|" + reOther + ")"
	reValue   = "(?:" + reQuoted + "|[-.!%*_+`'~\\[\\]:0-9A-Za-z]+)"
	reParams  = "(?:;" + reToken + "(?:=" + reValue + ")?)*"
	reAddress = "(?:" + reQuoted + " )?<" + reURI + ">" + reParams
)

var (
	reRequest = regexp.MustCompile("^" + reToken + " " + reURI + ` SIP/2\.0$`)
	reStatus  = regexp.MustCompile(`^SIP/2\.0 [1-6][0-9][0-9] [^\x00-\x08\x0a-\x1f\x7f]*$`)
	reLine    = regexp.MustCompile(`^(` + reToken + `): ([^\x00-\x08\x0a-\x1f\x7f]*)$`)
	reForms   = map[string]*regexp.Regexp{
		"Via":            regexp.MustCompile("^" + reToken + "/" + reToken + "/" + reToken + " " + reHost + "(?::[0-9]{1,5})?" + reParams + "$"),
		"From":           regexp.MustCompile("^" + reAddress + "$"),
		"To":             regexp.MustCompile("^" + reAddress + "$"),
		"Contact":        regexp.MustCompile(`^(?:\*|` + reAddress + ")$"),
		"Route":          regexp.MustCompile("^" + reAddress + "$"),
		"Record-Route":   regexp.MustCompile("^" + reAddress + "$"),
		"Refer-To":       regexp.MustCompile("^" + reAddress + "$"),
		"Referred-By":    regexp.MustCompile("^" + reAddress + "$"),
		"CSeq":           regexp.MustCompile("^[0-9]+ " + reToken + "$"),
		"Max-Forwards":   regexp.MustCompile("^[0-9]+$"),
		"Content-Length": regexp.MustCompile("^[0-9]+$"),
	}
)

type secondLine struct{ name, value string }

// second cuts a message to its start line, headers and body.
func second(b []byte) (start string, headers []secondLine, body string, err error) {
	if !utf8.ValidString(strings.SplitN(string(b), "\r\n\r\n", 2)[0]) {
		return "", nil, "", fmt.Errorf("not UTF-8")
	}
	rest := string(b)
	next := func() (string, error) {
		i := strings.IndexAny(rest, "\r\n")
		if i < 0 || !strings.HasPrefix(rest[i:], "\r\n") {
			return "", fmt.Errorf("a line without CRLF")
		}
		line := rest[:i]
		rest = rest[i+2:]
		return line, nil
	}
	if start, err = next(); err != nil {
		return "", nil, "", err
	}
	for {
		line, err := next()
		if err != nil {
			return "", nil, "", err
		}
		if line == "" {
			return start, headers, rest, nil
		}
		m := reLine.FindStringSubmatch(line)
		if m == nil {
			return "", nil, "", fmt.Errorf("header line %q", line)
		}
		headers = append(headers, secondLine{m[1], m[2]})
	}
}

// strictRead reports what breaks the narrow dialect.
func strictRead(b []byte) error {
	start, headers, body, err := second(b)
	if err != nil {
		return err
	}
	if !reRequest.MatchString(start) && !reStatus.MatchString(start) {
		return fmt.Errorf("start line %q", start)
	}
	lengths := 0
	for _, h := range headers {
		if len(h.name) == 1 && strings.Contains("abcdefijklmnorstuvxy", strings.ToLower(h.name)) {
			return fmt.Errorf("compact name %q", h.name)
		}
		if re := reForms[h.name]; re != nil && !re.MatchString(h.value) {
			return fmt.Errorf("%s: %q", h.name, h.value)
		}
		if strings.EqualFold(h.name, "Content-Length") {
			lengths++
			if n, err := strconv.Atoi(h.value); err != nil || n != len(body) {
				return fmt.Errorf("Content-Length %q for %d bytes", h.value, len(body))
			}
		}
	}
	if lengths != 1 {
		return fmt.Errorf("%d Content-Length", lengths)
	}
	return nil
}

// sameToSecondReader compares what Parse understood with what the second reader sees.
func sameToSecondReader(msg sip.Message, b []byte) error {
	_, headers, body, err := second(b)
	if err != nil {
		return err
	}
	if string(msg.Body()) != body {
		return fmt.Errorf("body %q, second reader %q", msg.Body(), body)
	}
	all := list(msg)
	if len(all) != len(headers) {
		return fmt.Errorf("%d headers, second reader %d", len(all), len(headers))
	}
	for i, h := range all {
		if h.Name() != headers[i].name || string(appendValue(nil, h)) != headers[i].value {
			return fmt.Errorf("header %d is %q %q, second reader %v", i, h.Name(), appendValue(nil, h), headers[i])
		}
	}
	if from := msg.From(); from != nil {
		for _, h := range headers {
			if h.name != "From" {
				continue
			}
			m := regexp.MustCompile(`<(?:[sS][iI][pP][sS]?:)(?:([^:@>]*)(?::[^@>]*)?@)?`).FindStringSubmatch(h.value[len(quotedPrefix(h.value)):])
			if m != nil && m[1] != from.Address.User {
				return fmt.Errorf("From user %q, second reader %q", from.Address.User, m[1])
			}
		}
	}
	return nil
}

func quotedPrefix(s string) string {
	return regexp.MustCompile("^(?:" + reQuoted + " )?").FindString(s)
}

// dump writes everything that Parse understood, field by field, but Content-Length, which a datagram may leave out.
func dump(msg sip.Message) string {
	var b strings.Builder
	switch m := msg.(type) {
	case *sip.Request:
		fmt.Fprintf(&b, "%s %s\n", m.Method, dumpURI(m.Recipient))
	case *sip.Response:
		fmt.Fprintf(&b, "%d %q\n", m.StatusCode, clean(m.Reason))
	}
	for _, h := range list(msg) {
		switch h := h.(type) {
		case *sip.ContentLengthHeader:
		case *sip.ViaHeader:
			fmt.Fprintf(&b, "%q %q %q %q %d %q\n", h.ProtocolName, h.ProtocolVersion, h.Transport, h.Host, h.Port, h.Params)
		case *sip.FromHeader:
			fmt.Fprintf(&b, "from %q %s %q\n", h.DisplayName, dumpURI(h.Address), h.Params)
		case *sip.ToHeader:
			fmt.Fprintf(&b, "to %q %s %q\n", h.DisplayName, dumpURI(h.Address), h.Params)
		case *sip.ContactHeader:
			fmt.Fprintf(&b, "contact %q %s %q\n", h.DisplayName, dumpURI(h.Address), h.Params)
		case *sip.RouteHeader:
			fmt.Fprintf(&b, "route %s\n", dumpURI(h.Address))
		case *sip.RecordRouteHeader:
			fmt.Fprintf(&b, "record-route %s\n", dumpURI(h.Address))
		default:
			fmt.Fprintf(&b, "%T %q %q\n", h, h.Name(), h.Value())
		}
	}
	fmt.Fprintf(&b, "%q", msg.Body())
	return b.String()
}

func dumpURI(u sip.Uri) string {
	return fmt.Sprintf("%q %q %q %q %q %d %q %q %v", u.Scheme, u.Raw(), u.User, u.Password, u.Host, u.Port, u.UriParams, u.Headers, u.Wildcard)
}
