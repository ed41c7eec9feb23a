package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"brickhouse/shared/state"
)

// Bounds of what is under way.
const (
	maxInFlight = 1024 // changes sent and not acknowledged
	maxResolve  = 8    // questions for the last revision of a key at a time
	maxPublish  = 64   // messages made in one hold of the lock
)

// wrongLast are the server's codes for "that is not the last revision of this key".
const (
	wrongLast      = 10071
	wrongLastKnown = 10164
)

// outbox holds what is not durable yet. One goroutine publishes, the connection's goroutine takes acknowledgements.
//
//	a key:  idle ──append──► ready ──publish──► in flight ──ack──► idle, or ready when a newer change waits
//	                           ▲                   │ 1 s, or a wrong revision
//	                           └───────────────────┘
//
// A change of a table that lingers waits before it is ready (linger.go).
type outbox struct {
	conn   *nats.Conn
	js     nats.JetStreamContext
	tables map[string]bool
	linger map[string]time.Duration // by table
	inbox  string                   // acknowledgements come to inbox.<token>
	wake   chan struct{}            // something is ready, or close was called
	slots  chan struct{}            // of maxResolve
	revive func()                   // opens the streams anew
	wg     sync.WaitGroup

	mu      sync.Mutex
	entries map[state.Key]*entry
	last    map[state.Key]last // what we know to be durable of live keys
	flight  map[uint64]*entry  // by token
	ready   []*entry
	resting []*entry // lingering, the oldest first; some may have ended
	settled []func() // to be told by the publisher
	token   uint64
	count   state.Stats
	refused time.Time // since when nothing was acknowledged though something is overdue; zero: all is well
	revived time.Time // last call of revive
	closed  bool
}

// last is the newest durable value of a key.
type last struct {
	rev uint64
	ver state.Ver
}

// entry is a key with something that is not durable.
type entry struct {
	key    state.Key
	cur    *pending // ready or in flight
	next   *pending // newest that waits for cur
	token  uint64   // of the message in flight; 0: none
	sentAt time.Time
	until  time.Time // cur lingers until then; zero: it does not
}

type pending struct {
	state.Change
	acks  []func(uint64, error)
	since time.Time
	n     int // changes that it stands for
}

func newOutbox(conn *nats.Conn, js nats.JetStreamContext, cfg Config, revive func()) (*outbox, error) {
	o := &outbox{
		conn: conn, js: js, linger: cfg.Linger, revive: revive, inbox: nats.NewInbox(), tables: map[string]bool{},
		wake: make(chan struct{}, 1), slots: make(chan struct{}, maxResolve),
		entries: map[state.Key]*entry{}, last: map[state.Key]last{}, flight: map[uint64]*entry{},
	}
	for _, t := range cfg.Tables {
		o.tables[t] = true
	}
	if _, err := conn.Subscribe(o.inbox+".*", o.acknowledge); err != nil {
		return nil, fmt.Errorf("subscribing to acknowledgements: %w", err)
	}
	o.wg.Go(o.publish)
	return o, nil
}

func (o *outbox) append(c state.Change, acked func(uint64, error)) {
	err := c.Key.Validate()
	switch {
	case err != nil:
	case !o.tables[c.Table]:
		err = fmt.Errorf("%w: unknown table %q", state.ErrBadKey, c.Table)
	case len(c.Val) > state.MaxValue:
		err = fmt.Errorf("%w: %d bytes for %s", state.ErrTooLarge, len(c.Val), c.Key)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count.Appended++
	if err == nil && o.closed {
		err = state.ErrClosed
	}
	if err != nil {
		o.count.Failed++
		if acked != nil {
			go acked(0, err)
		}
		return
	}
	p := &pending{Change: c, since: time.Now(), n: 1}
	if acked != nil {
		p.acks = []func(uint64, error){acked}
	}
	e := o.entries[c.Key]
	if e == nil {
		e = &entry{key: c.Key}
		o.entries[c.Key] = e
	}
	switch {
	case e.cur == nil && o.linger[c.Table] > 0:
		e.cur = p
		o.restLocked(e)
	case e.cur == nil:
		e.cur = p
		o.readyLocked(e)
	case !e.until.IsZero():
		o.replaceLocked(e, p)
	case e.next == nil:
		e.next = p
	default:
		e.next = newer(e.next, p)
	}
}

// newer joins two waiting changes of a key into one: that with the newer version.
func newer(a, b *pending) *pending {
	if b.Ver.Less(a.Ver) {
		a, b = b, a
	}
	b.acks = append(a.acks, b.acks...)
	b.n += a.n
	if a.since.Before(b.since) {
		b.since = a.since
	}
	return b
}

// readyLocked puts a key's change in line for the publisher.
func (o *outbox) readyLocked(e *entry) {
	if e.token != 0 {
		delete(o.flight, e.token)
		e.token = 0
	}
	e.until = time.Time{}
	o.ready = append(o.ready, e)
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// publish is the one goroutine that sends.
func (o *outbox) publish() {
	again := time.NewTicker(resendAfter / 4)
	defer again.Stop()
	for {
		select {
		case <-o.wake:
		case <-again.C:
			if o.resend() {
				o.revive()
			}
			o.rouse(time.Now())
		}
		for {
			msgs, tell, closed := o.take()
			if closed {
				return
			}
			if len(msgs)+len(tell) == 0 {
				break
			}
			for _, f := range tell {
				f()
			}
			for _, m := range msgs {
				// An error here means that the connection is gone; what was not sent is sent again.
				_ = o.conn.PublishMsg(m)
			}
		}
	}
}

// take makes messages of what is ready and puts it in flight. What need not be sent is settled; tell is to be called
// for that without the lock.
func (o *outbox) take() (msgs []*nats.Msg, tell []func(), closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := max(0, min(len(o.ready), maxInFlight-len(o.flight), maxPublish))
	batch := o.ready[:n]
	if o.ready = o.ready[n:]; len(o.ready) == 0 {
		o.ready = nil
	}
	tell, o.settled = o.settled, nil
	for _, e := range batch {
		known, ok := o.last[e.key]
		if ok && !known.ver.Less(e.cur.Ver) {
			tell = append(tell, o.settleLocked(e, known))
			continue
		}
		o.token++
		e.token, e.sentAt = o.token, time.Now()
		o.flight[e.token] = e
		msgs = append(msgs, message(e.cur.Change, known.rev, o.inbox+"."+strconv.FormatUint(e.token, 36)))
	}
	return msgs, tell, o.closed
}

// resend puts in line again what was not acknowledged for long. It reports whether it is time to revive the streams.
func (o *outbox) resend() (revive bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.flight {
		if time.Since(e.sentAt) > resendAfter {
			o.count.Resent++
			o.readyLocked(e)
			if o.refused.IsZero() {
				o.refused = time.Now()
			}
		}
	}
	if o.refused.IsZero() || o.closed || time.Since(o.refused) < reviveAfter || time.Since(o.revived) < reviveEvery {
		return false
	}
	o.revived = time.Now()
	return true
}

// acknowledge takes the server's answer to one message.
func (o *outbox) acknowledge(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	var ack struct {
		Seq   uint64 `json:"seq"`
		Error *struct {
			Code int `json:"err_code"`
		} `json:"error"`
	}
	err = json.Unmarshal(m.Data, &ack) // it has no data when the streams are closed
	o.mu.Lock()
	e := o.flight[token]
	if e == nil { // an answer to what was sent again since
		o.mu.Unlock()
		return
	}
	tell := func() {}
	switch {
	case err == nil && ack.Error == nil && ack.Seq > 0:
		o.refused = time.Time{}
		tell = o.settleLocked(e, last{ack.Seq, e.cur.Ver})
	case err == nil && ack.Error != nil && (ack.Error.Code == wrongLast || ack.Error.Code == wrongLastKnown):
		o.wg.Go(func() { o.resolve(e, token) })
	}
	// Any other answer, and none, is the server's trouble, such as a full disk: resend will try again.
	o.mu.Unlock()
	tell()
}

// settleLocked ends the change in line or in flight, knowing what is durable now: the change itself, or what is newer.
// It returns the function that tells those who wait, to be called without the lock.
func (o *outbox) settleLocked(e *entry, now last) (tell func()) {
	done := e.cur
	rev, err := now.rev, error(nil)
	if now.ver == done.Ver {
		o.count.Acked += uint64(done.n)
	} else {
		rev, err = 0, fmt.Errorf("%w: %s", state.ErrSuperseded, e.key)
		o.count.Failed += uint64(done.n)
	}
	if done.Del && err == nil && e.next == nil {
		delete(o.last, e.key) // the stream forgets the key too, later; until then its answer will tell us the revision
	} else {
		o.last[e.key] = now
	}
	delete(o.flight, e.token)
	e.token = 0
	if e.cur, e.next = e.next, nil; e.cur != nil {
		o.readyLocked(e)
	} else {
		delete(o.entries, e.key)
	}
	if len(o.ready) > 0 {
		o.signal() // there is room in flight again
	}
	return func() {
		for _, f := range done.acks {
			f(rev, err)
		}
	}
}

// resolve finds out why the server had another last revision for a key: our own change of which the acknowledgement was
// lost, an older value of which we did not know the revision, or a newer one of another writer.
func (o *outbox) resolve(e *entry, token uint64) {
	o.slots <- struct{}{}
	defer func() { <-o.slots }()
	m, err := o.js.GetLastMsg(streamName(e.key.Table), subject(e.key), nats.DirectGet(), nats.MaxWait(askTimeout))
	var now last
	if err == nil {
		now.rev = m.Sequence
		now.ver, err = parseVer(m.Header.Get(headerVer))
	} else if errors.Is(err, nats.ErrMsgNotFound) {
		err = nil
	}
	tell := func() {}
	o.mu.Lock()
	switch {
	case err != nil || o.flight[token] != e: // it will be asked again with the next try
	case now.rev > 0 && !now.ver.Less(e.cur.Ver):
		tell = o.settleLocked(e, now)
	default:
		if o.last[e.key] = now; now.rev == 0 {
			delete(o.last, e.key)
		}
		o.readyLocked(e)
	}
	o.mu.Unlock()
	tell()
}

// saw notes what a follower was given, so that the first change of a key need not ask.
func (o *outbox) saw(c state.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.Rev > o.last[c.Key].rev && !c.Del {
		o.last[c.Key] = last{c.Rev, c.Ver}
	}
}

func (o *outbox) flush(ctx context.Context) error {
	done := make(chan struct{})
	var mu sync.Mutex
	var failed error
	left := 1
	one := func(_ uint64, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && failed == nil {
			failed = err
		}
		if left--; left == 0 {
			close(done)
		}
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return state.ErrClosed
	}
	o.rouseLocked(time.Time{})
	for _, e := range o.entries {
		p := e.cur
		if e.next != nil {
			p = e.next
		}
		mu.Lock()
		left++
		mu.Unlock()
		p.acks = append(p.acks, one)
	}
	o.mu.Unlock()
	one(0, nil)
	select {
	case <-done:
		return failed
	case <-ctx.Done():
		return fmt.Errorf("%d state changes are not durable yet: %w", o.stats().Waiting, ctx.Err())
	}
}

func (o *outbox) stats() state.Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.count
	for _, e := range o.entries {
		if !e.until.IsZero() {
			continue // nobody expects it to be durable yet
		}
		for _, p := range []*pending{e.cur, e.next} {
			if p != nil {
				s.Waiting += p.n
				s.Oldest = max(s.Oldest, time.Since(p.since))
			}
		}
	}
	return s
}

// close fails what still waits.
func (o *outbox) close() {
	o.mu.Lock()
	var acks []func(uint64, error)
	o.closed = true
	for _, e := range o.entries {
		for _, p := range []*pending{e.cur, e.next} {
			if p != nil {
				acks = append(acks, p.acks...)
				o.count.Failed += uint64(p.n)
			}
		}
	}
	o.entries, o.flight, o.ready, o.resting = map[state.Key]*entry{}, map[uint64]*entry{}, nil, nil
	o.mu.Unlock()
	o.signal()
	o.wg.Wait()
	for _, f := range acks {
		f(0, state.ErrClosed)
	}
}
