package transport

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 asks for it; it protects nothing
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"brickhouse/shared/verdict"
)

// WebSocket is what an interface for WebSockets asks of those who connect.
type WebSocket struct {
	Path    string   // what is asked for, as "/"
	Origins []string // pages that may connect, as "https://phone.example.com"; "*": any
}

// CheckOrigin says what is wrong with an entry of WebSocket.Origins.
func CheckOrigin(s string) error {
	if s == "*" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || s != u.Scheme+"://"+u.Host || strings.Contains(s, "*") {
		return fmt.Errorf("origin %q: use https://host or https://host:port, or *", s)
	}
	return nil
}

const (
	maxUpgrade  = 8 << 10 // bytes of the request that asks for a WebSocket
	wsProto     = "sip"   // RFC 7118 §4.1
	wsVersion   = "13"
	wsKeyPrefix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §4.2.2
)

// upgradeError is a refused request, and what it is answered with.
type upgradeError struct {
	code int
	why  verdict.Reason
	what string
}

func (e *upgradeError) Error() string { return "upgrade refused: " + e.what }

func notUpgrade(code int, what string) error {
	return &upgradeError{code: code, why: verdict.UpgradeFailed, what: what}
}

// upgrade reads the request for a WebSocket and answers it (RFC 6455 §4.2). What came behind it goes to the framer. All of
// it, and the TLS handshake before, has one deadline.
func (s *stream) upgrade(deadline time.Time) error {
	_ = s.conn.SetDeadline(deadline)
	head, rest, err := readHead(s.conn)
	if err != nil {
		return err
	}
	accept, err := s.iface.cfg.WebSocket.judge(head)
	if err != nil {
		s.refuse(err)
		return err
	}
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept +
		"\r\nSec-WebSocket-Protocol: " + wsProto + "\r\n\r\n"
	if _, err := io.WriteString(s.conn, answer); err != nil {
		return err
	}
	_ = s.conn.SetDeadline(time.Time{})
	s.web = newWSFramer(s.iface.cfg.Limits.MaxMessage)
	s.web.fed(copy(s.web.reserve(len(rest)), rest))
	return nil
}

// readHead reads up to the empty line. rest is what came behind it.
func readHead(from io.Reader) (head, rest []byte, err error) {
	buf := make([]byte, 0, 1<<10)
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(len(buf), maxUpgrade-len(buf)))
		}
		n, err := from.Read(buf[len(buf):min(cap(buf), maxUpgrade)])
		seen := max(0, len(buf)-len(headEnd)+1)
		buf = buf[:len(buf)+n]
		if end := bytes.Index(buf[seen:], headEnd); end >= 0 {
			end += seen + len(headEnd)
			return buf[:end], buf[end:], nil
		}
		switch {
		case err != nil:
			return nil, nil, err
		case len(buf) >= maxUpgrade:
			return nil, nil, notUpgrade(http.StatusRequestHeaderFieldsTooLarge, "request is too large")
		}
	}
}

// judge decides about a request and returns the value of Sec-WebSocket-Accept.
func (w WebSocket) judge(head []byte) (accept string, err error) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return "", notUpgrade(http.StatusBadRequest, "no HTTP request")
	}
	h := req.Header
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	switch {
	case req.Method != http.MethodGet:
		return "", notUpgrade(http.StatusMethodNotAllowed, "method is not GET")
	case !req.ProtoAtLeast(1, 1) || req.Host == "" || req.ContentLength != 0 || len(req.TransferEncoding) > 0:
		return "", notUpgrade(http.StatusBadRequest, "not a request of HTTP/1.1 without a body")
	case req.URL.Path != w.Path:
		return "", notUpgrade(http.StatusNotFound, "unknown path")
	case !hasToken(h["Connection"], "upgrade") || !hasToken(h["Upgrade"], "websocket"):
		return "", notUpgrade(http.StatusUpgradeRequired, "no WebSocket is asked for")
	case h.Get("Sec-WebSocket-Version") != wsVersion:
		return "", notUpgrade(http.StatusUpgradeRequired, "unknown version of WebSocket")
	case err != nil || len(key) != 16 || len(h["Sec-Websocket-Key"]) != 1:
		return "", notUpgrade(http.StatusBadRequest, "no usable key")
	case !w.allows(h["Origin"]):
		return "", &upgradeError{code: http.StatusForbidden, why: verdict.OriginRefused, what: "origin is not allowed"}
	case !hasToken(h["Sec-Websocket-Protocol"], wsProto):
		return "", notUpgrade(http.StatusBadRequest, "subprotocol sip is not offered")
	}
	sum := sha1.Sum([]byte(h.Get("Sec-WebSocket-Key") + wsKeyPrefix)) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// allows decides about the Origin header fields of a request (RFC 6455 §10.2). Only browsers send one, and only they act for
// a page that their user may not trust; a program without one is let in.
func (w WebSocket) allows(origin []string) bool {
	if len(origin) == 0 || slices.Contains(w.Origins, "*") {
		return len(origin) < 2
	}
	return len(origin) == 1 && slices.ContainsFunc(w.Origins, func(o string) bool { return strings.EqualFold(o, origin[0]) })
}

// hasToken looks for a token in the comma lists of a header field.
func hasToken(values []string, want string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), want) {
				return true
			}
		}
	}
	return false
}

// refuse answers a request that is no good, so that a person who looks into a browser sees why.
func (s *stream) refuse(err error) {
	var bad *upgradeError
	if !errors.As(err, &bad) {
		return
	}
	version := ""
	if bad.code == http.StatusUpgradeRequired {
		version = "Sec-WebSocket-Version: " + wsVersion + "\r\n" // RFC 6455 §4.4
	}
	_, _ = fmt.Fprintf(s.conn, "HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n", bad.code, http.StatusText(bad.code), version)
	s.linger()
}
