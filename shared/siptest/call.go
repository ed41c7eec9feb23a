package siptest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"brickhouse/shared/tone"
)

// End says how a call ended.
type End string

// The ends of a call.
const (
	EndHangup    End = "hangup"    // we sent BYE
	EndBye       End = "bye"       // the other side sent BYE
	EndCancelled End = "cancelled" // before it was answered, by whoever called
	EndRefused   End = "refused"   // with a final response that is no success
	EndFailed    End = "failed"    // no answer, or an answer that could not be used
	EndClosed    End = "closed"    // the phone was closed
)

// Call is one call as one phone has it. Its methods may be called from several goroutines.
type Call struct {
	p        *Phone
	incoming bool
	invite   *Message // that came in; nil for a call that we made
	server   *serverTx
	media    *media

	answered chan struct{} // closed when the call is up
	settled  chan struct{} // closed when the INVITE has its final response, or will have none
	done     chan struct{} // closed when the call is over

	mu       sync.Mutex
	f        *flow
	dialog   dialog
	pending  *clientTx // our first INVITE, while it runs
	early    []Result  // provisional responses
	result   Result
	response *Message // the final one
	err      error
	acks     map[uint32][]byte // our ACKs to 2xx, by CSeq number
	mine     bool              // a re-INVITE of ours is running
	theirs   *serverTx         // last INVITE that we answered with a 2xx
	offered  bool              // our 2xx held an offer: the ACK holds the answer
	infos    []*Message
	progress []int      // of transfers
	invites  []*Message // re-INVITEs that came in
	isUp     bool
	isOver   bool
	end      End
	cancelIt bool
	answer   []byte // description for our 2xx; nil if the INVITE had no offer
	lastCSeq uint32 // of their requests
	mute     bool   // answers nothing at all
}

func newCall(p *Phone, d dialog, f *flow, m *media) *Call {
	return &Call{p: p, dialog: d, f: f, media: m, answered: make(chan struct{}), settled: make(chan struct{}),
		done: make(chan struct{}), acks: make(map[uint32][]byte)}
}

// ID is the Call-ID on this phone's side.
func (c *Call) ID() string { return c.dialog.callID } // never changes

// Incoming is true for a call that came in.
func (c *Call) Incoming() bool { return c.incoming }

// Request is the INVITE that came in, or nil for a call that this phone made.
func (c *Call) Request() *Message { return c.invite }

// Response is the final response that came to our INVITE, or nil.
func (c *Call) Response() *Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.response
}

// Result is the final answer to the first INVITE: received, or sent if the call came in. Its code is 0 before.
func (c *Call) Result() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// Provisional are the provisional responses so far.
func (c *Call) Provisional() []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Result(nil), c.early...)
}

// Answered is closed when the call is up.
func (c *Call) Answered() <-chan struct{} { return c.answered }

// Done is closed when the call is over.
func (c *Call) Done() <-chan struct{} { return c.done }

// Ended says how the call ended; empty while it lasts.
func (c *Call) Ended() End {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// Infos are the INFO requests that came in.
func (c *Call) Infos() []*Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Message(nil), c.infos...)
}

// Reinvites are the re-INVITEs that came in.
func (c *Call) Reinvites() []*Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Message(nil), c.invites...)
}

// RemoteSDP is the last session description of the far side that was agreed to, or nil.
func (c *Call) RemoteSDP() *SDP {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	return c.media.remote
}

// Direction is the agreed direction of the audio, seen from here; empty before an agreement.
func (c *Call) Direction() Direction {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	return c.media.agreed
}

// OnHold reports whether the far side has put this call on hold.
func (c *Call) OnHold() bool {
	c.media.mu.Lock()
	defer c.media.mu.Unlock()
	return c.media.hold
}

// MediaAddr is where this phone receives RTP.
func (c *Call) MediaAddr() netip.AddrPort { return c.media.where() }

// Stats are the media counters.
func (c *Call) Stats() MediaStats { return c.media.snapshot() }

// Heard measures the sound that arrived within the last window.
func (c *Call) Heard(window time.Duration) tone.Result {
	return tone.Measure(c.media.heard.since(time.Now().Add(-window)))
}

// hearing is the window that AwaitTone and AwaitSilence measure over.
const hearing = 400 * time.Millisecond

// AwaitTone waits until a tone of hz is heard, by what arrives from now on, and returns what was measured. If the context ends
// first, the error says what was heard instead.
func (c *Call) AwaitTone(ctx context.Context, hz float64) (tone.Result, error) {
	return c.await(ctx, fmt.Sprintf("a tone of %.0f Hz", hz), func(r tone.Result, samples int, _ time.Duration) bool {
		return r.Is(hz) && samples >= int(hearing.Seconds()*tone.Rate/2)
	})
}

// AwaitSilence waits until nothing louder than -50 dBm0 has arrived for a while, from now on.
func (c *Call) AwaitSilence(ctx context.Context) (tone.Result, error) {
	return c.await(ctx, "silence", func(r tone.Result, _ int, listened time.Duration) bool {
		return listened >= hearing && r.Total < -50
	})
}

// await measures again and again what arrived since it was called, at most the last window of it.
func (c *Call) await(ctx context.Context, what string, good func(r tone.Result, samples int, listened time.Duration) bool) (tone.Result, error) {
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now := time.Now()
		from := now.Add(-hearing)
		if from.Before(begin) {
			from = begin
		}
		pcm := c.media.heard.since(from)
		r := tone.Measure(pcm)
		if good(r, len(pcm), now.Sub(begin)) {
			return r, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r, fmt.Errorf("%s heard %.0f Hz at %.1f dBm0 (%d samples) instead of %s: %w", c.p.cfg.Name, r.Frequency,
				math.Max(r.Level, tone.Silent), len(pcm), what, ctx.Err())
		}
	}
}

// Wait waits for the final answer to the first INVITE. A refusal is no error here: see Result.
func (c *Call) Wait(ctx context.Context) (Result, error) {
	select {
	case <-c.settled:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.result, c.err
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// ErrOver is reported when something is asked of a call that is over, or not up yet.
var ErrOver = errors.New("call is not up")

// Hangup sends BYE and waits for its answer. A call that is not up is cancelled or refused.
func (c *Call) Hangup(ctx context.Context) error {
	c.mu.Lock()
	up, over := c.isUp, c.isOver
	c.mu.Unlock()
	switch {
	case over:
		return nil
	case up:
		return c.bye(ctx)
	case c.incoming:
		return c.Refuse(480)
	}
	return c.Cancel(ctx)
}

func (c *Call) bye(ctx context.Context) error {
	c.mu.Lock()
	theirs := c.theirs
	c.mu.Unlock()
	if theirs != nil { // RFC 3261 §15: who was called says no BYE before the ACK
		select {
		case <-theirs.acked:
		case <-c.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("waiting for ACK: %w", ctx.Err())
		}
	}
	m, err := c.ask(ctx, "BYE", nil)
	c.finish(EndHangup)
	if err != nil {
		return err
	}
	return refused(m)
}

// Info sends an INFO with a body within the call.
func (c *Call) Info(ctx context.Context, contentType string, body []byte) (Result, error) {
	m, err := c.ask(ctx, "INFO", body, field{"Content-Type", contentType})
	if err != nil {
		return Result{}, err
	}
	return m.result(), nil
}

// Options sends an OPTIONS within the call.
func (c *Call) Options(ctx context.Context) (Result, error) {
	m, err := c.ask(ctx, "OPTIONS", nil)
	if err != nil {
		return Result{}, err
	}
	return m.result(), nil
}

// ask sends a request other than INVITE within the dialog and waits for its final response.
func (c *Call) ask(ctx context.Context, method string, body []byte, extra ...field) (*Message, error) {
	c.mu.Lock()
	if !c.isUp || c.isOver {
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", method, ErrOver)
	}
	d := c.dialog.request(method)
	c.mu.Unlock()
	d.fields = append(d.fields, extra...)
	d.body = body
	f, err := c.flow(ctx)
	if err != nil {
		return nil, err
	}
	return c.p.do(ctx, f, d, c.nextCSeq)
}

func (c *Call) nextCSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialog.cseq++
	return c.dialog.cseq
}

// flow is where requests of this call go: over a stream, the connection that it began on or a new one to the same address; over
// UDP, the next hop of the dialog if that is an address, else where the call began.
func (c *Call) flow(ctx context.Context) (*flow, error) {
	c.mu.Lock()
	f, hop := c.f, c.dialog.hop()
	c.mu.Unlock()
	if f.network.stream() {
		select {
		case <-f.closed:
			return c.p.wire.to(ctx, f.remote)
		default:
			return f, nil
		}
	}
	host, _, err := net.SplitHostPort(hostPort(hop))
	if err != nil {
		return f, nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return f, nil
	}
	remote, err := resolve(ctx, hostPort(hop))
	if err != nil {
		return nil, err
	}
	return c.p.wire.to(ctx, remote)
}

func (c *Call) note(m *Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.infos = append(c.infos, m)
}

// up marks the call as answered.
func (c *Call) up() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upLocked()
}

func (c *Call) upLocked() {
	if !c.isUp && !c.isOver {
		c.isUp = true
		c.media.start()
		close(c.answered)
	}
}

// settle notes the final answer to the first INVITE.
func (c *Call) settle(r Result, m *Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.settled:
	default:
		c.result, c.response, c.err = r, m, err
		close(c.settled)
	}
}

// finish ends the call on this side: its media is closed, its counters and what was heard stay.
func (c *Call) finish(how End) {
	c.mu.Lock()
	over := c.isOver
	if !over {
		c.isOver, c.end = true, how
		if c.theirs != nil {
			c.theirs.ack() // nothing more is repeated for a call that is over
		}
	}
	c.mu.Unlock()
	if over {
		return
	}
	c.media.close()
	c.settle(Result{}, nil, fmt.Errorf("%w: %s", ErrOver, how))
	close(c.done)
	time.AfterFunc(64*c.p.cfg.T1, func() { c.p.drop(c) }) // until then, what is repeated finds its call
}
