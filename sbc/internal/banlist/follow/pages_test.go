package follow

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"brickhouse/sbc/internal/banlist"
	"brickhouse/shared/conffile"
)

// answer is one of APIBAN to a request for a path.
type answer struct {
	status int
	text   string
}

func TestPages(t *testing.T) {
	s := newServer(t)
	one := answer{200, `{"ipaddress":["192.0.2.1"],"ID":"7"}`}
	for _, tc := range []struct {
		name    string
		answers map[string]answer
		want    string // networks, or how the error begins
	}{
		{"one page", map[string]answer{"": {200, `{"ipaddress":["192.0.2.1"],"ID":"none"}`}}, "192.0.2.1/32"},
		{"until nothing is new", map[string]answer{"": one, "/7": {200, `{"ipaddress":["192.0.2.3"],"ID":9}`}, "/9": {400, `{"ipaddress":["no new bans"],"ID":"none"}`}}, "192.0.2.1/32 192.0.2.3/32"},
		{"until none", map[string]answer{"": one, "/7": {200, `{"ipaddress":["192.0.2.3"],"ID":"none"}`}}, "192.0.2.1/32 192.0.2.3/32"},
		{"the same ID again", map[string]answer{"": one, "/7": {200, `{"ipaddress":["192.0.2.3"],"ID":"7"}`}}, "192.0.2.1/32 192.0.2.3/32"},
		{"nothing new, with 200", map[string]answer{"": one, "/7": {200, `{"ipaddress":["no new bans"],"ID":"none"}`}}, "192.0.2.1/32"},
		{"rate limit", map[string]answer{"": one, "/7": {400, `{"ipaddress":["rate limit exceeded"],"ID":"none"}`}}, "the server answers 400"},
		{"rate limit, first page", map[string]answer{"": {400, `{"ipaddress":["rate limit exceeded"],"ID":"none"}`}}, "the server answers 400"},
		{"unauthorized", map[string]answer{"": {200, `{"ID":"unauthorized"}`}}, "is no list of networks"},
		{"a page fails", map[string]answer{"": one, "/7": {500, ``}}, "the server answers 500"},
		{"a page is cut", map[string]answer{"": one, "/7": {200, `{"ipaddress":["192.0.2`}}, "is not whole"},
		{"a page is none", map[string]answer{"": one, "/7": {200, `Sorry`}}, "is no list of networks"},
		{"a page is large", map[string]answer{"": one, "/7": {200, strings.Repeat(" ", maxPage+1)}}, "is too large: a page"},
		{"too large in all", map[string]answer{"": one, "/7": {200, `{"ipaddress":["192.0.2.3"` + strings.Repeat(" ", 1000) + `],"ID":"8"}`}, "/8": one}, "is too large: over 1KiB"},
		{"an ID that is none", map[string]answer{"": {200, `{"ipaddress":["192.0.2.1"],"ID":"../../x"}`}}, "192.0.2.1/32"},
	} {
		l := s.list()
		l.Format, l.MaxBytes = banlist.APIBAN, conffile.KiB
		r := newRig(t, l)
		s.set(func(w http.ResponseWriter, req *http.Request) {
			a, ok := tc.answers[strings.TrimPrefix(req.URL.Path, "/key-1234")]
			if !ok {
				a = answer{404, "not asked for"}
			}
			w.Header().Set("ETag", `"x"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(a.status)
			fmt.Fprint(w, a.text)
		})
		r.look()
		got, _ := r.inForce("feed")
		st := r.Status()[0]
		if got == "none" {
			got = st.Error
		}
		if !strings.HasPrefix(got, tc.want) || strings.Contains(tc.want, "/32") && got != tc.want || strings.Contains(st.Error, "key-1234") {
			t.Errorf("%s: %s, %+v\nwant %s", tc.name, got, st, tc.want)
		}
		r.look() // the first page's ETag says nothing about the others
		if s.last().Header.Get("If-None-Match") != "" {
			t.Errorf("%s: asked for a change of one page", tc.name)
		}
	}
}

// A server that always has one more page is not followed for ever.
func TestPagesWithoutEnd(t *testing.T) {
	s := newServer(t)
	l := s.list()
	l.Format = banlist.APIBAN
	r := newRig(t, l)
	s.set(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ipaddress":["192.0.2.1"],"ID":"%d"}`, s.asked())
	})
	r.look()
	if st := r.Status()[0]; st.Entries != 0 || st.Error == "" || s.asked() > maxPages+1 {
		t.Errorf("%+v after %d requests", st, s.asked())
	}
}
