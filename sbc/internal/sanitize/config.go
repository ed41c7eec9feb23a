package sanitize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/conffile"
	"brickhouse/shared/sdp"
	"brickhouse/shared/sipmsg"
)

// Messages says what the messages of a realm may be like, on top of the tables of this package.
type Messages struct {
	Methods     []string `yaml:"methods" doc:"Methods that this side may use, of those that are served. Empty: all of them."`
	PassHeaders []Pass   `yaml:"pass_headers" doc:"Headers that cross the border beside those that are understood. Routing, identity, credentials and what the border writes itself can't."`
	DropHeaders []string `yaml:"drop_headers" doc:"Headers that would cross the border and shall not: Reason, Privacy, Retry-After and others that a call can do without."`
	Limits      Limits   `yaml:"limits" doc:"The most of everything in a message of this side."`
}

// Pass lets one header cross the border.
type Pass struct {
	Name      string   `yaml:"name" doc:"Name of the header, as X-Account."`
	Form      string   `yaml:"form" oneof:"token|number|address|text" doc:"What its value must be. token: one word. number: digits. address: a URI in brackets, with a name before it or not. text: printable ASCII."`
	MaxLength int      `yaml:"max_length" doc:"Longest value in bytes; a longer one is left out."`
	Params    []string `yaml:"params" doc:"Parameters that pass with a token, number or address."`
	Methods   []string `yaml:"methods" doc:"In which requests and their responses. Empty: INVITE."`
	Way       string   `yaml:"way" oneof:"in|out|both" doc:"in: towards the exchange. out: from it."`
}

// Values of Pass.Way and Pass.Form.
const (
	wayIn  = "in"
	wayOut = "out"

	formToken   = "token"
	formNumber  = "number"
	formAddress = "address"
	formText    = "text"
)

// SetDefaults sets what a header has unless the file says otherwise.
func (p *Pass) SetDefaults() { *p = Pass{Form: formToken, MaxLength: 128, Way: "both"} }

// Limits bounds every count and length of a message; a zero field takes its default. Honest messages stay far below.
type Limits struct {
	Datagram   conffile.Size `yaml:"datagram" doc:"A message in one datagram."`
	Message    conffile.Size `yaml:"message" doc:"A message over TCP or TLS."`
	Body       conffile.Size `yaml:"body" doc:"A body of any type."`
	Line       int           `yaml:"line" doc:"Bytes of the start line, or of one header with its folded lines."`
	Headers    int           `yaml:"headers" doc:"Header lines."`
	Repeat     int           `yaml:"repeat" doc:"Lines of the same header."`
	Vias       int           `yaml:"vias" doc:"Via values."`
	Routes     int           `yaml:"routes" doc:"Route and Record-Route values together."`
	Contacts   int           `yaml:"contacts" doc:"Contact values."`
	URI        int           `yaml:"uri" doc:"Bytes of the request URI."`
	URIParams  int           `yaml:"uri_params" doc:"Parameters of one URI."`
	Token      int           `yaml:"token" doc:"Bytes of a Call-ID, tag or branch."`
	SDPLines   int           `yaml:"sdp_lines" doc:"Lines of a session description."`
	SDPMedia   int           `yaml:"sdp_media" doc:"Media (m= lines) of a session description."`
	Attributes int           `yaml:"sdp_attributes" doc:"Attributes (a= lines) of a session description."`
}

// Without is m less a method that the realm would have served.
func (m Messages) Without(realm string, method sip.RequestMethod) Messages {
	names := m.Methods
	if len(names) == 0 {
		names = strings.Split(list(methods[realm]), ", ")
	}
	m.Methods = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == string(method) })
	return m
}

// DefaultMessages is what holds where the file says nothing.
func DefaultMessages() Messages { return Messages{Limits: DefaultLimits()} }

// DefaultLimits is what holds where the file says nothing.
func DefaultLimits() Limits {
	d := sipmsg.DefaultLimits()
	return Limits{
		Datagram: conffile.Size(d.MaxDatagram), Message: conffile.Size(d.MaxMessage), Body: maxBody, Line: d.MaxLine, Headers: d.MaxHeaders,
		Repeat: d.MaxRepeat, Vias: d.MaxVias, Routes: d.MaxRoutes, Contacts: d.MaxContacts, URI: d.MaxURI, URIParams: d.MaxURIParams,
		Token: d.MaxToken, SDPLines: sdp.MaxLines, SDPMedia: sdp.MaxMedia, Attributes: 384,
	}
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range []struct{ size, def *conffile.Size }{{&l.Datagram, &d.Datagram}, {&l.Message, &d.Message}, {&l.Body, &d.Body}} {
		if *f.size == 0 {
			*f.size = *f.def
		}
	}
	for _, f := range []struct{ n, def *int }{
		{&l.Line, &d.Line}, {&l.Headers, &d.Headers}, {&l.Repeat, &d.Repeat}, {&l.Vias, &d.Vias}, {&l.Routes, &d.Routes},
		{&l.Contacts, &d.Contacts}, {&l.URI, &d.URI}, {&l.URIParams, &d.URIParams}, {&l.Token, &d.Token},
		{&l.SDPLines, &d.SDPLines}, {&l.SDPMedia, &d.SDPMedia}, {&l.Attributes, &d.Attributes},
	} {
		if *f.n == 0 {
			*f.n = *f.def
		}
	}
	return l
}

// form is the part of the limits that package sipmsg holds.
func (l Limits) form() sipmsg.Limits {
	return sipmsg.Limits{
		MaxDatagram: int(l.Datagram), MaxMessage: int(l.Message), MaxLine: l.Line, MaxHeaders: l.Headers, MaxRepeat: l.Repeat,
		MaxVias: l.Vias, MaxRoutes: l.Routes, MaxContacts: l.Contacts, MaxURI: l.URI, MaxURIParams: l.URIParams, MaxToken: l.Token,
	}
}

// Check says what is wrong with m as the configuration of realm; key is where it stands in the file.
func (m Messages) Check(key, realm string) []conffile.Fault {
	var fs []conffile.Fault
	for i, name := range m.Methods {
		if !slices.Contains(methods[realm], sip.RequestMethod(name)) {
			fs = append(fs, conffile.Badf(fmt.Sprintf("%s.methods[%d]", key, i), "use some of "+list(methods[realm]), "%.32q is not served on this side", name))
		}
	}
	for _, must := range []string{"ACK", "CANCEL", "BYE"} {
		if slices.Contains(m.Methods, "INVITE") && !slices.Contains(m.Methods, must) {
			fs = append(fs, conffile.Bad(key+".methods", "has INVITE without "+must, "add it, or no call can end"))
		}
	}
	for i, name := range m.DropHeaders {
		if !droppable(sipmsg.Canonical(name)) {
			fs = append(fs, conffile.Badf(fmt.Sprintf("%s.drop_headers[%d]", key, i), "name a header that crosses the border and that calls can do without", "%.32q can't be dropped", name))
		}
	}
	seen := map[string]bool{}
	for i, p := range m.PassHeaders {
		at := fmt.Sprintf("%s.pass_headers[%d]", key, i)
		fs = append(fs, p.check(at, realm)...)
		if name := sipmsg.Canonical(p.Name); seen[name] {
			fs = append(fs, conffile.Badf(at+".name", "take one out", "%.32q stands twice", p.Name))
		} else {
			seen[name] = true
		}
	}
	return append(fs, m.Limits.Check(key+".limits")...)
}

func (p Pass) check(key, realm string) []conffile.Fault {
	var fs []conffile.Fault
	name := sipmsg.Canonical(p.Name)
	switch {
	case !isToken(p.Name):
		fs = append(fs, conffile.Badf(key+".name", "write it as X-Account", "%.32q is no name of a header", p.Name))
	case reserved(name):
		fs = append(fs, conffile.Badf(key+".name", "name another header", "%s never passes as it is: the border writes it itself, or it tells who, where or by which way", name))
	case ruled(name):
		fs = append(fs, conffile.Badf(key+".name", "take it out", "%s passes already, by a rule of its own", name))
	}
	if p.MaxLength < 1 || p.MaxLength > maxPassed {
		fs = append(fs, conffile.Badf(key+".max_length", "leave it away", "must be from 1 to %d", maxPassed))
	}
	for i, param := range p.Params {
		if !isToken(param) || p.Form == formText {
			fs = append(fs, conffile.Badf(fmt.Sprintf("%s.params[%d]", key, i), "name parameters of a token, number or address", "%.32q can't pass here", param))
		}
	}
	for i, m := range p.Methods {
		if !slices.Contains(methods[realm], sip.RequestMethod(m)) {
			fs = append(fs, conffile.Badf(fmt.Sprintf("%s.methods[%d]", key, i), "use some of "+list(methods[realm]), "%.32q is not served on this side", m))
		}
	}
	return fs
}

// Check says what is wrong with limits that stand at key.
func (l Limits) Check(key string) []conffile.Fault {
	var fs []conffile.Fault
	for _, n := range []struct {
		key              string
		value, low, high int
	}{
		{"datagram", int(l.Datagram), 512, 64 << 10}, {"message", int(l.Message), 512, 1 << 20}, {"body", int(l.Body), 256, maxBody},
		{"line", l.Line, 128, 64 << 10}, {"headers", l.Headers, 8, 1024}, {"repeat", l.Repeat, 1, 256}, {"vias", l.Vias, 1, 256},
		{"routes", l.Routes, 1, 64}, {"contacts", l.Contacts, 1, 64}, {"uri", l.URI, 16, 8 << 10}, {"uri_params", l.URIParams, 1, 64},
		{"token", l.Token, 32, 4 << 10}, {"sdp_lines", l.SDPLines, 8, sdp.MaxLines}, {"sdp_media", l.SDPMedia, 1, sdp.MaxMedia},
		{"sdp_attributes", l.Attributes, 8, sdp.MaxLines},
	} {
		if n.value < n.low || n.value > n.high {
			fs = append(fs, conffile.Badf(key+"."+n.key, "leave it away", "%d is not from %d to %d", n.value, n.low, n.high))
		}
	}
	return fs
}

func list(ms []sip.RequestMethod) string {
	names := make([]string, len(ms))
	for i, m := range ms {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}
