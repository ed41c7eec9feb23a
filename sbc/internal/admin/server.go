// Package admin is how a person on the same machine steers the border: the routes of its Unix socket, and the commands
// that ask them.
package admin

import (
	"net/http"
	"net/netip"
	"time"

	"brickhouse/sbc/internal/banlist/follow"
	"brickhouse/sbc/internal/guard"
	"brickhouse/sbc/internal/regcache"
	"brickhouse/sbc/internal/trunk"
	"brickhouse/shared/b2bua/calladmin"
	"brickhouse/shared/control"
)

// Border is what can be steered.
type Border interface {
	Guard() *guard.Guard
	Lists() []follow.Status
	Registrations() []regcache.Binding
	Trunks() *trunk.Set
	calladmin.Calls
}

// defaultBan is how long a person's ban lasts unless told otherwise.
const defaultBan = time.Hour

// banRequest is the body of POST /bans.
type banRequest struct {
	Prefix string `json:"prefix"`         // address or network
	For    string `json:"for,omitempty"`  // duration; empty: defaultBan; "forever"
	Note   string `json:"note,omitempty"` // why
}

// Routes adds the border's routes to a server.
func Routes(s *control.Server, b Border) {
	s.Handle("GET /bans", func(*http.Request) (any, error) { return b.Guard().List(), nil })
	s.Handle("POST /bans", func(r *http.Request) (any, error) { return addBan(r, b) })
	s.Handle("DELETE /bans", func(r *http.Request) (any, error) { return nil, deleteBan(r, b) })
	s.Handle("GET /bans/why", func(r *http.Request) (any, error) { return why(r, b) })
	s.Handle("GET /bans/stats", func(*http.Request) (any, error) {
		stats, err := b.Guard().Stats()
		return statsAnswer{stats, b.Lists()}, err
	})
	s.Handle("GET /bans/scoring", func(*http.Request) (any, error) { return b.Guard().Scoring(), nil })
	s.HandleUpload("POST /bans/replay", maxRecording, func(r *http.Request) (any, error) { return replay(r, b) })
	s.Handle("GET /bans/top", func(r *http.Request) (any, error) { return top(r, b) })
	s.Handle("GET /bans/test", func(r *http.Request) (any, error) { return test(r, b) })
	s.Stream("GET /bans/watch", func(r *http.Request, send func(any) error) error {
		return events(r, send, b.Guard().Watch(r.Context()))
	})
	s.Stream("GET /bans/capture", func(r *http.Request, send func(any) error) error {
		if mode, why := b.Guard().Mode(); mode == guard.ModeUserSpace {
			return control.Errorf(http.StatusConflict, "there is nothing to capture: no kernel filter drops packets (%s)", why)
		}
		return events(r, send, b.Guard().Capture(r.Context()))
	})
	s.Stream("GET /bans/export", func(r *http.Request, send func(any) error) error { return export(r, send, b) })
	s.HandleUpload("PUT /bans/lists/{name}", maxImport, func(r *http.Request) (any, error) { return importList(r, b) })
	s.Handle("DELETE /bans/lists/{name}", func(r *http.Request) (any, error) { return nil, dropList(r, b) })
	s.Handle("GET /registrations", func(*http.Request) (any, error) { return registrations(b), nil })
	trunkRoutes(s, b)
	calladmin.Routes(s, b)
}

func addBan(r *http.Request, b Border) (any, error) {
	var req banRequest
	if err := control.Decode(r, &req); err != nil {
		return nil, err
	}
	p, err := parsePrefix(req.Prefix)
	if err != nil {
		return nil, err
	}
	length := defaultBan
	switch req.For {
	case "":
	case "forever":
		length = guard.Forever
	default:
		if length, err = time.ParseDuration(req.For); err != nil || length <= 0 {
			return nil, control.Errorf(http.StatusBadRequest, "%q is no length of time; write it as 30m, 24h or forever", req.For)
		}
	}
	if err := b.Guard().Ban(p, length, control.Caller(r.Context()), req.Note); err != nil {
		return nil, control.Errorf(http.StatusConflict, "%v", err)
	}
	return nil, nil
}

func deleteBan(r *http.Request, b Border) error {
	p, err := parsePrefix(r.URL.Query().Get("prefix"))
	if err != nil {
		return err
	}
	if err := b.Guard().Unban(p, control.Caller(r.Context()), ""); err != nil {
		return control.Errorf(http.StatusNotFound, "%v", err)
	}
	return nil
}

func why(r *http.Request, b Border) (any, error) {
	text := r.URL.Query().Get("addr")
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return nil, control.Errorf(http.StatusBadRequest, "%q is no address", text)
	}
	e, _ := b.Guard().Why(addr)
	return e, nil
}

// parsePrefix reads an address or a network.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, control.Errorf(http.StatusBadRequest, "%q is neither an address nor a network", s)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}
