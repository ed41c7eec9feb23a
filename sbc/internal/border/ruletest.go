package border

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/sbc/internal/rules"
	"brickhouse/sbc/internal/sanitize"
	"brickhouse/shared/command"
	"brickhouse/shared/sipmsg"
)

// TryRules takes the first INVITE of a call through the rules of a trunk, as a running border would: from the trunk
// (inward) or to it. It returns start line, From, To and what else crosses, and what each rule did. Lines of data may end in LF alone, and
// Content-Length may be missing.
func TryRules(cfg Config, trunk string, inward bool, data []byte) (out []byte, steps []rules.Step, err error) {
	i := slices.IndexFunc(cfg.Peer.Trunks, func(t Trunk) bool { return t.Name == trunk })
	if i < 0 {
		return nil, nil, command.Bad(fmt.Errorf("trunk %q is not in the configuration; it has %s", trunk, trunkNames(cfg.Peer.Trunks)))
	}
	set, err := compileRules(cfg.Peer.Trunks[i].Rules)
	if err != nil {
		return nil, nil, command.Bad(err)
	}
	side := sanitize.NewRealm(string(peer), cfg.Peer.Messages)
	came, apply, cross, hosts := side, set.in, side.In, inside(cfg.Domain)
	if !inward {
		came, apply, cross = sanitize.NewRealm(string(core), sanitize.Messages{Limits: cfg.Core.Limits}), set.out, side.Out
	}
	req, err := readInvite(came, data)
	if err != nil {
		return nil, nil, command.Bad(err)
	}
	if !inward {
		hosts = outside(req)
	}
	res, err := apply.Apply(req, hosts, true)
	if err != nil {
		return nil, res.Steps, fmt.Errorf("the call is refused with 484: %w", err)
	}
	return ruled(res, cross).bytes(), res.Steps, nil
}

func trunkNames(list []Trunk) string {
	var out []string
	for _, t := range list {
		out = append(out, t.Name)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// readInvite reads a message that somebody wrote.
func readInvite(r *sanitize.Realm, data []byte) (*sip.Request, error) {
	if !bytes.Contains(data, []byte("\r\n")) {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	}
	if !bytes.Contains(data, []byte("\r\n\r\n")) {
		data = append(bytes.TrimRight(data, "\r\n"), "\r\n\r\n"...)
	}
	msg, err := sipmsg.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if v := r.Raw(data, true); !v.OK() {
		return nil, fmt.Errorf("message: the border would not take it (%v)", v)
	}
	if v := r.Message(msg); !v.OK() {
		return nil, fmt.Errorf("message: the border would not take it (%v)", v)
	}
	req := isRequest(msg)
	if req == nil || req.Method != sip.INVITE || inDialog(req) {
		return nil, fmt.Errorf("message: rules are for the first INVITE of a call, without a tag in To")
	}
	return req, nil
}

// bytes writes the parties as the message has them.
func (p parties) bytes() []byte {
	req := sip.NewRequest(sip.INVITE, p.called)
	req.AppendHeader(&sip.FromHeader{DisplayName: p.caller.Display, Address: p.caller.URI})
	req.AppendHeader(&sip.ToHeader{Address: p.callee.URI})
	for _, h := range p.headers {
		if h.Name() != "Content-Type" { // the session description is written anew
			req.AppendHeader(h)
		}
	}
	head, _, _ := bytes.Cut(sipmsg.Bytes(req), []byte("\r\nContent-Length:"))
	return append(bytes.ReplaceAll(head, []byte("\r\n"), []byte("\n")), '\n')
}
