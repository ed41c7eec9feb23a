package sanitize

import (
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/digest"
	"brickhouse/shared/sipmsg"
)

// maxValues bounds how many values of one header pass.
const maxValues = 8

// Copy puts into dst the headers of src that may pass that way by the tables alone, each made anew by its rule; what does
// not fit its rule is left out. dst keeps what it has. The body is not copied, but where Content-Type is, the body may be.
func Copy(dst, src sip.Message, p Policy) {
	r := Realm{}
	r.cross(dst, src, p, nil)
}

// copy puts into dst what src has of the rule's header.
func (r *rule) copy(dst, src sip.Message) {
	n := 0
	for _, v := range sipmsg.Headers(src, r.name) {
		made, ok := r.remake(v, src)
		if !ok || sipmsg.Add(dst, r.name, made) != nil {
			continue
		}
		if n++; n == maxValues {
			break
		}
	}
}

// kind returns a message's method, and its status code if it is a response.
func kind(msg sip.Message) (method sip.RequestMethod, code int, ok bool) {
	switch m := msg.(type) {
	case *sip.Request:
		if m != nil {
			return m.Method, 0, true
		}
	case *sip.Response:
		if m != nil && m.CSeq() != nil {
			return m.CSeq().MethodName, m.StatusCode, true
		}
	}
	return "", 0, false
}

// credentials lets digest credentials of right form pass as they are: the hash is over their very text.
func credentials(v string, _ sip.Message) (string, bool) {
	_, err := digest.ParseCredentials(v)
	return v, err == nil
}

// challenge lets a digest challenge of right form pass as it is.
func challenge(v string, _ sip.Message) (string, bool) {
	_, err := digest.ParseChallenge(v)
	return v, err == nil
}

// contentType names the type without the sender's parameters, if the body has one that may pass.
func contentType(_ string, src sip.Message) (string, bool) {
	method, _, _ := kind(src)
	typ := mediaType(src)
	if len(src.Body()) == 0 || len(src.Body()) > maxBody || encoded(src) || !content(typ, src.Body()) {
		return "", false
	}
	for _, allowed := range bodies[method] {
		if typ == allowed {
			return typ, true
		}
	}
	return "", false
}

// seconds keeps the number of a delta-seconds and drops its parameters and comments.
func seconds(v string, _ sip.Message) (string, bool) {
	if end := strings.IndexAny(v, " \t;("); end >= 0 {
		v = v[:end]
	}
	if !isNumber(v, 10) {
		return "", false
	}
	n, err := strconv.ParseUint(v, 10, 32)
	return strconv.FormatUint(n, 10), err == nil
}

// oneOf lets only these option tags pass.
func oneOf(tags ...string) func(string, sip.Message) (string, bool) {
	return func(v string, _ sip.Message) (string, bool) {
		for _, tag := range tags {
			if strings.EqualFold(v, tag) {
				return tag, true
			}
		}
		return "", false
	}
}

// privacy keeps the values of RFC 3323 §4.2 and RFC 3325 §9.3.
func privacy(v string, _ sip.Message) (string, bool) {
	var out []string
	for one := range strings.SplitSeq(v, ";") {
		switch one = strings.ToLower(strings.TrimSpace(one)); one {
		case "header", "session", "user", "none", "critical", "id":
			if len(out) < maxTokens {
				out = append(out, one)
			}
		}
	}
	return strings.Join(out, ";"), len(out) > 0
}

// reason keeps protocol and cause (RFC 3326 §2). The text is a stranger's and means nothing to a program.
func reason(v string, _ sip.Message) (string, bool) {
	protocol, _, _ := strings.Cut(v, ";")
	protocol = strings.ToUpper(strings.TrimSpace(protocol))
	cause, _ := sipmsg.HeaderParam(v, "cause")
	if !isNumber(cause, 3) {
		return "", false
	}
	n, _ := strconv.Atoi(cause)
	switch {
	case protocol == "SIP" && n >= 100 && n <= 699:
	case protocol == "Q.850" && n >= 1 && n <= 127:
	default:
		return "", false
	}
	return protocol + ";cause=" + strconv.Itoa(n), true
}

// event keeps the package and the id (RFC 6665 §8.4).
func event(v string, _ sip.Message) (string, bool) {
	name, _, _ := strings.Cut(v, ";")
	name = strings.TrimSpace(name)
	if !isToken(name) {
		return "", false
	}
	if id, ok := sipmsg.HeaderParam(v, "id"); ok && isToken(id) {
		return name + ";id=" + id, true
	}
	return name, true
}

// entityTag keeps the name of a published state (RFC 3903 §11.3).
func entityTag(v string, _ sip.Message) (string, bool) {
	return v, isToken(v) && len(v) <= maxEntityTag
}

// maxEntityTag bounds the name of a published state, in bytes.
const maxEntityTag = 64

// require keeps outbound in the answer to a REGISTER (RFC 5626 §6), and that a REFER wants no subscription.
func require(v string, src sip.Message) (string, bool) {
	switch method, code, _ := kind(src); {
	case method == sip.REGISTER && code > 0:
		return oneOf("outbound")(v, src)
	case method == sip.REFER && code == 0:
		return oneOf("norefersub", "nosub")(v, src)
	}
	return "", false
}

// truth keeps true or false (RFC 4488 §4).
func truth(v string, _ sip.Message) (string, bool) {
	v, _, _ = strings.Cut(v, ";")
	v = strings.ToLower(strings.TrimSpace(v))
	return v, v == "true" || v == "false"
}

// subscriptionState keeps the state, how long it holds and why it ended (RFC 6665 §8.4).
func subscriptionState(v string, _ sip.Message) (string, bool) {
	state, _, _ := strings.Cut(v, ";")
	switch state = strings.ToLower(strings.TrimSpace(state)); state {
	case "active", "pending", "terminated":
	default:
		return "", false
	}
	for _, name := range []string{"expires", "retry-after"} {
		if n, ok := sipmsg.HeaderParam(v, name); ok && isNumber(n, 9) {
			state += ";" + name + "=" + n
		}
	}
	if why, ok := sipmsg.HeaderParam(v, "reason"); ok && isToken(why) {
		state += ";reason=" + why
	}
	return state, true
}
