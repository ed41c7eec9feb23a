package sanitize

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// Refusal makes the response to a request that was refused, with what RFC 3261 demands beside the code: Allow with 405,
// Accept with 406 and 415, Unsupported with 420.
func (r *Realm) Refusal(req *sip.Request, v verdict.Verdict) *sip.Response {
	res := sipmsg.Response(req, v.Code, "", statelessTag(req))
	if tags := unsupported(r.name, req); v.Code == 420 && len(tags) > 0 { // RFC 3261 §8.2.2.3
		res.AppendHeader(sip.NewHeader("Unsupported", strings.Join(tags, ", ")))
	}
	r.Explain(res, v)
	return res
}

// Explain adds to a refusal what can be told without the request.
func (r *Realm) Explain(res *sip.Response, v verdict.Verdict) {
	switch v.Code {
	case 405: // RFC 3261 §8.2.1
		res.AppendHeader(sip.NewHeader("Allow", r.Allow()))
	case 406, 415: // RFC 3261 §8.2.3
		method := sip.INVITE
		if res.CSeq() != nil {
			method = res.CSeq().MethodName
		}
		res.AppendHeader(sip.NewHeader("Accept", strings.Join(bodies[method], ", ")))
	}
}

// statelessTag names the same tag for each retransmission of a request, without remembering any (RFC 3261 §8.2.7). It is as
// short as §19.3 allows, 32 bits. It is made of what the ACK for a refused INVITE repeats (RFC 3261 §17.1.1.3).
func statelessTag(req *sip.Request) string {
	h := sha256.New()
	if via := req.Via(); via != nil {
		branch, _ := sipmsg.Param(via.Params, "branch")
		h.Write([]byte(branch))
	}
	for _, name := range []string{"From", "Call-ID"} {
		v, _ := sipmsg.Header(req, name)
		h.Write([]byte{0})
		h.Write([]byte(v))
	}
	if cseq := req.CSeq(); cseq != nil {
		h.Write(binary.BigEndian.AppendUint32([]byte{0}, cseq.SeqNo))
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// AcksRefusal reports whether an ACK is for a Refusal or StatelessReply of ours, which left nothing that could expect it.
func AcksRefusal(ack *sip.Request) bool {
	to := ack.To()
	if to == nil {
		return false
	}
	tag, _ := sipmsg.Param(to.Params, "tag")
	return tag == statelessTag(ack)
}

// StatelessReply makes the answer to a message that never became one: that the screen or the parser refused with v. There
// is one only if v says so, if it is a request that may be answered, and if what an answer repeats can be read safely. It
// is never larger than the message, so that nothing is gained by forging an address (it may thus be none at all).
func StatelessReply(data []byte, v verdict.Verdict) ([]byte, bool) {
	if v.Action != verdict.Reject || v.Code < 400 || v.Code > 699 {
		return nil, false
	}
	req, ok := Answerable(data)
	if !ok {
		return nil, false
	}
	res := sipmsg.Response(req, v.Code, "", statelessTag(req))
	out := sipmsg.Bytes(res)
	if len(out) > len(data) {
		res.Reason = "" // RFC 3261 §7.2: the phrase is for people
		out = sipmsg.AppendBytes(out[:0], res)
	}
	if len(out) > len(data) {
		return nil, false
	}
	return out, true
}

// maxAnswerable bounds the bytes that are looked at for an answer.
const maxAnswerable = 64 << 10

// Answerable reads of a message that is not well formed what an answer repeats: all Vias, From, To, Call-ID and CSeq. Each
// must be there, whole and by the grammar, and all but Via just once; whatever else is wrong with the message does not
// matter. It reports false for responses, for ACK, and for what is no SIP.
func Answerable(data []byte) (*sip.Request, bool) {
	data = data[:min(len(data), maxAnswerable)]
	line, rest, ok := cutLine(data)
	if !ok {
		return nil, false
	}
	method, _, ok := strings.Cut(line, " ")
	if !ok || !isToken(method) || method == string(sip.ACK) || !strings.Contains(line, " SIP/") && !strings.Contains(line, " sip/") {
		return nil, false
	}
	req := sip.NewRequest(sip.RequestMethod(method), sip.Uri{Scheme: "sip", Host: "invalid"})
	if !collect(req, rest) {
		return nil, false
	}
	if req.Via() == nil || req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil {
		return nil, false
	}
	return req, req.CSeq().MethodName != sip.ACK
}

// collect adds the five headers to req, line by line up to the empty line or to where the lines end. It reports false if
// one of them can't be read or stands twice.
func collect(req *sip.Request, rest []byte) bool {
	for n := 0; n < maxLines; n++ {
		line, after, ok := cutLine(rest)
		if !ok || line == "" {
			return true
		}
		for rest = after; len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t'); rest = after {
			var more string
			if more, after, ok = cutLine(rest); !ok {
				return true
			}
			line += " " + strings.Trim(more, " \t")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name = sipmsg.Canonical(strings.TrimRight(name, " \t"))
		switch name {
		case "From", "To", "Call-ID", "CSeq":
			if _, twice := sipmsg.Header(req, name); twice {
				return false
			}
			fallthrough
		case "Via":
			if sipmsg.Add(req, name, value) != nil {
				return false
			}
		}
	}
	return false
}

// maxLines bounds the lines that are looked at for an answer.
const maxLines = 256

// cutLine takes a line with its CRLF off b. What stands in it is not looked at: a header that is used is read by the
// grammar, which has no place for control bytes.
func cutLine(b []byte) (line string, rest []byte, ok bool) {
	i := bytes.Index(b, []byte("\r\n"))
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+2:], true
}
