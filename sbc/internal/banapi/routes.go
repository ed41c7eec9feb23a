package banapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
)

// kindJSON is the content type of what we read and write.
const kindJSON = "application/json"

// pathUsage is where bouncers report their own numbers.
const pathUsage = "/v1/usage-metrics"

// routes lists what the endpoint answers. GET stands for HEAD, too.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	add := func(pattern string, status int, f func(*holder, *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(callKey{}).(*call)
			v, err := f(c.holder, r)
			if err != nil {
				*c.err = err
				return
			}
			if write, long := v.(body); long {
				s.stream(w, r, write)
				return
			}
			writeJSON(w, status, kindJSON, v)
		})
	}
	add("GET /v1/decisions", 0, s.getDecisions)
	add("GET /v1/decisions/stream", 0, s.getStream)
	add("DELETE /v1/decisions", http.StatusOK, s.deleteDecisions)
	add("DELETE /v1/decisions/{id}", http.StatusOK, s.deleteDecision)
	add("POST /v1/alerts", http.StatusCreated, s.postAlerts)
	add("POST "+pathUsage, http.StatusCreated, func(*holder, *http.Request) (any, error) { return struct{}{}, nil })
	return mux
}

// body writes an answer that may be long, piece by piece: all bans of a full table take 30 MB.
type body func(io.Writer) error

// stream answers with a body.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, write body) {
	header(w, kindJSON)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := bufio.NewWriterSize(w, 32<<10)
	if err := write(out); err != nil {
		s.log.Debug("the answer of the ban endpoint ended early", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // the caller must not take the part for the whole
	}
}

// query reads a query strictly: each key once.
func query(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, reasonForm, "the query is not understood")
	}
	for key, values := range q {
		if len(values) > 1 {
			return nil, refuse(http.StatusBadRequest, reasonForm, "%.20q stands twice in the query", key)
		}
	}
	return q, nil
}

// getDecisions tells the bans in force. With ip= or range= they are those that cover it; whoever is on the never-ban list is not
// banned, even where a ban covers it. No ban is null, as bouncers expect it.
func (s *Server) getDecisions(_ *holder, r *http.Request) (any, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	var bans []entry
	switch p, asked, err := asksFor(q); {
	case err != nil:
		return nil, err
	case asked:
		e, _ := s.guard.Why(p.Addr())
		if e.Allowed != "" && p.IsSingleIP() {
			break
		}
		for _, b := range e.Bans {
			if b.Prefix.Bits() <= p.Bits() {
				bans = append(bans, entryOf(b))
			}
		}
	default:
		bans = s.current().bans
	}
	f := newFilter(q)
	return body(func(w io.Writer) error {
		n, err := s.show(w, bans, f)
		if err == nil && n == 0 {
			_, err = io.WriteString(w, "null")
		}
		return finish(w, err)
	}), nil
}

// show writes those bans that pass the filter, if there are any, as a list, and returns their number.
func (s *Server) show(w io.Writer, bans []entry, f filter) (n int, err error) {
	now := s.now()
	for _, e := range bans {
		d := s.decision(e, now)
		if !f.match(d) {
			continue
		}
		text, err := json.Marshal(d)
		if err != nil {
			return n, err
		}
		before := ","
		if n == 0 {
			before = "["
		}
		if _, err := w.Write(append([]byte(before), text...)); err != nil {
			return n, err
		}
		n++
	}
	if n > 0 {
		_, err = io.WriteString(w, "]")
	}
	return n, err
}

// finish ends an answer, and tells whether all of it went out.
func finish(w io.Writer, err error) error {
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	if b, ok := w.(*bufio.Writer); ok && err == nil {
		err = b.Flush()
	}
	return err
}

// asksFor returns the address or network that a query names.
func asksFor(q url.Values) (p netip.Prefix, asked bool, err error) {
	ip, network := q.Get("ip"), q.Get("range")
	switch {
	case ip != "" && network != "":
		return p, true, refuse(http.StatusBadRequest, reasonForm, "ask for ip or for range, not for both")
	case ip != "":
		p, err = prefixOf("ip", ip)
	case network != "":
		p, err = prefixOf("range", network)
	default:
		return p, false, nil
	}
	if err != nil {
		err = refuse(http.StatusBadRequest, reasonForm, "%v", err)
	}
	return p, true, err
}

// getStream tells a token what changed since it last asked, or everything with startup=true and to one that asks for the first
// time. It compares all bans with what was told before, so nothing is lost however long it takes a token to come back; what could
// not be sent counts as not told.
func (s *Server) getStream(h *holder, r *http.Request) (any, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	f, startup := newFilter(q), q.Get("startup") == "true"
	return body(func(w io.Writer) error {
		h.place.Lock()
		defer h.place.Unlock()
		now, last := s.current().bans, h.last
		if startup {
			last = nil
		}
		added, ended := news(last, now)
		err := s.part(w, `{"new":`, added, f)
		if err == nil {
			err = s.part(w, `,"deleted":`, ended, f)
		}
		if err == nil {
			_, err = io.WriteString(w, "}")
		}
		if err = finish(w, err); err == nil {
			h.last = now
		}
		return err
	}), nil
}

// part writes one list of the stream.
func (s *Server) part(w io.Writer, name string, bans []entry, f filter) error {
	if _, err := io.WriteString(w, name); err != nil {
		return err
	}
	n, err := s.show(w, bans, f)
	if err == nil && n == 0 {
		_, err = io.WriteString(w, "[]")
	}
	return err
}

// postAlerts bans what the decisions in alerts name. If one of them is refused, the answer is a problem that tells what became of
// each; the others are in force all the same.
func (s *Server) postAlerts(h *holder, r *http.Request) (any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != kindJSON {
		return nil, refuse(http.StatusUnsupportedMediaType, reasonForm, "the content type must be %s", kindJSON)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, refuse(http.StatusRequestEntityTooLarge, reasonSize, "the request is larger than %d bytes", maxBody)
		}
		return nil, refuse(http.StatusBadRequest, reasonForm, "the request ended early")
	}
	alerts, wishes, err := readAlerts(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, reasonForm, "the list of alerts is not understood: %v", err)
	}
	if !h.pace.AllowN(s.now(), len(wishes)) {
		return nil, refuse(http.StatusTooManyRequests, reasonPace, "more than %d requests and decisions per second", h.Rate)
	}
	out := s.ban(h, wishes)
	if i := slices.IndexFunc(out, func(o outcome) bool { return o.Outcome == outcomeRefused }); i >= 0 {
		p := refuse(http.StatusConflict, reasonRefused, "%.60q is not banned: %s", out[i].Value, out[i].Detail)
		p.Decisions = out
		return nil, p
	}
	ids := make([]string, alerts)
	for i := range ids {
		ids[i] = strconv.FormatUint(s.alerts.Add(1), 10)
	}
	return ids, nil
}

// deleteDecisions lifts the ban of exactly the address or network that the query names. A query with anything else in it is refused: what
// was meant to narrow it down must not be overlooked.
func (s *Server) deleteDecisions(h *holder, r *http.Request) (any, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	for key, values := range q {
		switch {
		case key == "ip", key == "range", key == "scope", key == "value", key == "type" && values[0] == typeBan:
		default:
			return nil, refuse(http.StatusBadRequest, reasonForm, "%.20q does not select what to lift; use ip, range, or scope and value", key)
		}
	}
	p, asked, err := asksFor(q)
	if err == nil && q.Has("scope") != q.Has("value") || asked && q.Has("scope") || !asked && !q.Has("scope") {
		err = refuse(http.StatusBadRequest, reasonForm, "name what to lift: ip, range, or scope and value")
	}
	if err == nil && !asked {
		if p, err = prefixOf(q.Get("scope"), q.Get("value")); err != nil {
			err = refuse(http.StatusBadRequest, reasonForm, "%v", err)
		}
	}
	if err != nil {
		return nil, err
	}
	n, err := s.lift(h, p)
	return countDeleted(n), err
}

// deleteDecision lifts the ban of a number.
func (s *Server) deleteDecision(h *holder, r *http.Request) (any, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 0 {
		return nil, refuse(http.StatusBadRequest, reasonForm, "the decision's number is no number")
	}
	for _, e := range s.current().bans {
		if s.number(e.prefix) == id {
			n, err := s.lift(h, e.prefix)
			return countDeleted(n), err
		}
	}
	return nil, refuse(http.StatusNotFound, reasonPath, "no decision has the number %d", id)
}
