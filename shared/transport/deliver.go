package transport

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"

	"github.com/emiago/sipgo/sip"

	"brickhouse/shared/sipmsg"
	"brickhouse/shared/verdict"
)

// deliver takes one whole message from the wire to the handler. It reports whether it was one.
func (i *Interface) deliver(f *Flow, data []byte) (ok bool) {
	defer i.recovered(f.remote, data)
	if v := i.handler.Raw(f, data); !v.OK() {
		i.handler.Unparsed(f, data, v)
		return false
	}
	msg, err := parse(data)
	if err != nil {
		i.handler.Unparsed(f, data, sipmsg.VerdictOf(err))
		return false
	}
	msg.SetTransport(f.network.Via())
	msg.SetSource(f.remote.String())
	if req, ok := msg.(*sip.Request); ok {
		stampVia(req, f.remote)
	}
	i.handler.Message(f, msg)
	return true
}

// unparsed hands over what framing refused.
func (i *Interface) unparsed(f *Flow, data []byte, v verdict.Verdict) {
	defer i.recovered(f.remote, data)
	i.handler.Unparsed(f, data, v)
}

// dropped tells the handler about what never became a message or a connection.
func (i *Interface) dropped(remote netip.AddrPort, why verdict.Reason, data []byte) {
	defer i.logPanic(remote)
	i.handler.Dropped(i, remote, why, data)
}

// accept asks the handler about a source; a panic refuses it.
func (i *Interface) accept(remote netip.AddrPort) (v verdict.Verdict) {
	v = verdict.Dropped(verdict.Internal)
	defer i.logPanic(remote)
	return i.handler.Accept(i, remote)
}

// crowded tells the owner about a source with too many connections.
func (i *Interface) crowded(remote netip.AddrPort) {
	defer i.logPanic(remote)
	if i.cfg.Crowded != nil {
		i.cfg.Crowded(i, remote)
	}
}

// closedFlow tells the handler that a connection ended.
func (i *Interface) closedFlow(f *Flow, why verdict.Reason) {
	defer i.logPanic(f.remote)
	i.handler.Closed(f, why)
}

// recovered turns a panic of the handler or the parser into a drop with a name: one message is lost, nothing else.
func (i *Interface) recovered(remote netip.AddrPort, data []byte) {
	if r := recover(); r != nil {
		i.reportPanic(remote, r)
		i.dropped(remote, verdict.Internal, data)
	}
}

// logPanic keeps a panic of the handler from ending the reader.
func (i *Interface) logPanic(remote netip.AddrPort) {
	if r := recover(); r != nil {
		i.reportPanic(remote, r)
	}
}

// reportPanic logs where it happened. The value is ours, not the stranger's bytes; a long one is cut.
func (i *Interface) reportPanic(remote netip.AddrPort, r any) {
	what := fmt.Sprint(r)
	if len(what) > 200 {
		what = what[:200]
	}
	i.log.Error("panic while handling a message", slog.String("remote", remote.String()),
		slog.String("panic", what), slog.String("at", panicSite()))
}

// panicSite names the function that panicked: the first frame below the runtime's own after ours.
func panicSite() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	seen := false
	for {
		fr, more := frames.Next()
		inRuntime := strings.HasPrefix(fr.Function, "runtime.")
		if inRuntime {
			seen = true
		} else if seen {
			return fmt.Sprintf("%s:%d", fr.Function, fr.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
