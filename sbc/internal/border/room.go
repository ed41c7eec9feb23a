package border

import (
	"log/slog"

	"brickhouse/shared/openfiles"
)

// Files that we may have open.
const (
	callFiles  = 4    // RTP and RTCP on both sides
	otherFiles = 1024 // journals, maps, lists, gateways, the admin socket
)

// room is how many calls we take: as many as limits.calls says, if the system has sockets for them.
type room struct {
	calls, limit  int
	files, needed int // that may be open
	err           error
}

func makeRoom(cfg Config) room {
	limits := cfg.Limits
	others := limits.Connections*(len(cfg.Access.Interfaces)+len(cfg.Peer.Interfaces)) + otherFiles
	r := room{limit: limits.Calls, needed: callFiles*limits.Calls + others}
	r.files, r.err = openfiles.Raise(r.needed)
	r.calls = openfiles.Share(r.files, min(others, r.files/2), callFiles, limits.Calls)
	return r
}

// warn says that there is less room than the configuration asks for, if so.
func (r room) warn(log *slog.Logger) {
	if r.calls >= r.limit && r.err == nil {
		return
	}
	attrs := []any{"limit", r.limit, "calls", r.calls, "files", r.files, "needed", r.needed}
	if r.err != nil {
		attrs = append(attrs, "error", r.err)
	}
	log.Warn("fewer calls than limits.calls: this process may open too few files; raise LimitNOFILE, or ulimit -n", attrs...)
}
