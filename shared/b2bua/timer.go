package b2bua

import (
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// Session timers (RFC 4028), on each leg apart. What the far side of one leg agrees to is nobody's business on the other.

// SessionTimers is how long a call may go on without a sign of life from a far side.
type SessionTimers struct {
	Expires time.Duration // what we ask for; 0 means no session timers
	Min     time.Duration // the least that we take, at least MinSession
}

// MinSession is the shortest session interval there is (RFC 4028 §5).
const MinSession = 90 * time.Second

// maxSession bounds what a far side may have us wait for.
const maxSession = 24 * time.Hour

// statusIntervalTooSmall is 422 (RFC 4028 §6).
const statusIntervalTooSmall = 422

func (t SessionTimers) on() bool { return t.Expires > 0 }

// seconds is a duration as headers tell it.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// session is a leg's timer.
type session struct {
	every time.Duration // the session interval; 0 where none runs
	least time.Duration // the far side's Min-SE, where it told one
	ours  bool          // we refresh, not the far side
	due   time.Time     // then it is over
	timer *time.Timer
}

// interval reads Session-Expires (RFC 4028 §4). every is 0 where there is none.
func interval(msg sip.Message) (every time.Duration, refresher string) {
	v, ok := sipmsg.Header(msg, "Session-Expires")
	if !ok {
		return 0, ""
	}
	refresher, _ = sipmsg.HeaderParam(v, "refresher")
	return delta(v), strings.ToLower(refresher)
}

// minimum reads Min-SE (RFC 4028 §5).
func minimum(msg sip.Message) time.Duration {
	v, _ := sipmsg.Header(msg, "Min-SE")
	return delta(v)
}

// delta reads delta-seconds with or without parameters; 0 where they can't be read.
func delta(v string) time.Duration {
	v, _, _ = strings.Cut(v, ";")
	n, err := strconv.ParseUint(strings.Trim(v, " \t"), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxSession)
}

// tooShort reports whether a request asks for a session interval below ours (RFC 4028 §9): it is answered 422.
func (c *Call) tooShort(req *sip.Request) bool {
	t := c.eng.cfg.Session
	every, _ := interval(req)
	return t.on() && every > 0 && every < t.Min
}

// timing adds to an INVITE or UPDATE of ours what we want (RFC 4028 §7).
func (c *Call) timing(l *leg, req *sip.Request) {
	t := c.eng.cfg.Session
	if !t.on() {
		return
	}
	least := max(t.Min, l.session.least)
	v := seconds(max(t.Expires, least))
	if l.session.every > 0 { // RFC 4028 §7.4: who refreshes stays
		if v += ";refresher=uas"; l.session.ours {
			v = strings.TrimSuffix(v, "uas") + "uac"
		}
	}
	req.AppendHeader(sip.NewHeader("Session-Expires", v))
	if least > MinSession {
		req.AppendHeader(sip.NewHeader("Min-SE", seconds(least)))
	}
}

// timed takes what the far side answered to timing. One that knows no session timers is asked by us alone (RFC 4028 §7.2).
func (c *Call) timed(l *leg, res *sip.Response) {
	t := c.eng.cfg.Session
	if !t.on() || l.over {
		return
	}
	every, refresher := interval(res)
	l.session.ours = every == 0 || refresher != "uas"
	if every == 0 {
		every = max(t.Expires, l.session.least)
	}
	l.session.every = max(every, MinSession)
	c.rearm(l)
}

// grant adds to the 2xx of an INVITE or UPDATE what its sender gets (RFC 4028 §9).
func (c *Call) grant(l *leg, req *sip.Request, res *sip.Response) {
	t := c.eng.cfg.Session
	if !t.on() || l.over || l.inner {
		return
	}
	every, refresher := interval(req)
	able := named(req.GetHeaders("Supported"), tagTimer) || named(req.GetHeaders("Require"), tagTimer)
	asked := every > 0
	if !asked || every > t.Expires {
		every = t.Expires
	}
	l.session.every = max(every, minimum(req), t.Min)
	l.session.ours = !able || refresher != "uac"
	if able || asked {
		v := seconds(l.session.every) + ";refresher="
		if l.session.ours {
			res.AppendHeader(sip.NewHeader("Session-Expires", v+"uas"))
		} else {
			res.AppendHeader(sip.NewHeader("Session-Expires", v+"uac"))
			res.AppendHeader(sip.NewHeader("Require", tagTimer))
		}
	}
	c.rearm(l)
}

// rearm starts the interval anew: a refresh at its half, or the end if the far side does not refresh in time (RFC 4028 §10).
func (c *Call) rearm(l *leg) {
	l.session.due = c.eng.cfg.Now().Add(l.session.every)
	c.watch(l)
}

// watch has the call look after the interval that runs on a leg.
func (c *Call) watch(l *leg) {
	n := &l.session
	if n.every == 0 {
		return
	}
	before := n.every / 2
	if !n.ours {
		before = min(32*time.Second, n.every/3)
	}
	c.wake(l, max(0, n.due.Sub(c.eng.cfg.Now())-before))
}

// unwatch has it look away. The interval runs on.
func (l *leg) unwatch() {
	if l.session.timer != nil {
		l.session.timer.Stop()
		l.session.timer = nil
	}
}

// wake looks after the leg's session in a while.
func (c *Call) wake(l *leg, wait time.Duration) {
	if l.session.timer != nil {
		l.session.timer.Reset(wait)
		return
	}
	l.session.timer = c.later(wait, func() { c.onSessionTimer(l) })
}

// onSessionTimer refreshes the session, or ends a call that nobody refreshed.
func (c *Call) onSessionTimer(l *leg) {
	if l.owner() != c {
		return
	}
	n := &l.session
	left := n.due.Sub(c.eng.cfg.Now()) - min(32*time.Second, n.every/3)
	switch {
	case c.ended, l.over, !l.established:
	case left <= 0:
		c.end(Ending{Reason: verdict.SessionExpired, By: l.side}, nil)
	case !n.ours: // it was refreshed just when the timer fired
		c.wake(l, left)
	default:
		c.refresh(l)
	}
}

// longer builds the request that follows a 422 (RFC 4028 §7.3), or returns nil where there is no use in it.
func (c *Call) longer(l *leg, req *sip.Request, res *sip.Response) *sip.Request {
	least := minimum(res)
	if !c.eng.cfg.Session.on() || least <= l.session.least || least >= maxSession {
		return nil
	}
	l.session.least = least
	next := req.Clone()
	for _, name := range []string{"Via", "Session-Expires", "Min-SE"} {
		sipmsg.Remove(next, name)
	}
	c.timing(l, next)
	return next
}
