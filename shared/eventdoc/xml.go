package eventdoc

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"brickhouse/shared/sipmsg"
)

// MaxSize bounds a document that is read, in bytes.
const MaxSize = 16 << 10

// Bounds of what is read.
const (
	maxDepth    = 12
	maxElements = 512
	maxAttrs    = 16
	maxText     = 256 // bytes of a note or a display name
	maxUser     = 64  // bytes of a user part
)

// ErrDocument is the fault of a document that can't be read. It comes wrapped, with what is wrong.
var ErrDocument = errors.New("unreadable document")

func bad(what string) error { return fmt.Errorf("%w: %s", ErrDocument, what) }

// node is an element of a document.
type node struct {
	name     xml.Name
	attrs    []xml.Attr
	text     string
	children []*node
}

// tree reads XML with hard bounds. There is no document type, so there are no entities but those that XML itself has.
func tree(data []byte) (*node, error) {
	if len(data) > MaxSize {
		return nil, bad("too large")
	}
	if !utf8.Valid(data) {
		return nil, bad("not UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(data))
	var root *node
	var open []*node
	for count := 0; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, bad("no XML")
		}
		switch t := token.(type) {
		case xml.StartElement:
			n := &node{name: t.Name, attrs: t.Copy().Attr}
			if count++; count > maxElements || len(open) == maxDepth || len(t.Attr) > maxAttrs || root != nil && len(open) == 0 {
				return nil, bad("too many elements")
			}
			if root == nil {
				root = n
			} else {
				up := open[len(open)-1]
				up.children = append(up.children, n)
			}
			open = append(open, n)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(t)
			}
		case xml.Directive:
			return nil, bad("document type")
		case xml.ProcInst:
			if t.Target != "xml" || root != nil {
				return nil, bad("processing instruction")
			}
		}
	}
	if root == nil {
		return nil, bad("empty")
	}
	return root, nil
}

// attr returns an attribute without a namespace.
func (n *node) attr(name string) string {
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// child returns the first child of that name.
func (n *node) child(space, local string) *node {
	for _, c := range n.children {
		if c.name.Local == local && c.name.Space == space {
			return c
		}
	}
	return nil
}

// root reads a document whose root element is that one.
func rootOf(data []byte, space, local string) (*node, error) {
	n, err := tree(data)
	if err != nil {
		return nil, err
	}
	if n.name.Local != local || n.name.Space != space {
		return nil, bad("another kind of document")
	}
	return n, nil
}

// userOf is the user part of a SIP or pres URI, of the characters that accounts and numbers have.
func userOf(uri string) (string, error) {
	uri = strings.TrimSpace(uri)
	if rest, ok := strings.CutPrefix(uri, "pres:"); ok {
		uri = "sip:" + rest
	}
	u, err := sipmsg.ParseURI(uri)
	if err != nil || !isUser(u.User) {
		return "", bad("address")
	}
	return u.User, nil
}

// isUser reports whether s is a user part that needs no escape in XML and in a URI.
func isUser(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.!~*()=+$#", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxUser
}

// line makes one line of readable text of what a person wrote.
func line(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }), " ")
	for len(s) > maxText {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

const prolog = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// text appends character data or the value of an attribute.
func text(b *bytes.Buffer, s string) {
	_ = xml.EscapeText(b, []byte(s)) // a bytes.Buffer takes all
}

// address appends sip:user@domain.
func address(b *bytes.Buffer, user, domain string) {
	b.WriteString("sip:")
	text(b, user)
	b.WriteByte('@')
	text(b, domain)
}
