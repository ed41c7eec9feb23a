package follow

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"brickhouse/shared/conffile"
)

func TestFetchChanges(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.text("192.0.2.1\n")
	if wait := r.look(); wait != time.Hour {
		t.Error(wait)
	}
	r.expect("192.0.2.1/32", 1, "")
	r.look() // 304
	r.expect("192.0.2.1/32", 1, "")
	if s.last().Header.Get("If-None-Match") == "" || s.last().Header.Get("Accept-Encoding") != "identity" {
		t.Error(s.last().Header)
	}
	s.text("# another text, the same list\n192.0.2.1\n")
	r.look()
	r.expect("192.0.2.1/32", 1, "")
	s.text("192.0.2.2\n127.0.0.1\n")
	r.look()
	r.expect("192.0.2.2/32", 2, "")
	if st := r.Status()[0]; st.Report.Refused["loopback"] != 1 || st.FromDisk || st.Source != s.URL || st.Fetched.IsZero() || st.Disk != "" {
		t.Errorf("%+v", st)
	}
}

func TestLastModified(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	when := "Wed, 21 Oct 2015 07:28:00 GMT"
	s.set(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Last-Modified", when)
		if req.Header.Get("If-Modified-Since") == when {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, "192.0.2.1")
	})
	r.look()
	r.look()
	r.expect("192.0.2.1/32", 1, "")
	if s.last().Header.Get("If-Modified-Since") != when {
		t.Error(s.last().Header)
	}
}

// What goes wrong with a fetch leaves the last good list in force, and says what it was without telling the URL's key.
func TestFetchFails(t *testing.T) {
	s := newServer(t)
	other := newServer(t)
	other.text("198.51.100.1\n")
	hang := make(chan struct{})
	for _, tc := range []struct {
		name, want string
		change     func(*List)
		answer     http.HandlerFunc
	}{
		{name: "500", want: "the server answers 500 Internal Server Error", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{name: "404", want: "the server answers 404", answer: http.NotFound},
		{name: "204", want: "the server answers 204", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		{name: "slow head", want: "no whole answer within 1s", answer: func(_ http.ResponseWriter, req *http.Request) {
			select {
			case <-hang:
			case <-req.Context().Done():
			}
		}},
		{name: "slow body", want: "no whole answer within 1s", answer: func(w http.ResponseWriter, req *http.Request) {
			fmt.Fprint(w, "192.0.2.9\n")
			w.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-req.Context().Done():
			}
		}},
		{name: "huge", want: "is too large", answer: func(w http.ResponseWriter, _ *http.Request) {
			line := bytes.Repeat([]byte("192.0.2.9\n"), 1000)
			for range 1000 {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}},
		{name: "huge, and says so", want: "is too large", answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000000") }},
		{name: "truncated", want: "is not whole", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "192.0.2.9\n")
		}},
		{name: "truncated, chunked", want: "is not whole", answer: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "192.0.2.9\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "web page", want: "is no list of networks: the server sends a web page", answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>maintenance</html>") }},
		{name: "web page as text", want: "is no list of networks", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "<html>maintenance</html>")
		}},
		{name: "compressed", want: "the answer is compressed", answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "gzip") }},
		{name: "to http", want: "the server sends us elsewhere", answer: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "http://"+req.Host+"/x", http.StatusFound)
		}},
		{name: "to another host", want: "the server sends us elsewhere", answer: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, other.URL, http.StatusFound)
		}},
		{name: "in circles", want: "the server sends us elsewhere", answer: func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/again", http.StatusFound)
		}},
		{name: "empty", want: "has no entries where it had 1; allow_empty", answer: func(http.ResponseWriter, *http.Request) {}},
		{name: "304 for nothing", want: "the server answers 304", change: func(l *List) { l.Name = "other" }, answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }},
		{name: "wrong authority", want: "tls: failed to verify certificate", change: func(l *List) { l.CA = "" }, answer: func(http.ResponseWriter, *http.Request) {}},
		{name: "no authority", want: "", change: func(l *List) { l.CA = "/nowhere/ca.pem" }, answer: func(http.ResponseWriter, *http.Request) {}},
		{name: "nobody there", want: "dial tcp", change: func(l *List) { l.URL = "https://127.0.0.1:1/key-1234" }, answer: func(http.ResponseWriter, *http.Request) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := s.list()
			l.MaxBytes, l.Timeout = 100*conffile.KiB, 10*time.Second
			if strings.HasPrefix(tc.name, "slow") {
				l.Timeout = time.Second
			}
			r := newRig(t, l)
			s.text("192.0.2.1\n")
			r.look()
			r.expect("192.0.2.1/32", 1, "")
			if tc.change != nil {
				tc.change(&l)
				r.open(l)
			}
			s.set(tc.answer)
			if wait := r.look(); wait != firstRetry {
				t.Errorf("next in %s", wait)
			}
			st := r.Status()[0]
			if st.Error == "" || !strings.HasPrefix(st.Error, tc.want) || strings.Contains(st.Error, "key-1234") || st.Failures != 1 {
				t.Errorf("%+v\nwant %s", st, tc.want)
			}
			if got, n := r.inForce("feed"); got != "192.0.2.1/32" || n != 1 {
				t.Errorf("%s in force after %d", got, n)
			}
			if _, err := os.Stat(filepath.Join(r.dir, "kept", ".feed.new")); err == nil && tc.name != "empty" {
				t.Error("a broken download was left")
			}
		})
	}
	close(hang)
}

func TestRedirectOnTheSameHost(t *testing.T) {
	s := newServer(t)
	r := newRig(t, s.list())
	s.set(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/there" {
			fmt.Fprint(w, "192.0.2.1")
			return
		}
		http.Redirect(w, req, "/there", http.StatusFound)
	})
	r.look()
	r.expect("192.0.2.1/32", 1, "")
}

// A URL that fails is asked at longer and longer intervals, never rarer than told, and not before it asked for.
func TestBackOff(t *testing.T) {
	s := newServer(t)
	l := s.list()
	l.Every = 3 * time.Minute
	r := newRig(t, l)
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 3 * time.Minute} {
		if wait := r.look(); wait != want {
			t.Errorf("%s, want %s", wait, want)
		}
	}
	for after, want := range map[string]time.Duration{"600": 10 * time.Minute, "99999999999": maxRetryAfter, "-1": 3 * time.Minute, "soon": 3 * time.Minute} {
		s.set(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", after); w.WriteHeader(429) })
		if wait := r.look(); wait != want {
			t.Errorf("%s: %s, want %s", after, wait, want)
		}
	}
	r.opts.Rand = func() float64 { return 0.5 }
	s.text("192.0.2.1")
	if wait := r.look(); wait != 3*time.Minute+9*time.Second {
		t.Error(wait)
	}
	if st := r.Status()[0]; st.Failures != 0 || st.Next.Sub(st.Checked) != 3*time.Minute+9*time.Second {
		t.Errorf("%+v", st)
	}
}

func TestToken(t *testing.T) {
	s := newServer(t)
	l := s.list()
	r := newRig(t, l)
	s.text("192.0.2.1")
	l.TokenFile = r.write("token", "s3cret\n")
	r.open(l)
	r.look()
	r.expect("192.0.2.1/32", 1, "")
	if got := s.last().Header.Get("Authorization"); got != "Bearer s3cret" {
		t.Error(got)
	}
	for text, want := range map[string]string{"": "does not hold one token", "two words": "does not hold one token", strings.Repeat("x", maxToken+1): "does not hold one token"} {
		r.write("token", text)
		r.look()
		if st := r.Status()[0]; !strings.Contains(st.Error, want) {
			t.Error(st.Error)
		}
	}
	if err := os.Chmod(r.write("token", "s3cret"), 0o640); err != nil {
		t.Fatal(err)
	}
	asked := s.asked()
	r.look()
	if st := r.Status()[0]; !strings.Contains(st.Error, "is open to others (mode 0640)") || strings.Contains(st.Error, "s3cret") || s.asked() != asked {
		t.Error(st.Error)
	}
}

// A name that says localhost and leads elsewhere is not followed over plain http; the dial sees where it leads.
func TestPlainHTTPStaysHere(t *testing.T) {
	w := &web{cfg: List{URL: "http://localhost/x"}.filled(), clock: time.Now}
	c, err := w.client()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Get("http://192.0.2.1/")
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "http goes to this machine only") {
		t.Error(err)
	}
}
