package natslog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// subjectRoot begins each subject: state.<table>.<shard>.<id>.
const subjectRoot = "state."

// Headers of a message: what of a change is not its value.
const (
	headerVer     = "Bh-Ver"     // epoch.seq
	headerBy      = "Bh-By"      // node
	headerExpires = "Bh-Expires" // Unix milliseconds
	headerDel     = "Bh-Del"     // "1": the key is gone
	headerTTL     = "Nats-TTL"   // the server's own: drop the message after that time
	headerExpect  = "Nats-Expected-Last-Subject-Sequence"
)

func streamName(table string) string { return "state-" + table }

// subject is the key as a NATS subject. Bytes of the ID that have a meaning there are written as =XX.
func subject(k state.Key) string {
	var b strings.Builder
	b.Grow(len(subjectRoot) + len(k.Table) + len(k.Shard) + len(k.ID) + 16)
	b.WriteString(subjectRoot)
	b.WriteString(k.Table)
	b.WriteByte('.')
	b.WriteString(k.Shard)
	b.WriteByte('.')
	for i := range len(k.ID) {
		if c := k.ID[i]; plain(c) {
			b.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			b.Write([]byte{'=', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_' || c == '@' || c == ':'
}

var errWire = errors.New("not a message of ours")

// parseSubject is the inverse of subject.
func parseSubject(s string) (state.Key, error) {
	parts := strings.Split(strings.TrimPrefix(s, subjectRoot), ".")
	if len(parts) != 3 || !strings.HasPrefix(s, subjectRoot) {
		return state.Key{}, fmt.Errorf("%w: subject %.80q", errWire, s)
	}
	id := make([]byte, 0, len(parts[2]))
	for rest := parts[2]; rest != ""; {
		if rest[0] != '=' {
			id, rest = append(id, rest[0]), rest[1:]
			continue
		}
		if len(rest) < 3 {
			return state.Key{}, fmt.Errorf("%w: subject %.80q", errWire, s)
		}
		c, err := hex.DecodeString(rest[1:3])
		if err != nil {
			return state.Key{}, fmt.Errorf("%w: subject %.80q", errWire, s)
		}
		id, rest = append(id, c...), rest[3:]
	}
	return state.Key{Table: parts[0], Shard: parts[1], ID: string(id)}, nil
}

// message writes a change as a message that is stored only if rev is the last revision of its key.
func message(c state.Change, rev uint64, reply string) *nats.Msg {
	h := nats.Header{
		headerVer:    {strconv.FormatUint(c.Ver.Epoch, 10) + "." + strconv.FormatUint(c.Ver.Seq, 10)},
		headerBy:     {string(c.By)},
		headerExpect: {strconv.FormatUint(rev, 10)},
	}
	if !c.Expires.IsZero() {
		h[headerExpires] = []string{strconv.FormatInt(c.Expires.UnixMilli(), 10)}
	}
	if c.Del {
		h[headerDel] = []string{"1"}
		h[headerTTL] = []string{tombstoneTTL.String()}
	}
	m := &nats.Msg{Subject: subject(c.Key), Reply: reply, Header: h}
	if !c.Del {
		m.Data = c.Val
	}
	return m
}

// change reads a message.
func change(subj string, h nats.Header, data []byte, rev uint64) (state.Change, error) {
	k, err := parseSubject(subj)
	if err != nil {
		return state.Change{}, err
	}
	c := state.Change{Key: k, Rev: rev, By: state.NodeID(h.Get(headerBy)), Del: h.Get(headerDel) != ""}
	if c.Ver, err = parseVer(h.Get(headerVer)); err != nil {
		return state.Change{}, err
	}
	if s := h.Get(headerExpires); s != "" {
		ms, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return state.Change{}, fmt.Errorf("%w: expiry %.40q", errWire, s)
		}
		c.Expires = time.UnixMilli(ms)
	}
	if !c.Del {
		c.Val = data
	}
	return c, nil
}

func parseVer(s string) (state.Ver, error) {
	e, q, _ := strings.Cut(s, ".")
	epoch, err1 := strconv.ParseUint(e, 10, 64)
	seq, err2 := strconv.ParseUint(q, 10, 64)
	if err1 != nil || err2 != nil {
		return state.Ver{}, fmt.Errorf("%w: version %.40q", errWire, s)
	}
	return state.Ver{Epoch: epoch, Seq: seq}, nil
}
