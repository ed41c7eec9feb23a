package eventdoc

import (
	"bytes"
	"strings"
)

const (
	spacePIDF   = "urn:ietf:params:xml:ns:pidf"
	spacePerson = "urn:ietf:params:xml:ns:pidf:data-model"
	spaceRPID   = "urn:ietf:params:xml:ns:pidf:rpid"
)

// MaxTuples bounds the tuples of one document.
const MaxTuples = 16

// PIDF is how somebody can be reached (RFC 3863).
type PIDF struct {
	User    string
	Tuples  []Tuple
	OnPhone bool   // on-the-phone (RFC 4480 §3.2)
	Note    string // of the whole document; read only
}

// Tuple is one way to reach somebody.
type Tuple struct {
	ID   string // a token
	Open bool
	Note string // a line for people; may be empty
}

// Bytes is the document for readers in domain.
func (p PIDF) Bytes(domain string) []byte {
	b := &bytes.Buffer{}
	b.WriteString(prolog + `<presence xmlns="` + spacePIDF + `" xmlns:dm="` + spacePerson + `" xmlns:rpid="` + spaceRPID + `" entity="`)
	address(b, p.User, domain)
	b.WriteString("\">\n")
	for _, t := range p.Tuples {
		t.append(b)
	}
	if p.OnPhone {
		b.WriteString(`<dm:person id="person"><rpid:activities><rpid:on-the-phone/></rpid:activities></dm:person>` + "\n")
	}
	b.WriteString("</presence>\n")
	return b.Bytes()
}

func (t Tuple) append(b *bytes.Buffer) {
	basic := "closed"
	if t.Open {
		basic = "open"
	}
	b.WriteString(`<tuple id="`)
	text(b, t.ID)
	b.WriteString(`"><status><basic>` + basic + `</basic></status>`)
	if t.Note != "" {
		b.WriteString("<note>")
		text(b, t.Note)
		b.WriteString("</note>")
	}
	b.WriteString("</tuple>\n")
}

// ParsePIDF reads a document, and of it what PIDF holds.
func ParsePIDF(data []byte) (PIDF, error) {
	root, err := rootOf(data, spacePIDF, "presence")
	if err != nil {
		return PIDF{}, err
	}
	var p PIDF
	if p.User, err = userOf(root.attr("entity")); err != nil {
		return PIDF{}, err
	}
	if n := root.child(spacePIDF, "note"); n != nil {
		p.Note = line(n.text)
	}
	for _, c := range root.children {
		switch {
		case c.name.Space == spacePIDF && c.name.Local == "tuple":
			t, err := parseTuple(c)
			if err != nil {
				return PIDF{}, err
			}
			if p.Tuples = append(p.Tuples, t); len(p.Tuples) > MaxTuples {
				return PIDF{}, bad("too many tuples")
			}
		case c.name.Space == spacePerson && c.name.Local == "person":
			if a := c.child(spaceRPID, "activities"); a != nil && a.child(spaceRPID, "on-the-phone") != nil {
				p.OnPhone = true
			}
		}
	}
	return p, nil
}

func parseTuple(n *node) (Tuple, error) {
	t := Tuple{ID: n.attr("id")}
	if !isToken(t.ID) {
		return t, bad("id of a tuple")
	}
	if s := n.child(spacePIDF, "status"); s != nil {
		if b := s.child(spacePIDF, "basic"); b != nil {
			switch strings.TrimSpace(b.text) {
			case "open":
				t.Open = true
			case "closed":
			default:
				return t, bad("basic status")
			}
		}
	}
	if c := n.child(spacePIDF, "note"); c != nil {
		t.Note = line(c.text)
	}
	return t, nil
}
