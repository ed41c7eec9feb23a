package follow

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func configOf(lists ...List) Config { return Config{Lists: lists} }

// start runs the follower until the test ends, or stop is called.
func (r *rig) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	r.t.Cleanup(stop)
	return stop
}

// wait waits for the next list that is put in force.
func (r *rig) wait() { <-r.change }

// until waits for what will be so; if it never is, the test binary's own timeout ends it.
func (r *rig) until(so func() bool) {
	for !so() {
		time.Sleep(time.Millisecond)
	}
}

// settled tells that each list has entries, as its status says.
func (r *rig) settled() bool {
	for _, s := range r.Status() {
		if s.Entries == 0 {
			return false
		}
	}
	return true
}

func TestRun(t *testing.T) {
	s := newServer(t)
	s.text("198.51.100.1\n")
	r := newRig(t)
	file := List{Name: "file", File: r.write("bans.txt", "192.0.2.1\n")}
	r.open(file, s.list())
	stop := r.start()
	r.wait()
	r.wait()
	if got, _ := r.inForce("file"); got != "192.0.2.1/32" {
		t.Error(got)
	}
	if got, _ := r.inForce("feed"); got != "198.51.100.1/32" {
		t.Error(got)
	}
	s.text("198.51.100.2\n")
	if !r.Refresh("feed") || r.Refresh("none") {
		t.Error("refreshed what is not there, or did not what is")
	}
	r.wait()
	if got, _ := r.inForce("feed"); got != "198.51.100.2/32" {
		t.Error(got)
	}
	stop()
	asked := s.asked()
	r.Refresh("feed")
	if s.asked() != asked {
		t.Error("asked after the end")
	}
}

// The end of the context ends a fetch that hangs.
func TestRunEndsWithFetch(t *testing.T) {
	s := newServer(t)
	began := make(chan struct{})
	s.set(func(_ http.ResponseWriter, req *http.Request) {
		close(began)
		<-req.Context().Done()
	})
	r := newRig(t, s.list())
	stop := r.start()
	<-began
	stop()
	if st := r.Status()[0]; st.Failures != 0 {
		t.Errorf("the end counts as failure: %+v", st)
	}
}

func TestReload(t *testing.T) {
	s := newServer(t)
	s.text("198.51.100.1\n")
	r := newRig(t)
	a := List{Name: "a", File: r.write("a.txt", "192.0.2.1\n")}
	b := List{Name: "b", File: r.write("b.txt", "192.0.2.2\n")}
	r.open(a, b, s.list())
	r.start()
	r.until(r.settled)
	for range 3 {
		r.wait()
	}
	if err := r.Reload(configOf(a, List{Name: "x"})); err == nil {
		t.Error("took a faulty configuration")
	}
	kept := filepath.Join(r.dir, "kept", "feed.list")
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	before := r.Status()[0]

	// feed goes, b gets another file, a stays as it is
	b.File = filepath.Join(r.dir, "b2.txt")
	if err := r.Reload(configOf(b, a)); err != nil {
		t.Fatal(err)
	}
	r.wait()
	if got, n := r.inForce("feed"); got != "none" || n != 4 {
		t.Errorf("%s after %d", got, n)
	}
	if _, err := os.Stat(kept); err == nil {
		t.Error("the copy of a list that is gone was left")
	}
	if got, _ := r.inForce("b"); got != "192.0.2.2/32" {
		t.Errorf("%s: out of force before the new file is there", got)
	}
	if st := r.Status(); len(st) != 2 || st[0].Name != "b" || st[0].Entries != 1 || st[1].Changed != before.Changed {
		t.Errorf("%+v", st)
	}
	r.write("b2.txt", "192.0.2.3\n")
	r.Refresh("b")
	r.wait()
	if got, n := r.inForce("b"); got != "192.0.2.3/32" || n != 5 {
		t.Errorf("%s after %d", got, n)
	}
	if err := r.Reload(Config{}); err != nil {
		t.Fatal(err)
	}
	if len(r.applied) != 0 || len(r.Status()) != 0 {
		t.Error(r.applied)
	}
}

// One list is fetched once at a time, however often it is asked for.
func TestOneFetchAtATime(t *testing.T) {
	s := newServer(t)
	var now, most atomic.Int32
	s.set(func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		fmt.Fprintf(w, "192.0.2.%d", s.asked()%200+1)
	})
	r := newRig(t, s.list())
	r.start()
	for range 5 {
		go r.Load(context.Background())
		r.Refresh("feed")
		r.wait()
	}
	if most.Load() != 1 {
		t.Error(most.Load())
	}
}

// What breaks while a list is put in force ends that look only.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.open(List{Name: "bans", File: r.write("bans.txt", "192.0.2.1\n")})
	good := r.opts.Apply
	r.opts.Apply = nil
	r.look()
	r.expect("none", 0, "internal fault")
	r.opts.Apply = good
	r.look()
	r.expect("192.0.2.1/32", 1, "")
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(configOf(List{Name: "a"}), Options{}); err == nil || !strings.HasPrefix(err.Error(), "lists[0].file") {
		t.Error(err)
	}
	feed := List{Name: "a", URL: "https://127.0.0.1:1/"}
	if _, err := New(configOf(feed), Options{}); err == nil {
		t.Error("took a URL without a directory to keep it in")
	}
	notDir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(configOf(feed), Options{Dir: notDir}); err == nil {
		t.Error("took a file as directory")
	}
}
